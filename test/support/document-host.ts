/** An HTTPS server for what clients publish: metadata documents and keys. Its certificate is a fixture, trusted by it alone. */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import { type AddressInfo, isIP, type LookupFunction } from 'node:net';
import { resolve } from 'node:path';
import type { PublicNetwork } from '../../src/base/public-fetch.js';

const fixture = (name: string) =>
  readFileSync(resolve(import.meta.dirname, '../../../test/fixtures', name), 'utf8');

export interface DocumentHost extends AsyncDisposable {
  /** Its origin, under the name of its certificate. */
  readonly url: string;
  /** Every name and port is this server, and its address counts as public. */
  readonly network: PublicNetwork;
  /** The paths asked for, in order. */
  readonly requests: readonly string[];
  /** Answers `path` with JSON from now on; returns its URL. */
  serve(path: string, body: unknown, headers?: Readonly<Record<string, string>>): string;
  /** Answers `path` as told. */
  route(path: string, listener: RequestListener): string;
}

export async function startDocumentHost(): Promise<DocumentHost> {
  const routes = new Map<string, RequestListener>();
  const requests: string[] = [];
  const ca = fixture('documents.test.crt.pem');
  const answer = (request: IncomingMessage, response: ServerResponse) => {
    requests.push(request.url ?? '');
    const route = routes.get(request.url ?? '');
    if (route === undefined) response.writeHead(404).end();
    else route(request, response);
  };
  const server = createServer({ cert: ca, key: fixture('documents.test.key.pem') }, answer);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const url = 'https://documents.test';
  const route = (path: string, listener: RequestListener) => {
    routes.set(path, listener);
    return url + path;
  };
  return {
    url,
    network: { lookup: resolvingTo('127.0.0.1'), isPublic: () => true, ca, port },
    requests,
    route,
    serve: (path, body, headers = {}) =>
      route(path, (_request, response) => {
        const text = typeof body === 'string' ? body : JSON.stringify(body);
        response.writeHead(200, { 'Content-Type': 'application/json', ...headers }).end(text);
      }),
    async [Symbol.asyncDispose]() {
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

/** A resolver that gives these addresses for every name. */
export function resolvingTo(...addresses: readonly string[]): LookupFunction {
  return (_hostname, _options, callback) =>
    callback(
      null,
      addresses.map((address) => ({ address, family: isIP(address) })),
    );
}
