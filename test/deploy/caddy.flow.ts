/** What holds for a broker behind the shipped Caddyfile. Started by caddy.e2e.ts, one test after the other. */
import assert from 'node:assert/strict';
import dns from 'node:dns';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect as connectHttp2, constants } from 'node:http2';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { type StandInForgejo, startForgejo } from '../../src/demo/forgejo/forgejo.js';
import { type Client, connect } from '../fixtures/client.js';
import { Browser } from '../support/browser.js';
import { authorize, discover, register, type Tokens } from '../support/oauth-client.js';
import { type Production, prepareProduction, startProduction } from './production.js';

const Stage = z.object({
  publicUrl: z.string(),
  upstreamPort: z.number(),
  folder: z.string(),
  /** What Caddy writes. */
  log: z.string(),
  /** Caddy's. */
  pid: z.number(),
});
const stage = Stage.parse(JSON.parse(process.env.FJMCP_CADDY_STAGE ?? ''));
const { publicUrl, upstreamPort, folder } = stage;
const mcpUrl = `${publicUrl}/mcp`;

// RFC 6761 §6.3: every name under localhost is loopback. Browsers know; the C library of Debian does not.
const lookup = dns.lookup;
Object.assign(dns, {
  lookup: (name: string, ...rest: unknown[]) =>
    Reflect.apply(lookup, dns, [name.endsWith('.localhost') ? '127.0.0.1' : name, ...rest]),
});

const STREAM_MS = 33_000;
/** The broker writes a comment every 15 s. */
const LONGEST_SILENCE_MS = 16_500;
const AT_ONCE_MS = 500;
/** The broker waits for 1 s before it decides that an answer becomes a stream. */
const DECISION_MS = 1000;
/** Of the Caddyfile: grace_period. */
const GRACE_MS = 10_000;

let forgejo: StandInForgejo;
let clientId: string;
let broker: Production;
let tokens: Tokens;
const browser = new Browser();

const start = (how: 'at once' | 'socket' = 'at once') =>
  startProduction(clientId, { publicUrl, port: upstreamPort, forgejo, folder, start: how });

before(async () => {
  forgejo = await startForgejo();
  clientId = prepareProduction(publicUrl, forgejo, folder);
  broker = await start();
});

after(async () => {
  await broker[Symbol.asyncDispose]();
  await forgejo.close();
});

test('a client that knows nothing but the URL signs in through Caddy and acts as that user', async () => {
  const discovery = await discover(mcpUrl);
  const alice = forgejo.users.find(({ login }) => login === 'alice');
  assert.ok(alice);
  tokens = await authorize(discovery, await register(discovery), alice, browser);
  const { result } = await (await connectClient()).call('tools/call', { name: 'whoami', arguments: {} });
  assert.equal(result.structuredContent.login, 'alice');
});

test('an event stream outlives half a minute, and its comments come when they are written', async () => {
  const clients = [await connectClient(), await connectClient()] as const;
  const streams = await Promise.all([
    record(STREAM_MS, chunksOfHttp1(clients[0])),
    record(STREAM_MS, chunksOfHttp2(clients[1])),
  ]);
  for (const arrivals of streams) {
    const [first = Number.POSITIVE_INFINITY] = arrivals;
    assert.ok(first < AT_ONCE_MS, `the first comment came after ${first} ms`);
    const silences = [...arrivals, STREAM_MS].map((at, index) => at - (arrivals[index - 1] ?? 0));
    assert.ok(Math.max(...silences) < LONGEST_SILENCE_MS, `silences of ${silences} ms`);
    assert.ok(arrivals.length >= 3, `comments after ${arrivals} ms`);
  }
});

test('a slow call becomes a stream at once, not when the tool is done', async () => {
  const client = await connectClient();
  await client.call('tools/call', { name: 'whoami', arguments: {} });
  forgejo.faults.slow(5000, '/api/v1/user');
  const started = performance.now();
  const response = await client.post(
    JSON.stringify({
      jsonrpc: '2.0',
      id: 'slow',
      method: 'tools/call',
      params: { name: 'whoami', arguments: {} },
    }),
  );
  const headersAfter = performance.now() - started;
  assert.match(response.headers.get('content-type') ?? '', /^text\/event-stream/);
  const chunks: { text: string; after: number }[] = [];
  for await (const chunk of response.body ?? []) {
    chunks.push({ text: Buffer.from(chunk).toString(), after: performance.now() - started });
  }
  forgejo.faults.clear();
  assert.ok(headersAfter < DECISION_MS + AT_ONCE_MS, `headers after ${headersAfter} ms`);
  assert.match(chunks[0]?.text ?? '', /^(:|id: )/);
  assert.ok((chunks[0]?.after ?? 0) < DECISION_MS + AT_ONCE_MS, `first comment after ${chunks[0]?.after} ms`);
  assert.match(chunks.at(-1)?.text ?? '', /"login":"alice"/);
  assert.ok((chunks.at(-1)?.after ?? 0) >= 5000, 'the tool was slow');
});

test('the broker learns at once that a client has gone', async () => {
  const client = await connectClient();
  const gone = new AbortController();
  const response = await client.get({}, gone.signal);
  assert.equal(response.status, 200);
  const open = connectionsTo(upstreamPort);
  gone.abort();
  await until(() => connectionsTo(upstreamPort) < open, 2000, 'Caddy keeps the stream of a client that left');
});

test('a message that is too large gets the refusal of the broker, not one of Caddy', async () => {
  const response = await (await connectClient()).post(Buffer.alloc(17 * 1024 * 1024, ' '));
  assert.equal(response.status, 413);
  assert.match(await response.text(), /"jsonrpc":"2.0"/);
});

test('while the broker restarts, a request without a body waits for it', async () => {
  await broker[Symbol.asyncDispose]();
  const metadata = fetch(`${publicUrl}/.well-known/oauth-authorization-server`);
  await sleep(1000);
  broker = await start();
  assert.equal((await metadata).status, 200);
});

test('with the socket unit a request with a body waits as well', async () => {
  await broker[Symbol.asyncDispose]();
  broker = await start('socket');
  const { result } = await (await connectClient()).call('tools/call', { name: 'whoami', arguments: {} });
  assert.equal(result.structuredContent.login, 'alice');
});

test('the log of Caddy holds no token, cookie, code or state, even of sign-ins that fail', async () => {
  const secret = 'do-not-log-me';
  const visit = () =>
    fetch(`${publicUrl}/oauth/callback?code=${secret}&state=${secret}`, {
      headers: {
        Cookie: `a=${secret}`,
        Authorization: `Bearer ${secret}`,
        Referer: `${publicUrl}/?${secret}`,
      },
    });
  assert.equal((await visit()).status, 400);
  await broker[Symbol.asyncDispose]();
  assert.equal((await visit()).status, 502, 'nobody answers behind Caddy');
  broker = await start();

  const log = readFileSync(stage.log, 'utf8');
  const cookie = browser.cookies.get(publicUrl, '__Host-fjmcp_browser');
  for (const found of [secret, tokens.access_token, tokens.refresh_token, cookie]) {
    assert.ok(found, 'there is something to look for');
    assert.ok(!log.includes(found), `Caddy logged ${found}`);
  }
  for (const [what] of log.matchAll(/"(?:request|resp)?_?headers":|"uri":"[^"]*\?(?!\[masked\]")[^"]*"/g)) {
    assert.fail(`Caddy logged ${what}`);
  }
  for (const path of ['/oauth/authorize', '/oauth/callback']) {
    assert.ok(log.includes(`"uri":"${path}?[masked]"`), `${path} is in the access log`);
  }
  assert.match(log, /"logger":"http.log.error"[^\n]*"uri":"\/oauth\/callback\?\[masked\]"/);
});

test('a stop of Caddy does not wait for streams that never end', { timeout: 2 * GRACE_MS }, async () => {
  const response = await (await connectClient()).get();
  assert.equal(response.status, 200);
  const started = performance.now();
  process.kill(stage.pid, 'SIGTERM');
  await assert.rejects(response.text());
  const took = performance.now() - started;
  assert.ok(took < GRACE_MS + 2000, `it took ${took} ms`);
});

const connectClient = () => connect(mcpUrl, tokens.access_token);

/** Milliseconds from now to each chunk that comes within `ms`. */
async function record(ms: number, chunks: AsyncIterable<unknown>): Promise<number[]> {
  const started = performance.now();
  const arrivals: number[] = [];
  const reading = (async () => {
    for await (const _chunk of chunks) arrivals.push(Math.round(performance.now() - started));
    return 'the stream ended';
  })();
  assert.equal(await Promise.race([reading, sleep(ms, undefined)]), undefined);
  return arrivals;
}

async function* chunksOfHttp1(client: Client): AsyncGenerator<unknown> {
  const response = await client.get();
  assert.equal(response.status, 200);
  yield* response.body ?? [];
}

async function* chunksOfHttp2(client: Client): AsyncGenerator<unknown> {
  const session = connectHttp2(publicUrl);
  const { HTTP2_HEADER_PATH, HTTP2_HEADER_STATUS } = constants;
  const stream = session.request({
    ...client.headers,
    accept: 'text/event-stream',
    [HTTP2_HEADER_PATH]: '/mcp',
  });
  const [headers] = await once(stream, 'response');
  assert.equal(headers[HTTP2_HEADER_STATUS], 200);
  yield* stream;
}

/** Established TCP connections to a local port, as the kernel lists them (proc_net_tcp: address, remote address, state). */
function connectionsTo(port: number): number {
  const remote = `0100007F:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  return readFileSync('/proc/net/tcp', 'utf8')
    .split('\n')
    .filter((line) => {
      const [, , target, state] = line.trim().split(/\s+/);
      return target === remote && state === '01';
    }).length;
}

async function until(holds: () => boolean, ms: number, otherwise: string): Promise<void> {
  const deadline = performance.now() + ms;
  while (!holds()) {
    assert.ok(performance.now() < deadline, otherwise);
    await sleep(50);
  }
}
