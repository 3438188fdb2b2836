/** The listening socket: TCP, UNIX, or the one systemd hands over; and how its connections come to a gentle end. */
import { chmodSync, lstatSync, rmSync } from 'node:fs';
import { createServer, type RequestListener, type Server, type ServerResponse } from 'node:http';
import { connect, Server as NetServer, type Socket } from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';
import { getRequestListener } from '@hono/node-server';
import type { Hono } from 'hono';
import type { Listen } from '../base/environment.js';
import type { NodeEnv } from './app.js';
import type { McpGate } from './mcp-gate.js';

/** Caddy keeps idle connections for 2 minutes; we must not be the first to hang up, or a request may meet a closed door. */
const KEEP_ALIVE_MS = 150_000;
/** At the end a kept connection is closed when nothing has come over it for so long. */
const QUIET_MS = 100;
const QUICK_TURN_MS = 5;
const MAX_TURNS = 20;
/** sd_listen_fds(3): the first passed descriptor. */
const SYSTEMD_FD = 3;

export interface HttpServer extends AsyncDisposable {
  /** The TCP port, when there is one. */
  readonly port: number | undefined;
  /**
   * Takes no new connection from now on. Requests in progress, and those that still come over kept connections, are
   * served; each answer is the last of its connection. Settles when there is nothing left to answer, or at the latest
   * after `withinMs`; what is open then ends with the server.
   */
  drain(withinMs: number): Promise<void>;
}

/** Hono as Node calls it. The gate takes what is its own first. */
export function listenerOf(app: Hono<NodeEnv>, gate: McpGate = () => false): RequestListener {
  // The name is for requests of HTTP/1.0 without a Host, as some health checks are; otherwise they would be malformed.
  const listener = getRequestListener(app.fetch, { hostname: 'localhost' });
  return (request, response) => {
    if (!gate(request, response)) void listener(request, response);
  };
}

/** Starts to listen; rejects when the address cannot be had. */
export async function listenHttp(
  listener: RequestListener,
  listen: Listen,
  { idleMs }: { readonly idleMs: number },
): Promise<HttpServer> {
  // RFC 9110 §5.3: of two Authorization headers, say, Node.js alone would take the first.
  const server = createServer({ joinDuplicateHeaders: true }, listener);
  server.keepAliveTimeout = KEEP_ALIVE_MS;
  server.requestTimeout = 120_000;
  // A connection on which nothing moves: a stream pings, so what is silent this long does not read its answer.
  server.timeout = idleMs;
  server.on('connection', (socket) => socket.setKeepAlive(true, 60_000));
  const address = await target(listen);
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(address, resolve);
  });
  if (listen.kind === 'unix') chmodSync(listen.path, 0o660);
  const bound = server.address();
  const drainer = new Drainer(server);
  return {
    port: typeof bound === 'object' && bound !== null ? bound.port : undefined,
    drain: (withinMs) => drainer.drain(withinMs),
    async [Symbol.asyncDispose](): Promise<void> {
      const closed = drainer.stopListening();
      // Stops Node's own check of slow requests as well.
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

/** Knows the connections and what is being answered on them, for the end. */
class Drainer {
  readonly #server: Server;
  /** With what is being answered on it, the last where a client sent several requests at once. */
  readonly #connections = new Map<Socket, ServerResponse | undefined>();
  #state: 'serving' | 'draining' = 'serving';
  #closed: Promise<void> | undefined;

  constructor(server: Server) {
    this.#server = server;
    server.on('connection', (socket) => {
      this.#connections.set(socket, undefined);
      socket.once('close', () => this.#connections.delete(socket));
    });
    const connections = this.#connections;
    function forget(this: ServerResponse): void {
      const { socket } = this.req;
      if (connections.get(socket) === this) connections.set(socket, undefined);
    }
    // Before the one that answers.
    server.prependListener('request', ({ socket }, response) => {
      connections.set(socket, response);
      response.on('close', forget);
      if (this.#state === 'draining') response.setHeader('Connection', 'close');
    });
  }

  /** Not by the method of the HTTP server: it also cuts idle connections, over which a request may be on its way. */
  stopListening(): Promise<void> {
    this.#closed ??= new Promise((resolve) => NetServer.prototype.close.call(this.#server, () => resolve()));
    return this.#closed;
  }

  drain(withinMs: number): Promise<void> {
    void this.stopListening();
    this.#state = 'draining';
    for (const answer of this.#connections.values()) {
      if (answer?.headersSent === false) answer.setHeader('Connection', 'close');
    }
    const received = new Map<Socket, number>();
    return new Promise((resolve) => {
      const settle = () => {
        clearTimeout(latest);
        clearInterval(rounds);
        resolve();
      };
      const latest = setTimeout(settle, withinMs);
      const round = () => {
        this.#endQuiet(received);
        const isOpen = [...this.#connections].some(
          ([socket, answer]) => answer !== undefined || !socket.writableEnded,
        );
        if (!isOpen) settle();
      };
      // Not before what has come by now is read: timers run first, and a request may wait behind them.
      const rounds = setInterval(() => void whatCameIsRead().then(round), QUIET_MS);
      this.#endQuiet(received);
    });
  }

  /** Ends the connections that have nothing to answer, and over which nothing came since the last time. */
  #endQuiet(received: Map<Socket, number>): void {
    for (const [socket, answer] of this.#connections) {
      if (answer !== undefined) received.delete(socket);
      else if (received.get(socket) === socket.bytesRead) socket.end();
      else received.set(socket, socket.bytesRead);
    }
  }
}

/**
 * While a busy process looks at what came over some connections, which may start a child, more comes over others. After a turn
 * of the event loop that took no time nothing is left; one that never has such a turn does not wait for it for long.
 */
async function whatCameIsRead(): Promise<void> {
  let startedAt = performance.now();
  for (let turns = 0; turns < MAX_TURNS; turns += 1) {
    await turn();
    const now = performance.now();
    if (now - startedAt < QUICK_TURN_MS) return;
    startedAt = now;
  }
}

type Address = { host: string; port: number } | { path: string } | { fd: number };

async function target(listen: Listen): Promise<Address> {
  switch (listen.kind) {
    case 'tcp':
      return { host: listen.host, port: listen.port };
    case 'unix':
      await removeDeadSocket(listen.path);
      return { path: listen.path };
    case 'systemd':
      return { fd: SYSTEMD_FD };
  }
}

/** A broker that was killed leaves its socket behind. Anything else that stands there is not ours to remove. */
async function removeDeadSocket(path: string): Promise<void> {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isSocket()) throw new Error(`${path} is there already and is no socket`);
  const isDead = await new Promise<boolean>((resolve) => {
    const probe = connect(path, () => {
      probe.destroy();
      resolve(false);
    });
    // A busy one answers EAGAIN.
    probe.once('error', (error) => resolve('code' in error && error.code === 'ECONNREFUSED'));
  });
  if (!isDead) throw new Error(`${path} is in use by another process`);
  rmSync(path);
}
