/** mcp-remote, the bridge of desktop clients that only know stdio, as a process of its own: signed in, in a home of its own. */
import { join } from 'node:path';
import { Client, type ClientOptions } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { Browser, type Person, signIn } from './browser.js';
import { root } from './demo.js';
import type { Home } from './quiet-home.js';

export interface McpRemote extends AsyncDisposable {
  /** The desktop client at its other end. */
  readonly client: Client;
  readonly signedIn: () => boolean;
  /** What it wrote so far, beside the protocol. */
  readonly log: () => string;
}

export interface McpRemoteOptions {
  readonly args?: readonly string[];
  readonly options?: ClientOptions;
  /** Called before the handshake: the place to set handlers. */
  readonly prepare?: (client: Client) => void;
}

/** Starts it, signs `person` in when it asks for that, and returns once the handshake is through. */
export async function startMcpRemote(
  mcpUrl: string,
  home: Home,
  person: Person,
  { args = [], options = {}, prepare }: McpRemoteOptions = {},
): Promise<McpRemote> {
  const transport = new StdioClientTransport({
    command: process.execPath,
    args: [join(root, 'node_modules/mcp-remote/dist/proxy.js'), mcpUrl, ...args],
    env: { ...home.env, MCP_REMOTE_CONFIG_DIR: join(home.path, 'config') },
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
  const client = new Client({ name: 'desktop', version: '1.0.0' }, options);
  prepare?.(client);
  try {
    await client.connect(transport, { timeout: 30_000 });
    await visit;
  } catch (error) {
    await client.close();
    await visit;
    throw new Error(`mcp-remote did not connect; it wrote:\n${log}`, { cause: error });
  }
  return {
    client,
    signedIn: () => visit !== undefined,
    log: () => log,
    [Symbol.asyncDispose]: () => client.close(),
  };
}
