/**
 * A few lines of HTTP proxy that add `Authorization: Bearer` for clients that cannot sign in. Bytes stream through
 * in both directions unbuffered, headers pass as they are; only the proxy's own address in `Host` and `Origin`
 * becomes the target's, so a forged host stays forged.
 */
import { once } from 'node:events';
import { Agent, createServer, type IncomingMessage, request, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface BearerProxy extends AsyncDisposable {
  /** The target's URL, at the proxy's address. */
  readonly url: string;
}

export async function startBearerProxy(targetUrl: string, token: string): Promise<BearerProxy> {
  const target = new URL(targetUrl);
  const agent = new Agent({ keepAlive: false });
  const server = createServer((incoming, outgoing) => forward(incoming, outgoing));
  server.listen(0, target.hostname);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const own = `${target.hostname}:${port}`;

  function forward(incoming: IncomingMessage, outgoing: ServerResponse): void {
    const headers = { ...incoming.headers };
    if (headers.host === own) headers.host = target.host;
    if (headers.origin === `http://${own}`) headers.origin = target.origin;
    headers.authorization ??= `Bearer ${token}`;
    const upstream = request(
      {
        hostname: target.hostname,
        port: target.port,
        method: incoming.method,
        path: incoming.url,
        headers,
        agent,
      },
      (answer) => {
        outgoing.writeHead(answer.statusCode ?? 502, answer.rawHeaders);
        outgoing.flushHeaders();
        answer.on('error', () => outgoing.destroy()).pipe(outgoing);
      },
    );
    upstream.on('error', () => (outgoing.headersSent ? outgoing.destroy() : outgoing.writeHead(502).end()));
    outgoing.on('close', () => upstream.destroy());
    incoming.pipe(upstream);
  }

  const url = new URL(targetUrl);
  url.port = String(port);
  return {
    url: url.href,
    [Symbol.asyncDispose]: async () => {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
      agent.destroy();
    },
  };
}
