/** `serve` as processes that come and go, in front of one stand-in Forgejo and one database. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { StandInForgejo } from '../../src/demo/forgejo/forgejo.js';
import { freePort } from '../../src/demo/free-port.js';
import type { News, Order } from '../fixtures/socket-holder.js';
import { isAlive, until } from '../fixtures/until.js';
import { root } from './command.js';
import { startForgejo } from './forgejo.js';
import { obtainTokens } from './oauth-client.js';

export interface ServeOptions {
  /** `held`: the socket outlives the brokers, as a socket unit of systemd makes it. */
  readonly socket?: 'own' | 'held';
  readonly env?: Readonly<Record<string, string>>;
}

export interface End {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface Served {
  readonly pid: number;
  readonly ended: Promise<End>;
  log(): string;
  kill(signal: NodeJS.Signals): Promise<End>;
}

export interface ServeStage extends AsyncDisposable {
  readonly url: string;
  readonly mcpUrl: string;
  readonly folder: string;
  readonly database: string;
  readonly forgejo: StandInForgejo;
  readonly env: Readonly<Record<string, string>>;
  /** A broker that listens, or (not `ready`) one that has just been started. */
  start(env?: Readonly<Record<string, string>>, wait?: 'ready' | 'no'): Promise<Served>;
  /** An access token. */
  signIn(login: string): Promise<string>;
}

export const MAIN = resolve(root, 'dist/src/main.js');
const SERVER = resolve(import.meta.dirname, '../fixtures/server.js');
const HOLDER = resolve(import.meta.dirname, '../fixtures/socket-holder.js');
const START_MS = 20_000;

export async function startServeStage({ socket = 'own', env: more }: ServeOptions = {}): Promise<ServeStage> {
  const folder = mkdtempSync(join(tmpdir(), 'fjmcp-serve-'));
  const forgejo = await startForgejo();
  const holder = socket === 'held' ? await holdSocket() : undefined;
  const port = holder?.port ?? (await freePort());
  const url = `http://127.0.0.1:${port}`;
  const { clientId, clientSecret } = forgejo.createApplication({
    name: 'broker',
    redirectUris: [`${url}/oauth/callback`],
  });
  const env = {
    PATH: process.env.PATH ?? '',
    BROKER_PUBLIC_URL: url,
    BROKER_LISTEN: socket === 'held' ? 'systemd' : `127.0.0.1:${port}`,
    BROKER_DATABASE: join(folder, 'broker.db'),
    BROKER_ENCRYPTION_KEY: Buffer.alloc(32, 1).toString('base64'),
    BROKER_MAX_CHILDREN_PER_USER: '100',
    BROKER_MCP_COMMAND: `'${process.execPath}' '${SERVER}'`,
    BROKER_SANDBOX: 'none',
    FORGEJO_URL: forgejo.url,
    FORGEJO_CLIENT_ID: clientId,
    FORGEJO_CLIENT_SECRET: clientSecret,
    ...more,
  };
  const running = new Set<Served>();
  let starts = 0;
  return {
    url,
    mcpUrl: `${url}/mcp`,
    folder,
    database: env.BROKER_DATABASE,
    forgejo,
    env,
    async start(changes = {}, wait = 'ready') {
      starts += 1;
      const log = join(folder, `${starts}.log`);
      writeFileSync(log, '');
      const order = { program: [process.execPath, MAIN, 'serve'], env: { ...env, ...changes }, log };
      const broker = served(await (holder ?? direct).start(order), log);
      running.add(broker);
      void broker.ended.then(() => running.delete(broker));
      if (wait === 'ready') {
        const isReady = () => broker.log().includes('"broker.ready"') || !isAlive(broker.pid);
        await until('a broker that is ready', isReady, START_MS);
        assert.match(broker.log(), /"broker\.ready"/);
      }
      return broker;
    },
    async signIn(login) {
      const person = forgejo.users.find((user) => user.login === login);
      assert.ok(person);
      return (await obtainTokens(`${url}/mcp`, person)).access_token;
    },
    async [Symbol.asyncDispose]() {
      await Promise.all([...running].map((broker) => broker.kill('SIGKILL')));
      holder?.close();
      await forgejo.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

interface Started {
  readonly pid: number;
  readonly ended: Promise<End>;
}

function served({ pid, ended }: Started, log: string): Served {
  let isOver = false;
  void ended.then(() => {
    isOver = true;
  });
  return {
    pid,
    ended,
    log: () => readFileSync(log, 'utf8'),
    kill: (signal) => {
      if (!isOver) process.kill(pid, signal);
      return ended;
    },
  };
}

const direct = {
  async start({ program: [command = '', ...args], env, log }: Order): Promise<Started> {
    const output = openSync(log, 'a');
    const child = spawn(command, args, { env, stdio: ['ignore', output, output] });
    closeSync(output);
    assert.ok(child.pid);
    const killer = () => child.kill('SIGKILL');
    process.once('exit', killer); // a test that dies takes its process along
    const ended = once(child, 'exit').then(([code, signal]): End => {
      process.off('exit', killer);
      return { code, signal };
    });
    return { pid: child.pid, ended };
  },
};

/** A listening socket in a process of its own: one in ours would take the connections. */
async function holdSocket() {
  const socket = createServer().listen(0, '127.0.0.1');
  await once(socket, 'listening');
  const { port } = socket.address() as AddressInfo;
  const { fd } = Reflect.get(socket, '_handle') as { readonly fd: number };
  const holder: ChildProcess = spawn(process.execPath, [HOLDER], {
    stdio: ['ignore', 'inherit', 'inherit', fd, 'ipc'],
  });
  const news = new EventEmitter();
  holder.on('message', (message: News) => {
    if ('started' in message) news.emit('started', message.started);
    else news.emit(`ended ${message.ended}`, { code: message.code, signal: message.signal });
  });
  socket.close();
  return {
    port,
    async start(order: Order): Promise<Started> {
      const started = once(news, 'started');
      holder.send(order);
      const [pid] = (await started) as [number];
      const ended = once(news, `ended ${pid}`).then(([end]): End => end);
      return { pid, ended };
    },
    close: () => holder.disconnect(),
  };
}
