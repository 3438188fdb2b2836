/** The listening socket: TCP, UNIX, or the one systemd hands over. */
import { chmodSync, lstatSync, rmSync } from 'node:fs';
import type { Server } from 'node:http';
import { connect } from 'node:net';
import { createAdaptorServer } from '@hono/node-server';
import type { Hono } from 'hono';
import type { Listen } from '../base/environment.js';
import type { NodeEnv } from './app.js';

/** Caddy keeps idle connections for 2 minutes; we must not be the first to hang up, or a request may meet a closed door. */
const KEEP_ALIVE_MS = 150_000;
/** sd_listen_fds(3): the first passed descriptor. */
const SYSTEMD_FD = 3;

export interface HttpServer extends AsyncDisposable {
  /** The TCP port, when there is one. */
  readonly port: number | undefined;
  /** Takes no new connection from now on; requests in progress go on. */
  stopListening(): void;
}

/** Starts to listen; rejects when the address cannot be had. */
export async function listenHttp(
  app: Hono<NodeEnv>,
  listen: Listen,
  { idleMs }: { readonly idleMs: number },
): Promise<HttpServer> {
  // The name is for requests of HTTP/1.0 without a Host, as some health checks are; otherwise they would be malformed.
  const server = createAdaptorServer({ fetch: app.fetch, hostname: 'localhost' }) as Server;
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
  let closed: Promise<void> | undefined;
  const stopListening = () => {
    closed ??= new Promise((resolve) => server.close(() => resolve()));
    server.closeIdleConnections();
  };
  return {
    port: typeof bound === 'object' && bound !== null ? bound.port : undefined,
    stopListening,
    async [Symbol.asyncDispose](): Promise<void> {
      stopListening();
      server.closeAllConnections();
      await closed;
    },
  };
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
