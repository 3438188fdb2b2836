/** What is measured: the broker and those beside it, each with the same child, and how each is asked. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from '../../src/demo/free-port.js';
import { root } from '../support/command.js';
import { commandLine } from '../support/demo.js';
import type { RepeatedRequest } from './load.js';
import {
  type EchoChild,
  listens,
  modules,
  type Program,
  startProgram,
  startServer,
  until,
} from './programs.js';
import { accessToken, ownerOf, seed, sessionId } from './seed.js';

export const TARGETS = ['broker', 'broker, modern', 'relay', 'supergateway', 'mcp-proxy'] as const;
export type TargetName = (typeof TARGETS)[number];

export interface Target extends AsyncDisposable {
  readonly name: TargetName;
  readonly pid: number;
  readonly port: number;
  /** What is sent beside the usual headers, each with its line break. */
  readonly headers: string;
}

export interface BrokerTarget extends Target {
  /** `auto` found it to work, or not. */
  readonly sandbox: 'bubblewrap' | 'none';
  readonly database: string;
  readonly origin: string;
  /** What is left after a collection of garbage. */
  memory(): Promise<{ readonly rss: number; readonly used: number }>;
}

export const PROTOCOL_VERSION = '2025-06-18';
const MODERN_VERSION = '2026-07-28';
const MAX_CHILDREN = 2000;
const KEY = Buffer.alloc(32, 1);

export interface BrokerOptions {
  readonly child: EchoChild;
  readonly rows: number;
  readonly sessions: number;
}

/** As `npm start` starts it, over a database that is there already. No Forgejo: nothing here has to ask one. */
export async function startBroker({ child, rows, sessions }: BrokerOptions): Promise<BrokerTarget> {
  const folder = mkdtempSync(join(tmpdir(), 'fjmcp-bench-'));
  const database = join(folder, 'broker.db');
  const port = await freePort();
  const publicUrl = `http://127.0.0.1:${port}`;
  const forgejoUrl = `http://127.0.0.1:${await freePort()}`;
  await seed({ path: database, rows, sessions, key: KEY, publicUrl, forgejoUrl });
  const preload = join(import.meta.dirname, 'memory.js');
  const args = ['--expose-gc', '--import', preload, join(root, 'dist/src/main.js'), 'serve'];
  const program = startProgram(process.execPath, args, {
    BROKER_PUBLIC_URL: publicUrl,
    BROKER_LISTEN: `127.0.0.1:${port}`,
    BROKER_DATABASE: database,
    BROKER_ENCRYPTION_KEY: KEY.toString('base64'),
    BROKER_MCP_COMMAND: commandLine(...child.words),
    BROKER_MAX_CHILDREN: `${MAX_CHILDREN}`,
    BROKER_MAX_CHILDREN_PER_USER: `${MAX_CHILDREN}`,
    // Nothing falls asleep while it is measured.
    BROKER_CHILD_IDLE_SECONDS: '3600',
    BROKER_DRAIN_SECONDS: '0',
    FORGEJO_URL: forgejoUrl,
    FORGEJO_CLIENT_ID: 'bench',
    FORGEJO_CLIENT_SECRET: 'bench',
  });
  const { output } = program;
  await until(() => listens(port), 'the broker').catch((cause: unknown) => {
    throw new Error(`the broker wrote:\n${output.stdout}${output.stderr}`, { cause });
  });
  return {
    name: 'broker',
    pid: program.pid,
    port,
    headers: bearer(0),
    database,
    origin: publicUrl,
    get sandbox() {
      return (output.stdout + output.stderr).includes('sandbox.ready') ? 'bubblewrap' : 'none';
    },
    async memory() {
      const from = output.stderr.length;
      process.kill(program.pid, 'SIGUSR2');
      await until(() => output.stderr.indexOf('\n', from) !== -1, 'the count of memory');
      const line = output.stderr.slice(from).split('\n')[0] ?? '';
      return JSON.parse(line.replace('memory ', '')) as { rss: number; used: number };
    },
    async [Symbol.asyncDispose]() {
      await program[Symbol.asyncDispose]();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

export async function startRelay(child: EchoChild): Promise<Target> {
  const program = await startServer('relay.js', child.words);
  return targetOf('relay', program.port, program);
}

export async function startPeer(name: 'supergateway' | 'mcp-proxy', child: EchoChild): Promise<Target> {
  const port = await freePort();
  const args = {
    supergateway: [
      join(modules, 'supergateway/dist/index.js'),
      ...['--stdio', commandLine(...child.words), '--port', `${port}`, '--logLevel', 'none'],
      ...['--outputTransport', 'streamableHttp', '--stateful'],
    ],
    'mcp-proxy': [
      join(modules, 'mcp-proxy/dist/bin/mcp-proxy.mjs'),
      ...['--host', '127.0.0.1', '--port', `${port}`, '--server', 'stream', '--', ...child.words],
    ],
  }[name];
  const program = startProgram(process.execPath, args);
  await until(() => listens(port), name).catch((cause: unknown) => {
    throw new Error(`${name} wrote:\n${program.output.stdout}${program.output.stderr}`, { cause });
  });
  return targetOf(name, port, program);
}

function targetOf(name: TargetName, port: number, program: Program): Target {
  return {
    name,
    pid: program.pid,
    port,
    headers: '',
    [Symbol.asyncDispose]: () => program[Symbol.asyncDispose](),
  };
}

const bearer = (user: number): string => `Authorization: Bearer ${accessToken(user)}\r\n`;

/** The head of a POST to the MCP endpoint, up to its length. */
export function headOf({ port, headers }: Target, session?: string): string {
  return (
    `POST /mcp HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nContent-Type: application/json\r\n` +
    `Accept: application/json, text/event-stream\r\n${headers}` +
    (session === undefined
      ? ''
      : `MCP-Protocol-Version: ${PROTOCOL_VERSION}\r\nMcp-Session-Id: ${session}\r\n`)
  );
}

/** As a user of the seeded database. */
export function as(target: Target, user: number): Target {
  return { ...target, headers: bearer(user) };
}

/** Head of a session that lies in the database. */
export function storedHead(target: Target, session: number): string {
  return headOf(as(target, ownerOf(session)), sessionId(session));
}

export function initializeBody(clientName: string): { beforeId: string; afterId: string } {
  const params = {
    protocolVersion: PROTOCOL_VERSION,
    capabilities: {},
    clientInfo: { name: clientName, version: '1' },
  };
  return {
    beforeId: '{"jsonrpc":"2.0","id":',
    afterId: `,"method":"initialize","params":${JSON.stringify(params)}}`,
  };
}

/** A call of the child's tool, answered by a text of so many bytes. */
export function callOf(heads: readonly string[], bytes: number): RepeatedRequest {
  const args = bytes === 0 ? {} : { bytes };
  return {
    kind: 'repeated',
    heads,
    beforeId: '{"jsonrpc":"2.0","id":',
    afterId: `,"method":"tools/call","params":{"name":"echo","arguments":${JSON.stringify(args)}}}`,
    checkId: true,
  };
}

/**
 * The same call as a client of 2026-07-28 makes it: without a session, with all it is in each request. From so many
 * grants, each of which has a child of its own.
 */
export function modernCallOf(target: Target, bytes: number, grants = 1): RepeatedRequest {
  const name = 'io.modelcontextprotocol';
  const meta = {
    [`${name}/protocolVersion`]: MODERN_VERSION,
    [`${name}/clientInfo`]: { name: 'bench', version: '1' },
    [`${name}/clientCapabilities`]: {},
  };
  const about = `MCP-Protocol-Version: ${MODERN_VERSION}\r\nMcp-Method: tools/call\r\nMcp-Name: echo\r\n`;
  const heads = Array.from(
    { length: grants },
    (_, i) => `${headOf({ ...target, headers: bearer(i) })}${about}`,
  );
  const call = callOf(heads, bytes);
  return {
    ...call,
    afterId: call.afterId.replace('"arguments"', `"_meta":${JSON.stringify(meta)},"arguments"`),
  };
}

/** A whole request with a body that is not repeated. */
export const requestOf = (head: string, body: string): string =>
  `${head}Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;

/** Opens a session as a client does, and returns its id. */
/** A session that was begun: of the broker, with a known handshake, one without a child. */
export async function beginSession(target: Target, clientName: string): Promise<string> {
  const { beforeId, afterId } = initializeBody(clientName);
  const session = (await post(target, `${beforeId}1${afterId}`)).headers.get('mcp-session-id');
  if (session === null) throw new Error(`${target.name} gave no session`);
  await post(target, '{"jsonrpc":"2.0","method":"notifications/initialized"}', session);
  return session;
}

/** One that has had its first answer. */
export async function openSession(target: Target, clientName = 'bench'): Promise<string> {
  const session = await beginSession(target, clientName);
  const { beforeId, afterId } = callOf([], 0);
  await post(target, `${beforeId}2${afterId}`, session);
  return session;
}

async function post(target: Target, body: string, session?: string): Promise<Response> {
  const [, ...lines] = headOf(target, session).trimEnd().split('\r\n');
  const headers = lines.map((line) => line.split(/: (.*)/s, 2) as [string, string]);
  const url = `http://127.0.0.1:${target.port}/mcp`;
  const fields = headers.filter(([name]) => name !== 'Host');
  const response = await fetch(url, { method: 'POST', headers: fields, body });
  const text = await response.text();
  if (!response.ok) throw new Error(`${target.name} answered ${response.status}: ${text}`);
  return response;
}
