/** The listening socket: TCP, UNIX, or the one systemd hands over. */
import { chmodSync, rmSync } from 'node:fs';
import type { Server } from 'node:http';
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
export async function listenHttp(app: Hono<NodeEnv>, listen: Listen): Promise<HttpServer> {
  const server = createAdaptorServer({ fetch: app.fetch }) as Server;
  server.keepAliveTimeout = KEEP_ALIVE_MS;
  server.requestTimeout = 120_000;
  server.on('connection', (socket) => socket.setKeepAlive(true, 60_000));
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(target(listen), resolve);
  });
  if (listen.kind === 'unix') chmodSync(listen.path, 0o660);
  const address = server.address();
  return {
    port: typeof address === 'object' && address !== null ? address.port : undefined,
    stopListening: () => {
      server.close();
      server.closeIdleConnections();
    },
    async [Symbol.asyncDispose](): Promise<void> {
      const closed = new Promise((resolve) => server.once('close', resolve));
      if (server.listening) server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

function target(listen: Listen): { host: string; port: number } | { path: string } | { fd: number } {
  switch (listen.kind) {
    case 'tcp':
      return { host: listen.host, port: listen.port };
    case 'unix':
      // Left behind by a broker that was killed.
      rmSync(listen.path, { force: true });
      return { path: listen.path };
    case 'systemd':
      return { fd: SYSTEMD_FD };
  }
}
