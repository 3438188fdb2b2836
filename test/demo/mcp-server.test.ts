/** The demo's MCP server, as the SDK's client meets it over stdio. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { startForgejo } from '../support/forgejo.js';

const serverFile = fileURLToPath(new URL('../../src/demo/mcp-server.js', import.meta.url));

async function connectAs(forgejoUrl: string, token: string): Promise<Client> {
  const client = new Client({ name: 'test', version: '1' });
  const env = { FORGEJO_URL: forgejoUrl, FORGEJO_ACCESS_TOKEN: token };
  await client.connect(new StdioClientTransport({ command: process.execPath, args: [serverFile], env }));
  return client;
}

function spawnServer(env: NodeJS.ProcessEnv): ChildProcess {
  return spawn(process.execPath, [serverFile], { env, stdio: ['pipe', 'pipe', 'pipe'] });
}

test('two users of one instance see themselves and their own repositories only', async () => {
  await using forgejo = await startForgejo();
  const scopes = ['read:user', 'read:repository'];
  const alice = await connectAs(forgejo.url, forgejo.control.createAccessToken('alice', scopes));
  const bob = await connectAs(forgejo.url, forgejo.control.createAccessToken('bob', scopes));
  const asked = await Promise.all(
    [alice, bob].flatMap((client) => [
      client.callTool({ name: 'whoami' }),
      client.callTool({ name: 'list_my_repos' }),
    ]),
  );
  const [whoIsAlice, aliceRepos, whoIsBob, bobRepos] = asked;
  assert.deepEqual(whoIsAlice?.structuredContent, { id: 2, login: 'alice' });
  assert.deepEqual(whoIsBob?.structuredContent, { id: 3, login: 'bob' });
  assert.deepEqual(aliceRepos?.content, [{ type: 'text', text: 'alice/garden\nalice/diary (private)' }]);
  assert.deepEqual(bobRepos?.content, [{ type: 'text', text: 'bob/workshop\nbob/ledger (private)' }]);
  await Promise.all([alice.close(), bob.close()]);
});

test('an issue is opened as the user and found where its URL says', async () => {
  await using forgejo = await startForgejo({ subPath: '/git' });
  const token = forgejo.control.createAccessToken('bob', ['write:issue']);
  const bob = await connectAs(`${forgejo.url}/`, token);
  const made = await bob.callTool({
    name: 'create_issue',
    arguments: { repo: 'alice/garden', title: 'Roses <&> thorns', body: 'Ouch' },
  });
  const url = `${forgejo.url}/alice/garden/issues/1`;
  assert.deepEqual(made.structuredContent, { number: 1, url });
  const page = await (await fetch(url)).text();
  assert.match(page, /Roses &lt;&amp;&gt; thorns/);
  assert.match(page, /Opened by bob/);
  await bob.close();
});

test("Forgejo's refusal is a tool error in Forgejo's words", async () => {
  await using forgejo = await startForgejo();
  const bob = await connectAs(forgejo.url, forgejo.control.createAccessToken('bob', ['read:user']));
  const refused = await bob.callTool({
    name: 'create_issue',
    arguments: { repo: 'alice/garden', title: 'No' },
  });
  assert.equal(refused.isError, true);
  const text = 'token does not have at least one of required scope(s): [write:issue]';
  assert.deepEqual(refused.content, [{ type: 'text', text }]);
  await bob.close();
});

test('an unreachable Forgejo is a tool error, not the end of the server', async () => {
  await using forgejo = await startForgejo();
  const alice = await connectAs(forgejo.url, forgejo.control.createAccessToken('alice', ['read:user']));
  forgejo.faults.reset();
  assert.equal((await alice.callTool({ name: 'whoami' })).isError, true);
  forgejo.faults.clear();
  assert.deepEqual((await alice.callTool({ name: 'whoami' })).structuredContent, { id: 2, login: 'alice' });
  await alice.close();
});

test('without its environment it says so and exits with 1', async () => {
  for (const env of [{}, { FORGEJO_URL: 'http://127.0.0.1:1' }, { FORGEJO_ACCESS_TOKEN: 'x' }]) {
    const child = spawnServer(env);
    let complaint = '';
    child.stderr?.on('data', (chunk) => {
      complaint += chunk;
    });
    const [code] = await once(child, 'close');
    assert.equal(code, 1);
    assert.equal(complaint, 'FORGEJO_URL and FORGEJO_ACCESS_TOKEN must be set\n');
  }
});

test('it ends with its standard input and on SIGTERM, even while Forgejo hangs', async () => {
  await using forgejo = await startForgejo();
  forgejo.faults.hang();
  const env = { FORGEJO_URL: forgejo.url, FORGEJO_ACCESS_TOKEN: 'any' };
  const call = { jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'whoami', arguments: {} } };
  const ends: ReadonlyArray<(child: ChildProcess) => unknown> = [
    (child) => child.stdin?.end(),
    (child) => child.kill('SIGTERM'),
  ];
  for (const [index, end] of ends.entries()) {
    const child = spawnServer(env);
    child.stdin?.write(`${JSON.stringify(call)}\n`);
    while (forgejo.faults.count('/api/v1/user') <= index) await new Promise(setImmediate);
    end(child);
    assert.deepEqual(await once(child, 'exit'), [0, null]);
  }
});
