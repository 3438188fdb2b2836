/** mcp-remote as a desktop client starts it, again and again. What it does in either era is in eras.test.ts. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { startDemo } from '../support/demo.js';
import { startMcpRemote } from '../support/mcp-remote.js';
import { makeHome } from '../support/quiet-home.js';
import { callText } from '../support/sdk-v1.js';

const demo = await startDemo();
after(() => demo[Symbol.asyncDispose]());

test('a desktop client signs in through mcp-remote, and the next start needs no browser', async () => {
  using home = makeHome();
  {
    await using app = await startMcpRemote(demo.mcpUrl, home, demo.user('alice'));
    assert.ok(app.signedIn());
    const { tools } = await app.client.listTools();
    assert.ok(tools.some(({ name }) => name === 'whoami'));
    assert.match(await callText(app.client, 'whoami'), /\balice\b/);
  }
  await using again = await startMcpRemote(demo.mcpUrl, home, demo.user('alice'));
  assert.match(await callText(again.client, 'whoami'), /\balice\b/);
  assert.ok(!again.signedIn());
});
