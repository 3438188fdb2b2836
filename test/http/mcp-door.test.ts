/** What the MCP endpoint refuses, in which order, and with which words. */
import assert from 'node:assert/strict';
import { request as httpRequest } from 'node:http';
import { after, before, test } from 'node:test';
import { type Bridge, fixtureEntry, startBridge } from '../fixtures/bridge.js';
import {
  BOTH,
  type Client,
  clientOf,
  connect,
  initializeBody,
  JSON_TYPE,
  jsonOf,
} from '../fixtures/client.js';

const MAX = 96 * 1024;
const AUTH = { Authorization: 'Bearer ann.1' };
const PING = '{"jsonrpc":"2.0","id":"ä","method":"ping"}';

let bridge: Bridge;
let client: Client & { readonly sessionId: string };
before(async () => {
  bridge = await startBridge({
    servers: [fixtureEntry('main'), fixtureEntry('other')],
    limits: { maxMessageBytes: MAX },
  });
  client = await connect(bridge.url);
});
after(() => bridge[Symbol.asyncDispose]());

const send = (method: string, headers: Readonly<Record<string, string>>, body?: string, path = '') =>
  fetch(bridge.url + path, { method, headers, ...(body !== undefined && { body }) });

async function refusal(
  response: Response,
): Promise<{ status: number; code: number; id: unknown; data?: unknown }> {
  const { jsonrpc, id, error } = JSON.parse(await response.text());
  assert.equal(response.headers.get('content-type'), 'application/json');
  assert.equal(jsonrpc, '2.0');
  assert.equal(typeof error.message, 'string');
  return { status: response.status, code: error.code, id, ...(error.data && { data: error.data }) };
}

test('without a token the answer is 401, whatever else is wrong', async () => {
  const attempts: readonly (readonly [string, Record<string, string>, string?])[] = [
    ['POST', {}, 'not json'],
    ['POST', { ...JSON_TYPE, 'MCP-Protocol-Version': 'nonsense' }, PING],
    ['POST', { ...JSON_TYPE, 'Mcp-Session-Id': 'unknown' }, '['.repeat(MAX * 2)],
    ['GET', { Accept: 'text/html' }],
    ['GET', { 'Mcp-Session-Id': client.sessionId, Authorization: 'Bearer nonsense' }],
    ['HEAD', { Accept: 'application/json' }],
    ['DELETE', { 'Mcp-Session-Id': client.sessionId }],
    ['PUT', {}, ''],
  ];
  for (const [method, headers, body] of attempts) {
    const response = await send(method, headers, body);
    await response.arrayBuffer();
    assert.equal(response.status, 401, `${method} ${JSON.stringify(headers)}`);
    assert.ok(response.headers.has('www-authenticate'));
  }
});

test('an unknown server is 404, and a trailing slash changes nothing', async () => {
  assert.equal((await refusal(await send('POST', { ...AUTH, ...JSON_TYPE }, PING, '/nowhere'))).status, 404);
  for (const path of ['/', '/main', '/main/', '/other', '/other/']) {
    const response = await send('POST', { ...AUTH, ...JSON_TYPE, ...BOTH }, initializeBody(), path);
    assert.equal(response.status, 200, path);
    assert.equal(response.redirected, false);
    assert.ok(response.headers.has('mcp-session-id'), path);
    await response.arrayBuffer();
  }
});

test('a body that is not announced as JSON is 415', async () => {
  for (const type of ['text/plain', 'application/jsonp', 'multipart/form-data']) {
    const response = await send('POST', { ...AUTH, 'Content-Type': type }, PING);
    assert.deepEqual(await refusal(response), { status: 415, code: -32000, id: null }, type);
  }
  const response = await client.post(PING, { 'Content-Type': 'Application/JSON; charset=utf-8' });
  assert.equal(response.status, 200);
  await response.arrayBuffer();
});

test('a body over the limit is 413, announced or not', async () => {
  const fits = `${PING}${' '.repeat(MAX - Buffer.byteLength(PING))}`;
  assert.equal((await client.post(fits)).status, 200);
  assert.deepEqual(await refusal(await client.post(`${fits} `)), { status: 413, code: -32000, id: null });
  const status = await new Promise((resolve, reject) => {
    const request = httpRequest(
      bridge.url,
      { method: 'POST', headers: { ...AUTH, ...JSON_TYPE, 'Transfer-Encoding': 'chunked' } },
      (response) => resolve(response.resume().statusCode),
    );
    request.on('error', reject);
    for (let i = 0; i < 8; i += 1) request.write('x'.repeat(MAX / 4));
    request.end();
  });
  assert.equal(status, 413);
});

test('an initialize that would be kept for the life of a session is small', async () => {
  const capabilities = { experimental: { blob: 'x'.repeat(64 * 1024) } };
  const response = await clientOf(bridge.url, AUTH).post(initializeBody('2025-11-25', capabilities));
  assert.equal(response.status, 413);
  assert.match(await response.text(), /65536 bytes/);
});

test('a chunked body within the limit is read', async () => {
  const body = new ReadableStream({
    start(controller) {
      for (const byte of Buffer.from(PING)) controller.enqueue(Uint8Array.of(byte));
      controller.close();
    },
  });
  const response = await fetch(bridge.url, {
    method: 'POST',
    headers: { ...AUTH, ...JSON_TYPE, 'Mcp-Session-Id': client.sessionId },
    body,
    duplex: 'half',
  });
  assert.deepEqual(await response.json(), { jsonrpc: '2.0', id: 'ä', result: {} });
});

test('what is not JSON is -32700, what is not JSON-RPC is -32600', async () => {
  for (const body of ['', '{', '{"jsonrpc":"2.0","id":1,"method":"a"', '{"a":"\u0001"}', '\ufeff{}']) {
    assert.deepEqual(await refusal(await client.post(body)), { status: 400, code: -32700, id: null }, body);
  }
  assert.equal((await refusal(await client.post(Buffer.from([0x22, 0xff, 0x22])))).code, -32700, 'not UTF-8');
  for (const [body, id] of [
    ['7', null],
    ['{}', null],
    ['{"jsonrpc":"1.0","id":"ü","method":"ping"}', 'ü'],
    ['{"jsonrpc":"2.0","id":null,"method":"ping"}', null],
    ['{"jsonrpc":"2.0","id":1,"\\u0069d":2,"method":"ping"}', null],
  ] as const) {
    assert.deepEqual(await refusal(await client.post(body)), { status: 400, code: -32600, id }, body);
  }
});

test('a probe without the words of its era is answered here, with its own id, and costs no child', async () => {
  const { children } = bridge.sessions.counts;
  const body = '{"jsonrpc":"2.0","id":"server-discover-probe-1","method":"server/discover","params":{}}';
  const response = await refusal(await send('POST', { ...AUTH, ...JSON_TYPE }, body));
  assert.deepEqual(response, { status: 404, code: -32601, id: 'server-discover-probe-1' });
  assert.equal(bridge.sessions.counts.children, children);
});

test('a session needs its version to be one of those with sessions, or unsaid', async () => {
  for (const version of ['2024-11-05', '2025-03-26', '2025-06-18', '2025-11-25']) {
    const response = await client.post(PING, { 'MCP-Protocol-Version': version });
    assert.equal(response.status, 200, version);
    await response.arrayBuffer();
  }
  for (const version of ['nonsense', '2099-01-01', '2024-10-07', '']) {
    const response = await refusal(await client.post(PING, { 'MCP-Protocol-Version': version }));
    assert.equal(response.status, 400, version);
  }
});

test('no session is 400, a session that is not there is 404', async () => {
  const bare = clientOf(bridge.url, AUTH);
  assert.deepEqual(await refusal(await bare.post(PING)), { status: 400, code: -32000, id: 'ä' });
  const unknown = { 'Mcp-Session-Id': 'se_unknown' };
  const gone = { status: 404, code: -32001, id: null };
  assert.deepEqual(await refusal(await bare.post(PING, unknown)), { ...gone, id: 'ä' });
  assert.deepEqual(
    await refusal(await bare.post('{"jsonrpc":"2.0","method":"notifications/initialized"}', unknown)),
    gone,
  );
  assert.deepEqual(await refusal(await bare.post('{"jsonrpc":"2.0","id":1,"result":{}}', unknown)), gone);
  assert.deepEqual(await refusal(await bare.get(unknown)), gone);
  assert.deepEqual(await refusal(await send('DELETE', { ...AUTH, ...unknown })), gone);
  assert.equal((await refusal(await send('DELETE', AUTH))).status, 400);
});

test('a broker that ends says no session is gone: every request is 503, to be tried again over another connection', async () => {
  await using ending = await startBridge();
  const client = await connect(ending.url);
  const stranger = clientOf(ending.url, { ...client.headers, 'Mcp-Session-Id': 'se_unknown' });
  const { 'Mcp-Session-Id': _, ...headers } = client.headers;
  await ending.sessions[Symbol.asyncDispose]();
  for (const [what, response] of [
    ['a request', await client.post('{"jsonrpc":"2.0","id":1,"method":"echo","params":{}}')],
    ['a notification', await client.post('{"jsonrpc":"2.0","method":"notifications/initialized"}')],
    ['a stream', await client.get()],
    ['an end', await fetch(ending.url, { method: 'DELETE', headers: client.headers })],
    ['a session that nobody knows', await stranger.post('{"jsonrpc":"2.0","id":1,"method":"ping"}')],
    ['a new session', await clientOf(ending.url, headers).post(initializeBody())],
  ] as const) {
    assert.equal(response.status, 503, what);
    assert.equal(response.headers.get('retry-after'), '1', what);
    assert.equal(response.headers.get('connection'), 'close', what);
    assert.match((await jsonOf(response)).error.message, /restarting/, what);
  }
});

test('a session is of one user, one grant and one server', async () => {
  for (const bearer of ['bob.1', 'ann.2']) {
    const stranger = clientOf(bridge.url, {
      Authorization: `Bearer ${bearer}`,
      'Mcp-Session-Id': client.sessionId,
    });
    assert.equal((await refusal(await stranger.post(PING))).status, 404, bearer);
    assert.equal((await refusal(await stranger.get())).status, 404, bearer);
  }
  const elsewhere = clientOf(`${bridge.url}/other`, client.headers);
  assert.equal((await refusal(await elsewhere.post(PING))).status, 404);
  const theft = await send('DELETE', { Authorization: 'Bearer bob.1', 'Mcp-Session-Id': client.sessionId });
  assert.equal(theft.status, 404);
  assert.equal((await client.post(PING)).status, 200);
});

test('initialize ignores a stale session id', async () => {
  const response = await clientOf(bridge.url, AUTH).post(initializeBody(), { 'Mcp-Session-Id': 'se_stale' });
  assert.equal(response.status, 200);
  assert.match(response.headers.get('mcp-session-id') ?? '', /^se_[\w-]{22,}$/);
  await response.arrayBuffer();
});

test('an initialized notification without its session is accepted, for it is lost on the way', async () => {
  const response = await clientOf(bridge.url, AUTH).post(
    '{"jsonrpc":"2.0","method":"notifications/initialized"}',
  );
  assert.equal(response.status, 202);
  assert.equal(await response.text(), '');
  assert.equal(
    (await clientOf(bridge.url, AUTH).post('{"jsonrpc":"2.0","method":"notifications/x"}')).status,
    400,
  );
});

test('notifications and answers are 202 with an empty body', async () => {
  for (const body of [
    '{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}',
    '{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"never asked"}}',
    '{"jsonrpc":"2.0","id":4711,"result":{}}',
    '{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"?"}}',
  ]) {
    const response = await client.post(body);
    assert.equal(response.status, 202, body);
    assert.equal(await response.text(), '');
  }
});

test('GET without a session and methods nobody knows are 405', async () => {
  const get = await clientOf(bridge.url, AUTH).get();
  assert.equal(get.headers.get('allow'), 'POST, DELETE');
  assert.equal((await refusal(get)).status, 405);
  for (const method of ['PUT', 'PATCH', 'HEAD']) {
    const response = await send(method, { ...AUTH, 'Mcp-Session-Id': client.sessionId });
    assert.equal(response.status, 405, method);
    assert.match(response.headers.get('allow') ?? '', /POST/);
    await response.arrayBuffer();
  }
});

test('DELETE ends a session once', async () => {
  const brief = await connect(bridge.url);
  const response = await send('DELETE', brief.headers);
  assert.equal(response.status, 204);
  assert.equal((await send('DELETE', brief.headers)).status, 404);
  assert.equal((await brief.post(PING)).status, 404);
});

test('the form of the answer follows what the client accepts, leniently', async () => {
  for (const [accept, form] of [
    ['application/json, text/event-stream', 'application/json'],
    ['*/*', 'application/json'],
    ['application/json', 'application/json'],
    ['text/event-stream', 'text/event-stream'],
    ['text/html', 'application/json'],
  ] as const) {
    const response = await client.post(PING, { Accept: accept });
    assert.equal(response.headers.get('content-type'), form, accept);
    assert.match(await response.text(), /"result":\{\}/);
  }
});
