/** The whole broker in front of a server of either era: signed in, found out once, and across a restart. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { FIXTURES } from '../fixtures/bridge.js';
import { startTestBroker } from '../support/broker.js';
import { callText, connectV1 } from '../support/sdk-v1.js';

const MODERN = join(FIXTURES, 'modern-server.js');
const LEGACY = join(FIXTURES, 'server.js');

test('a server of the new era serves a user of the old one, and is asked for its era once', async () => {
  await using broker = await startTestBroker({
    env: { BROKER_MCP_COMMAND: `'${process.execPath}' '${MODERN}'` },
  });
  const found = () =>
    broker.log.filter(({ event }) => event === 'server.era').map(({ fields }) => fields.era);
  const app = await connectV1(broker.mcpUrl, broker.person('alice'));
  const life = await callText(app.client, 'life');
  const again = await connectV1(broker.mcpUrl, broker.person('alice'), { provider: app.provider });
  assert.notEqual(await callText(again.client, 'life'), life);
  await broker.restart();
  assert.notEqual(await callText(app.client, 'life'), life);
  assert.deepEqual(found(), ['modern']);
  await app.client.close();
  await again.client.close();
});

test('a server of the old era is found out as well, and the sibling that was asked is no news', async () => {
  await using broker = await startTestBroker({
    env: { BROKER_MCP_COMMAND: `'${process.execPath}' '${LEGACY}'` },
  });
  await using app = await connectV1(broker.mcpUrl, broker.person('alice'));
  await app.client.ping();
  const said = broker.log.filter(({ fields }) => fields.probe === undefined);
  assert.deepEqual(
    said.filter(({ event }) => /^(server|child)\./.test(event)).map(({ event }) => event),
    ['server.era', 'child.started'],
  );
});
