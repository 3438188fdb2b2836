/** One request and its answer on a real socket: what is said twice, and who is told that a client has gone. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { RequestListener } from 'node:http';
import { connect, type Socket } from 'node:net';
import { test } from 'node:test';
import { HttpExchange, jsonReply } from '../../src/http/http-exchange.js';
import { PostAnswer, type PostAnswerDesk } from '../../src/http/mcp-answers.js';
import { type HttpServer, listenHttp } from '../../src/http/server.js';
import { startBridge } from '../fixtures/bridge.js';
import { until } from '../fixtures/until.js';

const LOOPBACK = { kind: 'tcp', host: '127.0.0.1', port: 0 } as const;
const FRAME = { headers: [], count: () => undefined, fail: () => undefined };
const GET = (path: string) => `GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`;

/** Exchanges in the order of their requests. */
async function serve(): Promise<{ server: HttpServer; exchanges: HttpExchange[]; dial: () => Socket }> {
  const exchanges: HttpExchange[] = [];
  const listener: RequestListener = (request, response) => {
    exchanges.push(new HttpExchange(request, response, request.url ?? '', FRAME));
  };
  const server = await listenHttp(listener, LOOPBACK, { idleMs: 60_000 });
  return { server, exchanges, dial: () => connect(server.port ?? 0, '127.0.0.1').setEncoding('utf8') };
}

/** Two requests sent at once over one connection, and the paths of those that were told of its end. */
async function serveTwo() {
  const { server, exchanges, dial } = await serve();
  const socket = dial();
  socket.write(GET('/1') + GET('/2'));
  await until('both requests', () => exchanges.length === 2);
  const gone: string[] = [];
  for (const exchange of exchanges) exchange.whenGone(() => gone.push(exchange.path));
  return { socket, exchanges, gone, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
}

test('who is behind an unanswered request on a connection is told, too, when that goes, and once', async () => {
  await using pair = await serveTwo();
  const { socket, gone } = pair;
  socket.destroy();
  await until('both ends', () => gone.length >= 2);
  assert.deepEqual(
    gone.toSorted((a, b) => a.localeCompare(b)),
    ['/1', '/2'],
  );
});

test('an answer that had to wait for the one before it ends once', async () => {
  await using pair = await serveTwo();
  const { socket, exchanges, gone } = pair;
  for (const exchange of exchanges) exchange.reply({ status: 202 });
  await until('both ends', () => gone.length >= 2);
  socket.destroy();
  await once(socket, 'close');
  assert.deepEqual(gone, ['/1', '/2']);
});

test('what broke is told once, and what comes afterwards is dropped', async () => {
  const { server, exchanges, dial } = await serve();
  await using _server = server;
  const desk: PostAnswerDesk<undefined> = {
    decideAfterMs: 60_000,
    openStream: () => assert.fail('a second answer'),
    hold: () => undefined,
  };
  for (const later of ['stream', 'end'] as const) {
    const socket = dial();
    socket.write(GET('/'));
    await until('the request', () => exchanges.length > 0);
    const [http] = exchanges.splice(0);
    assert.ok(http);
    const answer = new PostAnswer(desk, {
      http,
      owner: undefined,
      accept: 'either',
      expected: 1,
      form: 'single',
    });
    http.reply(jsonReply(500, {}));
    if (later === 'stream') assert.equal(answer.stream(), undefined);
    else void answer.end(Buffer.from('{}'));
    const [text] = await once(socket, 'data');
    assert.match(String(text), /^HTTP\/1\.1 500 /);
    socket.destroy();
  }
});

for (const [target, status] of [
  ['http://127.0.0.1/mcp', 401],
  ['http://127.0.0.1/mcp/main?x=y', 401],
  ['http://evil.example/mcp', 403],
  ['http://127.0.0.1/mcpx', 404],
] as const) {
  test(`a request for ${target} in the absolute form is answered ${status}`, async () => {
    await using bridge = await startBridge();
    const socket = connect(Number(new URL(bridge.url).port), '127.0.0.1').setEncoding('utf8');
    socket.write(`GET ${target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n`);
    const [text] = await once(socket, 'data');
    assert.match(String(text), new RegExp(`^HTTP/1\\.1 ${status} `));
    socket.destroy();
  });
}
