/** How a server lets go of its connections, and how it notices that one has been let go. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { Agent, get, type IncomingMessage } from 'node:http';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { Hono } from 'hono';
import type { NodeEnv } from '../../src/http/app.js';
import { type HttpServer, listenerOf, listenHttp } from '../../src/http/server.js';
import { FIXTURES } from '../fixtures/bridge.js';
import { until } from '../fixtures/until.js';

const LOOPBACK = { kind: 'tcp', host: '127.0.0.1', port: 0 } as const;

/** Asks over its one connection, and again when it is told to; it counts what it has handed to the system. */
const KEPT_CLIENT = `
  const { parentPort, workerData: { port, sent } } = require('node:worker_threads');
  const { Agent, get } = require('node:http');
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const ask = () => get({ port, host: '127.0.0.1', path: '/quick', agent }, async (response) => {
    for await (const chunk of response) parentPort.postMessage(String(chunk));
  }).on('error', (error) => parentPort.postMessage(String(error))).on('finish', () => Atomics.add(sent, 0, 1));
  parentPort.on('message', ask);
  ask();
`;

interface Stage extends AsyncDisposable {
  readonly server: HttpServer;
  readonly port: number;
  /** How many requests wait for their answer. */
  readonly waiting: () => number;
  /** Answers all of them. */
  readonly answer: () => void;
}

async function start(): Promise<Stage> {
  const waiting: (() => void)[] = [];
  const app = new Hono<NodeEnv>()
    .get('/quick', (c) => c.text('quick'))
    .get('/slow', async (c) => {
      await new Promise<void>((resolve) => waiting.push(resolve));
      return c.text('slow');
    })
    .get('/stream', () => {
      let end: () => void = () => undefined;
      const body = new ReadableStream({
        start(controller) {
          controller.enqueue(Buffer.from('begun'));
          end = () => controller.close();
        },
      });
      waiting.push(() => end());
      return new Response(body);
    });
  const server = await listenHttp(listenerOf(app), LOOPBACK, { idleMs: 60_000 });
  return {
    server,
    port: server.port ?? 0,
    waiting: () => waiting.length,
    answer: () => {
      for (const settle of waiting.splice(0)) settle();
    },
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

/** One kept connection, as a proxy has it. */
async function keep(port: number) {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const ask = async (path: string) => {
    const request = get({ port, path, agent, host: '127.0.0.1' });
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    let text = '';
    for await (const chunk of response) text += String(chunk);
    return { text, connection: response.headers.connection, reused: request.reusedSocket };
  };
  assert.equal((await ask('/quick')).connection, 'keep-alive');
  return { ask, [Symbol.dispose]: () => agent.destroy() };
}

async function dial(port: number): Promise<Socket> {
  const socket = connect(port, '127.0.0.1').resume();
  await once(socket, 'connect');
  return socket;
}

const isOver = (promise: Promise<unknown>): Promise<boolean> =>
  Promise.race([
    promise.then(() => true),
    new Promise<false>((resolve) => setImmediate(() => resolve(false))),
  ]);

test('a request in progress is answered, and its connection closed after it', async () => {
  await using stage = await start();
  using client = await keep(stage.port);
  const idle = await dial(stage.port);
  const slow = client.ask('/slow');
  await until('the request', () => stage.waiting() === 1);
  const drained = stage.server.drain(10_000);
  await once(idle, 'end');
  assert.equal(await isOver(drained), false);
  stage.answer();
  assert.deepEqual(await slow, { text: 'slow', connection: 'close', reused: true });
  await drained;
});

test('a request that still comes over a kept connection is served, as its last one', async () => {
  await using stage = await start();
  using client = await keep(stage.port);
  const drained = stage.server.drain(10_000);
  assert.deepEqual(await client.ask('/quick'), { text: 'quick', connection: 'close', reused: true });
  await drained;
});

test('an answer that began before goes on to its end', async () => {
  await using stage = await start();
  using client = await keep(stage.port);
  const stream = client.ask('/stream');
  await until('the request', () => stage.waiting() === 1);
  const drained = stage.server.drain(10_000);
  stage.answer();
  assert.equal((await stream).text, 'begun');
  await drained;
});

test('an idle connection is ended without a reset, after a moment of quiet', async () => {
  await using stage = await start();
  const socket = await dial(stage.port);
  socket.write('GET /quick HTTP/1.1\r\nHost: localhost\r\n\r\n');
  await once(socket, 'data');
  const before = Date.now();
  const endedAt = once(socket, 'end').then(() => Date.now());
  await stage.server.drain(10_000);
  assert.ok((await endedAt) - before >= 90);
});

test('a request that has come is served, also by a process that has no time to look', async () => {
  await using stage = await start();
  using client = await keep(stage.port);
  const drained = stage.server.drain(10_000);
  const asked = client.ask('/quick');
  // Once it is sent, all the time is taken until long after the next look at the connections is due.
  await new Promise((resolve) => setImmediate(resolve));
  for (const busyUntil = Date.now() + 250; Date.now() < busyUntil; );
  assert.equal((await asked).connection, 'close');
  await drained;
});

test('a request that is half there when the end begins is waited for', async () => {
  await using stage = await start();
  const socket = await dial(stage.port);
  let heard = '';
  socket.on('data', (chunk) => {
    heard += String(chunk);
  });
  const closed = once(socket, 'close');
  socket.write('GET /quick HTTP/1.1\r\n');
  const drained = stage.server.drain(10_000);
  socket.write('Host: localhost\r\n\r\n');
  await closed;
  assert.match(heard, /^HTTP\/1\.1 200 .*quick$/s);
  await drained;
});

test('a request that came while the broker was busy is read before its connection counts as quiet', async (t) => {
  await using stage = await start();
  // In a thread of its own, for it sends while this one is busy.
  const sent = new Int32Array(new SharedArrayBuffer(4));
  const client = new Worker(KEPT_CLIENT, { eval: true, workerData: { port: stage.port, sent } });
  t.after(() => client.terminate());
  assert.deepEqual(await once(client, 'message'), ['quick']);
  const drained = stage.server.drain(10_000);
  const started = performance.now();
  client.postMessage('again');
  // Until it is sent, and longer than a connection may be quiet.
  while (Atomics.load(sent, 0) < 2 || performance.now() - started < 200);
  assert.deepEqual(await once(client, 'message'), ['quick']);
  await drained;
});

test('nothing new is accepted, and who does not come to an end is cut when the time is up', async () => {
  const stage = await start();
  using client = await keep(stage.port);
  const slow = client.ask('/slow');
  await until('the request', () => stage.waiting() === 1);
  const drained = stage.server.drain(150);
  const [error] = (await once(connect(stage.port, '127.0.0.1'), 'error')) as [NodeJS.ErrnoException];
  assert.equal(error.code, 'ECONNREFUSED');
  await drained;
  await stage.server[Symbol.asyncDispose]();
  await assert.rejects(slow, { code: 'ECONNRESET' });
});

test('under load over kept connections no client meets a reset', async () => {
  await using stage = await start();
  let served = 0;
  const refused: string[] = [];
  const clients = Array.from({ length: 20 }, async () => {
    using client = await keep(stage.port);
    for (;;) {
      try {
        const { connection } = await client.ask('/quick');
        served += 1;
        if (connection === 'close') return;
      } catch (error) {
        refused.push(String(error));
        return;
      }
    }
  });
  await until('some traffic', () => served > 200);
  await stage.server.drain(10_000);
  await Promise.all(clients);
  assert.deepEqual(refused, []);
});

test('a client that came while one server ends and the next begins waits in the queue of the socket', async () => {
  const socket = createServer().listen(0, '127.0.0.1');
  await once(socket, 'listening');
  const { port } = socket.address() as AddressInfo;
  const { fd } = Reflect.get(socket, '_handle') as { readonly fd: number };
  const launch = (name: string) => {
    const child = spawn(process.execPath, [join(FIXTURES, 'listener.js'), name], {
      stdio: ['pipe', 'pipe', 'inherit', fd],
    });
    assert.ok(child.stdin !== null && child.stdout !== null);
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    const { stdin } = child;
    return { next: () => stdin.write('\n'), said: async () => (await lines.next()).value as string, child };
  };
  const [older, newer] = [launch('older'), launch('newer')];
  // Both have it now, as systemd would.
  socket.close();
  const ask = async () =>
    (await fetch(`http://127.0.0.1:${port}/`, { headers: { Connection: 'close' } })).text();
  older.next();
  assert.equal(await older.said(), 'listening');
  assert.equal(await ask(), 'older');
  older.next();
  assert.equal(await older.said(), 'ended');
  const waiting = ask();
  newer.next();
  assert.equal(await newer.said(), 'listening');
  assert.equal(await waiting, 'newer');
  newer.next();
  assert.equal(await newer.said(), 'ended');
});

test('the system asks a quiet connection every minute whether its other end is still there', {
  skip: process.platform !== 'linux',
}, async () => {
  await using stage = await start();
  const socket = await dial(stage.port);
  const hex = (port: number | undefined) => (port ?? 0).toString(16).toUpperCase().padStart(4, '0');
  const ends = `0100007F:${hex(stage.port)} 0100007F:${hex(socket.localPort)} 01`;
  const line = () =>
    readFileSync('/proc/net/tcp', 'utf8')
      .split('\n')
      .find((row) => row.includes(ends)) ?? '';
  // proc(5): kind 2 of timer is keep-alive; its time is in hundredths of a second.
  await until('the timer', () => / 02:[0-9A-F]{8} /.test(line()));
  const hundredths = Number.parseInt(/ 02:([0-9A-F]{8}) /.exec(line())?.[1] ?? '', 16);
  assert.ok(hundredths > 5000 && hundredths <= 6100, `${hundredths}`);
  socket.destroy();
});
