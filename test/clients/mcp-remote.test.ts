/** mcp-remote, the bridge of every desktop client that only knows stdio, as a process of its own. */
import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import type { Person } from '../support/browser.js';
import { Browser, signIn } from '../support/browser.js';
import { root, startDemo } from '../support/demo.js';
import { callText } from '../support/sdk-v1.js';

const demo = await startDemo();
after(() => demo[Symbol.asyncDispose]());

interface Home extends Disposable {
  readonly env: Record<string, string>;
}

/** A home of its own, in which every program that could open a window does nothing. */
function makeHome(): Home {
  const home = mkdtempSync(join(tmpdir(), 'mcp-remote-'));
  const bin = join(home, 'bin');
  mkdirSync(bin);
  for (const name of ['open', 'xdg-open', 'browser']) {
    writeFileSync(join(bin, name), '#!/bin/sh\nexit 0\n');
    chmodSync(join(bin, name), 0o755);
  }
  const env = {
    HOME: home,
    MCP_REMOTE_CONFIG_DIR: join(home, 'config'),
    PATH: `${bin}:/usr/bin:/bin`,
    BROWSER: join(bin, 'browser'),
  };
  return { env, [Symbol.dispose]: () => rmSync(home, { recursive: true, force: true }) };
}

/** Starts mcp-remote, signs `person` in when it asks for that, and returns once the handshake is through. */
async function connect(home: Home, person: Person, args: readonly string[] = []) {
  const transport = new StdioClientTransport({
    command: process.execPath,
    args: [join(root, 'node_modules/mcp-remote/dist/proxy.js'), demo.mcpUrl, ...args],
    env: home.env,
    stderr: 'pipe',
  });
  let log = '';
  let visit: Promise<URL> | undefined;
  transport.stderr?.on('data', (chunk: Buffer) => {
    log += chunk.toString();
    const url = /Please authorize this client by visiting:\s+(http\S+)\s/.exec(log)?.[1];
    if (url !== undefined) visit ??= signIn(new Browser(), url, person, { deliver: true });
    visit?.catch(() => {}); // its failure is reported below, and by the handshake that never comes
  });
  const client = new Client({ name: 'desktop', version: '1.0.0' });
  try {
    await client.connect(transport, { timeout: 30_000 });
    await visit;
  } catch (error) {
    await client.close();
    await visit;
    throw new Error(`mcp-remote did not connect; it wrote:\n${log}`, { cause: error });
  }
  return { client, signedIn: () => visit !== undefined, [Symbol.asyncDispose]: () => client.close() };
}

test('a desktop client signs in through mcp-remote, and the next start needs no browser', async () => {
  using home = makeHome();
  {
    await using app = await connect(home, demo.user('alice'));
    assert.ok(app.signedIn());
    const { tools } = await app.client.listTools();
    assert.ok(tools.some(({ name }) => name === 'whoami'));
    assert.match(await callText(app.client, 'whoami'), /\balice\b/);
  }
  await using again = await connect(home, demo.user('alice'));
  assert.match(await callText(again.client, 'whoami'), /\balice\b/);
  assert.ok(!again.signedIn());
});

test('mcp-remote that negotiates the version reaches the same tools', async () => {
  using home = makeHome();
  await using app = await connect(home, demo.user('bob'), ['--protocol', 'auto']);
  assert.match(await callText(app.client, 'whoami'), /\bbob\b/);
});
