/**
 * The broker as its unit runs it: `serve`, the environment of deploy/broker.env.example, secrets as systemd
 * credentials, a stand-in Forgejo upstream.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { StandInForgejo } from '../../src/demo/forgejo/forgejo.js';
import { root } from '../support/demo.js';
import { descendantsOf, survivorsOf } from '../support/processes.js';
import { readExampleEnv } from './env-file.js';

export interface ProductionOptions {
  readonly publicUrl: string;
  readonly port: number;
  readonly forgejo: StandInForgejo;
  /** What a second start finds again: the database, the credentials and the log. */
  readonly folder: string;
  /** `socket`: systemd-socket-activate listens, and starts the broker at the first connection. */
  readonly start?: 'at once' | 'socket';
}

export interface Production extends AsyncDisposable {
  log(): string;
}

const START_MS = 15_000;
/** Of the unit: TimeoutStopSec. */
const STOP_MS = 20_000;

/** An instance-wide application, and its secret and a key where systemd would put them. */
export function prepareProduction(publicUrl: string, forgejo: StandInForgejo, folder: string): string {
  const { clientId, clientSecret } = forgejo.ensureApplication({
    name: 'forgejo-mcp-broker',
    redirectUris: [`${publicUrl}/oauth/callback`],
  });
  mkdirSync(join(folder, 'credentials'), { recursive: true });
  writeFileSync(join(folder, 'credentials/FORGEJO_CLIENT_SECRET'), `${clientSecret}\n`);
  writeFileSync(
    join(folder, 'credentials/BROKER_ENCRYPTION_KEY'),
    `${Buffer.alloc(32, 7).toString('base64')}\n`,
  );
  return clientId;
}

export async function startProduction(clientId: string, options: ProductionOptions): Promise<Production> {
  const { publicUrl, port, forgejo, folder, start = 'at once' } = options;
  const env = {
    ...readExampleEnv().active,
    PATH: process.env.PATH ?? '',
    CREDENTIALS_DIRECTORY: join(folder, 'credentials'),
    BROKER_PUBLIC_URL: publicUrl,
    BROKER_LISTEN: start === 'socket' ? 'systemd' : `127.0.0.1:${port}`,
    BROKER_DATABASE: join(folder, 'broker.db'),
    BROKER_MCP_COMMAND: `${process.execPath} ${join(root, 'dist/src/demo/mcp-server.js')}`,
    FORGEJO_URL: forgejo.url,
    FORGEJO_CLIENT_ID: clientId,
  };
  const broker = [process.execPath, join(root, 'dist/src/main.js'), 'serve'];
  const passed = Object.keys(env).flatMap((name) => ['-E', name]);
  const [command = '', ...args] =
    start === 'socket'
      ? ['systemd-socket-activate', ...passed, '-l', `127.0.0.1:${port}`, ...broker]
      : broker;
  const logFile = join(folder, 'broker.log');
  const output = openSync(logFile, 'a');
  const child = spawn(command, args, { cwd: folder, env, stdio: ['ignore', output, output] });
  const log = () => readFileSync(logFile, 'utf8');
  const isReady = () => (start === 'socket' ? log().includes('Listening on') : answers(port));
  const deadline = Date.now() + START_MS;
  while (!(await isReady())) {
    assert.equal(child.exitCode ?? child.signalCode, null, `the broker ended; it wrote:\n${log()}`);
    assert.ok(Date.now() < deadline, `the broker does not listen after ${START_MS} ms; it wrote:\n${log()}`);
    await sleep(50);
  }
  return { log, [Symbol.asyncDispose]: () => stop(child, log) };
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}

async function stop(child: ChildProcess, log: () => string): Promise<void> {
  assert.ok(child.pid);
  assert.equal(child.exitCode ?? child.signalCode, null, `the broker ended by itself; it wrote:\n${log()}`);
  const family = descendantsOf(child.pid);
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  const killer = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
  await ended;
  clearTimeout(killer);
  assert.equal(child.exitCode, 0, `the broker did not end well; it wrote:\n${log()}`);
  assert.deepEqual(await survivorsOf(family, 1000), [], 'children outlived the broker');
}
