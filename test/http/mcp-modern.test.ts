/** The door for clients of MCP 2026-07-28: what is served there, what is refused and how, and that no session is made. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { startBridge } from '../fixtures/bridge.js';
import { connect, eventsOf, jsonOf, messagesOf, nextEvent } from '../fixtures/client.js';
import { modernBody, modernClient, modernHeaders } from '../fixtures/modern-client.js';
import { until } from '../fixtures/until.js';

const bridge = await startBridge({ traits: 'rich' });
after(() => bridge[Symbol.asyncDispose]());
const client = modernClient(bridge.url);

const AUTH = { Authorization: 'Bearer ann.1' };
const post = (body: string, headers: Readonly<Record<string, string>>) =>
  fetch(bridge.url, { method: 'POST', headers: { ...AUTH, ...headers }, body });

test('a request without a session is answered, and gets none', async () => {
  const response = await client.post('tools/call', { name: 'whoami' }, { id: 'ä' });
  assert.equal(response.status, 200);
  assert.match(response.headers.get('content-type') ?? '', /^application\/json/);
  assert.equal(response.headers.get('mcp-session-id'), null);
  const { id, result } = await jsonOf(response);
  assert.equal(id, 'ä');
  assert.equal(result.resultType, 'complete');
  assert.deepEqual(result._meta, {
    'io.modelcontextprotocol/serverInfo': { name: 'fixture', version: '1' },
  });
});

test('without a token the answer is 401, whatever the request says', async () => {
  const headers = modernHeaders('server/discover', {});
  const response = await post(modernBody('server/discover', {}), { ...headers, Authorization: '' });
  assert.equal(response.status, 401);
});

test('a refusal has the status of its error and the id of its request', async () => {
  const CALL = { name: 'whoami' };
  const good = modernHeaders('tools/call', CALL);
  const body = modernBody('tools/call', CALL, { id: 'r' });
  const version = (requested: string) => ({
    headers: { ...good, 'MCP-Protocol-Version': requested },
    body: body.replace('2026-07-28', requested),
  });
  const rows: [string, Readonly<Record<string, string>>, string, number, number][] = [
    [
      'no _meta',
      good,
      '{"jsonrpc":"2.0","id":"r","method":"tools/call","params":{"name":"whoami"}}',
      400,
      -32602,
    ],
    ['a header of a later version', { ...good, 'MCP-Protocol-Version': '2027-01-01' }, body, 400, -32020],
    ['a later version', version('2027-01-01').headers, version('2027-01-01').body, 400, -32022],
    ['another method in the header', { ...good, 'Mcp-Method': 'tools/list' }, body, 400, -32020],
    ['another name in the header', { ...good, 'Mcp-Name': 'echo' }, body, 400, -32020],
    [
      'a method of the other era',
      modernHeaders('ping', {}),
      modernBody('ping', {}, { id: 'r' }),
      404,
      -32601,
    ],
    [
      'a method of an extension',
      modernHeaders('tasks/get', { taskId: 't' }),
      modernBody('tasks/get', { taskId: 't' }, { id: 'r' }),
      404,
      -32601,
    ],
    [
      'a method that the server does not know',
      modernHeaders('prompts/list', {}),
      modernBody('prompts/list', {}, { id: 'r' }),
      404,
      -32601,
    ],
  ];
  for (const [what, headers, text, status, code] of rows) {
    const response = await post(text, headers);
    const { id, error } = await jsonOf(response);
    assert.deepEqual({ status: response.status, code: error?.code, id }, { status, code, id: 'r' }, what);
  }
});

test('initialize in modern words is a method that does not exist, and opens no session', async () => {
  const { sessions } = bridge.sessions.counts;
  const params = { protocolVersion: '2026-07-28', capabilities: {}, clientInfo: { name: 'x', version: '1' } };
  const response = await client.post('initialize', params);
  assert.equal(response.status, 404);
  assert.equal((await jsonOf(response)).error.code, -32601);
  assert.equal(bridge.sessions.counts.sessions, sessions);
});

test('a header that names a known legacy version is overruled by the body, and noted once for each client', async () => {
  const headers = { 'MCP-Protocol-Version': '2025-11-25' };
  for (const bearer of ['ann.1', 'ann.1', 'ann.2']) {
    const { result } = await modernClient(bridge.url, bearer).call('tools/list', {}, { headers });
    assert.equal(result.resultType, 'complete');
  }
  const noted = bridge.events.filter(({ event }) => event === 'client.version-header');
  assert.deepEqual(
    noted.map(({ fields }) => [fields.grant, fields.header]),
    [
      ['ann.1', '2025-11-25'],
      ['ann.2', '2025-11-25'],
    ],
  );
  const unknown = await client.post('tools/list', {}, { headers: { 'MCP-Protocol-Version': '2025-01-01' } });
  assert.equal((await jsonOf(unknown)).error.code, -32020);
});

test('a notification is accepted, and means nothing', async () => {
  const headers = modernHeaders('notifications/cancelled', {});
  const body = '{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}';
  assert.equal((await post(body, headers)).status, 202);
});

test('there is nothing to GET and nothing to DELETE', async () => {
  const legacy = await connect(bridge.url);
  for (const method of ['GET', 'DELETE']) {
    const headers = { ...legacy.headers, 'MCP-Protocol-Version': '2026-07-28' };
    const response = await fetch(bridge.url, { method, headers });
    assert.equal(response.status, 405);
    assert.equal(response.headers.get('allow'), 'POST');
  }
  assert.equal((await legacy.call('ping')).error, undefined);
});

test('the id of a session on a modern request is ignored', async () => {
  const { result } = await client.call('tools/list', {}, { headers: { 'Mcp-Session-Id': 'se_nobody' } });
  assert.deepEqual(result.tools, []);
});

test('nobody can use what modern requests share as a session of his own', async () => {
  await client.tool('whoami');
  const shared = bridge.events.map(({ fields }) => fields.session).find((id) => String(id).startsWith('sh_'));
  assert.ok(shared !== undefined);
  const response = await post('{"jsonrpc":"2.0","id":1,"method":"ping"}', {
    'Content-Type': 'application/json',
    'Mcp-Session-Id': String(shared),
  });
  assert.equal(response.status, 404);
});

test('what comes before the answer makes it a stream, without ids and for nobody to take up again', async () => {
  const args = { steps: 3 };
  const asking = { meta: { progressToken: 'tok' } };
  const response = await client.post('tools/call', { name: 'progress', arguments: args }, asking);
  const text = await response.clone().text();
  assert.doesNotMatch(text, /^(id|retry):/m);
  const messages = await messagesOf(response);
  assert.deepEqual(
    messages.map(({ method, params, result }) => [method ?? result.resultType, params?.progressToken]),
    [...Array.from({ length: 3 }, () => ['notifications/progress', 'tok']), ['complete', undefined]],
  );
});

test('a client that goes away cancels its request, and no other', async () => {
  const gone = new AbortController();
  const asking = { meta: { progressToken: 1 }, signal: gone.signal };
  const leaving = await client.post(
    'tools/call',
    { name: 'slowly', arguments: { steps: 1e6, ms: 5 } },
    asking,
  );
  const staying = client.tool('later', { ms: 300 });
  await nextEvent(eventsOf(leaving));
  gone.abort();
  assert.equal((await staying).result.waited, 300);
  const cancelled = async () => {
    const { result } = await client.tool('received');
    return result.received.filter((line: string) => line.includes('notifications/cancelled'));
  };
  await until('the cancellation', async () => (await cancelled()).length === 1);
});

test('a request to a broker that stops may come again at once', async () => {
  await using other = await startBridge();
  await other.sessions[Symbol.asyncDispose]();
  const response = await modernClient(other.url).post('tools/list', {}, { id: 's' });
  assert.equal(response.status, 503);
  assert.equal(response.headers.get('retry-after'), '1');
  assert.equal((await jsonOf(response)).id, 's');
});
