/** Forgejo repeats a refused token in its 401, and forgejo-mcp passes that on: to its client, and to its log when it starts. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { test } from 'node:test';
import type { Variant } from '../../src/demo/forgejo/variants.js';
import { clientOf, connect, initializeBody } from '../fixtures/client.js';
import { findToken } from '../fixtures/spelled.js';
import { type Stage, startStage } from '../support/connection.js';

const FORGEJO_MCP = resolve(import.meta.dirname, '../fixtures/fake-forgejo-mcp.js');

/** What each version says of a token it does not accept any more, as the client may see it. */
const REFUSALS: Readonly<Record<Variant, RegExp>> = {
  11: /^get user info err: user does not exist/,
  15: /^get user info err: user does not exist/,
  16: /token is expired\naccess token does not exist \[sha: \[redacted\]\]\n[\s\S]*task with token "\[redacted\]"/,
};

const logOf = (stage: Stage, event: string) => stage.broker.log.filter((entry) => entry.event === event);
const lastChild = (stage: Stage, file: string) =>
  readFileSync(`/proc/${logOf(stage, 'child.started').at(-1)?.fields.pid}/${file}`, 'latin1').split('\0');

for (const variant of ['11', '15', '16'] as const) {
  test(`the 401 of Forgejo ${variant} reaches client and log without the token`, {
    skip: process.platform !== 'linux',
  }, async () => {
    await using stage = await startStage({
      env: { BROKER_MCP_COMMAND: `'${process.execPath}' '${FORGEJO_MCP}'` },
      forgejo: { variant },
    });
    const { broker } = stage;
    const connection = await stage.connect('alice');
    const client = await connect(broker.mcpUrl, connection.access);
    const call = () => client.call('tools/call', { name: 'get_my_user_info' });
    assert.ok((await call()).result);

    const secrets = lastChild(stage, 'environ').filter((variable) => /=ey[\w-]+\.[\w-]+\./.test(variable));
    assert.deepEqual(
      secrets.map((variable) => variable.split('=')[0]),
      ['FORGEJO_ACCESS_TOKEN'],
      'the access token and no other',
    );
    const token = secrets[0]?.split('=')[1] ?? '';
    const words = lastChild(stage, 'cmdline');
    assert.deepEqual(
      words.slice(-3),
      [process.execPath, FORGEJO_MCP, ''],
      'with or without a sandbox before them',
    );
    assert.equal(findToken(words.join(' '), token), undefined);

    broker.forgejo.control.expireAccessTokens('alice');
    const refused = await call();
    assert.match(refused.error?.message ?? '', REFUSALS[variant]);
    assert.equal(findToken(JSON.stringify(refused), token), undefined);

    const headers = { Authorization: `Bearer ${connection.access}` };
    const unheard = initializeBody('2025-06-18');
    const opened = await (await clientOf(broker.mcpUrl, headers).post(unheard)).text();
    assert.match(opened, /ended with exit code 1/);
    assert.equal(findToken(opened, token), undefined);
    const log = JSON.stringify(broker.log);
    assert.match(log, /connection test failed/);
    if (variant === '16') assert.match(log, /\[sha: \[redacted\]\]/);
    assert.equal(findToken(log, token), undefined);
  });
}
