/** A stream is more than its connection: what a client gets that was cut off and comes back, and what it does not. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { type Bridge, startBridge } from '../fixtures/bridge.js';
import {
  type Client,
  clientOf,
  connect,
  initializeBody,
  nextEvent,
  type RawEvent,
  rawEventsOf,
} from '../fixtures/client.js';
import { until } from '../fixtures/until.js';

const QUICK = { decideAfterMs: 20, pingMs: 50, stallMs: 5000 };
const JSON_ONLY = { Accept: 'application/json' };
const HOLD = '{"jsonrpc":"2.0","id":"held","method":"hold","params":{"count":2,"mine":"the answer"}}';

let bridge: Bridge;
before(async () => {
  bridge = await startBridge({ timing: QUICK });
});
after(() => bridge[Symbol.asyncDispose]());

interface Connection {
  readonly response: Response;
  readonly events: AsyncGenerator<RawEvent, undefined>;
  cut(): void;
}

async function open(client: Client, init: RequestInit): Promise<Connection> {
  const abort = new AbortController();
  const headers = { ...client.headers, 'Content-Type': 'application/json', Accept: 'text/event-stream' };
  const { signal } = abort;
  const response = await fetch(bridge.url, { ...init, headers: { ...headers, ...init.headers }, signal });
  const events = rawEventsOf(response);
  // A cut is no failure of the test.
  return { response, events, cut: () => abort.abort() };
}

/** A call that is answered when the test says so. */
const hold = (client: Client) => open(client, { method: 'POST', body: HOLD });
const release = (client: Client) =>
  client.post('{"jsonrpc":"2.0","id":2,"method":"hold","params":{"count":2}}', JSON_ONLY);

const get = (client: Client, lastEventId?: string) =>
  open(client, { headers: lastEventId === undefined ? {} : { 'Last-Event-ID': lastEventId } });

/** The child logs `count` lines, which leave through the call that is held. */
async function log(client: Client, count = 1, bytes = 1): Promise<void> {
  const params = { count, bytes };
  await (
    await client.post(JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'flood', params }), JSON_ONLY)
  ).text();
}

/** The child sends what goes to the standing stream. */
async function notify(client: Client, note: number): Promise<void> {
  const params = { method: 'notifications/tools/list_changed', note };
  await (
    await client.post(JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'notify', params }), JSON_ONLY)
  ).text();
}

const noteOf = ({ data }: RawEvent): unknown => JSON.parse(data ?? '').params.note;
const idOf = ({ id }: RawEvent): string => {
  assert.ok(id !== undefined);
  return id;
};

async function rest({ events }: Connection): Promise<RawEvent[]> {
  const all: RawEvent[] = [];
  for await (const event of events) all.push(event);
  return all;
}

const cancelledIn = async (client: Client): Promise<number> => {
  const { received } = (await client.call('received')).result;
  return received.filter((line: string) => line.includes('notifications/cancelled')).length;
};

function isPriming({ id, retry, data }: RawEvent): boolean {
  return id !== undefined && retry === '1000' && data === '';
}

test('from 2025-11-25 on a stream begins with an id and no data, and every event has an id of its own', async () => {
  const client = await connect(bridge.url);
  const call = await hold(client);
  const standing = await get(client);
  const [first, other] = [await nextEvent(call.events), await nextEvent(standing.events)];
  assert.ok(isPriming(first) && isPriming(other));
  await log(client, 3);
  await release(client);
  const ids = [first, other, ...(await rest(call))].map(idOf);
  assert.equal(new Set(ids).size, 6);
  standing.cut();
});

for (const version of ['2024-11-05', '2025-03-26', '2025-06-18']) {
  test(`in ${version} no event is without data, and none has an id`, async () => {
    const client = await connect(bridge.url, 'ann.1', initializeBody(version));
    const call = await hold(client);
    const standing = await get(client);
    await log(client);
    await notify(client, 1);
    await release(client);
    for (const event of [...(await rest(call)), await nextEvent(standing.events)]) {
      assert.deepEqual(Object.keys(event), ['data']);
      assert.notEqual(event.data, '');
    }
    standing.cut();
  });
}

test('a client that speaks an older version than its session gets what that version knows', async () => {
  const client = await connect(bridge.url);
  const older = clientOf(bridge.url, { ...client.headers, 'MCP-Protocol-Version': '2025-06-18' });
  const call = await hold(older);
  await release(older);
  assert.deepEqual((await rest(call)).map(Object.keys), [['data']]);
});

test('a stream that is cut mid-call goes on where it was: nothing is lost, nothing comes twice', async () => {
  const client = await connect(bridge.url);
  const call = await hold(client);
  await nextEvent(call.events);
  await log(client, 2);
  const seen = await nextEvent(call.events);
  call.cut();
  await log(client, 3, 5);
  const resumed = await get(client, idOf(seen));
  assert.equal(resumed.response.status, 200);
  const priming = await nextEvent(resumed.events);
  assert.ok(isPriming(priming));
  assert.equal(priming.id, seen.id, 'who is cut again before the first message still knows where it was');
  await log(client, 1, 7);
  await release(client);
  const lengths = (await rest(resumed)).map(({ data }) => JSON.parse(data ?? '').params?.data.length);
  assert.deepEqual(lengths, [1, 5, 5, 5, 7, undefined]);
  assert.equal(await cancelledIn(client), 0);
});

test('an answer that comes while nobody is there waits for its client', async () => {
  const client = await connect(bridge.url);
  const call = await hold(client);
  const priming = await nextEvent(call.events);
  call.cut();
  await release(client);
  for (let time = 1; time <= 2; time += 1) {
    const answers = (await rest(await get(client, idOf(priming)))).slice(1);
    assert.deepEqual(
      answers.map(({ data }) => JSON.parse(data ?? '')),
      [{ jsonrpc: '2.0', id: 'held', result: { mine: 'the answer' } }],
      'also twice: a client that was cut again does not know that it was sent',
    );
  }
});

test('a stream that has said everything has nothing to resume', async () => {
  const client = await connect(bridge.url);
  const call = await hold(client);
  await release(client);
  const last = (await rest(call)).at(-1);
  const { response } = await get(client, last?.id);
  assert.equal(response.status, 204);
});

test('cut again and again, at any point, a client misses nothing', async () => {
  const client = await connect(bridge.url);
  let connection = await hold(client);
  let cursor = idOf(await nextEvent(connection.events));
  const lengths: unknown[] = [];
  for (let count = 1; count <= 20; count += 1) {
    await log(client, 1, count);
    if (count % 3 === 0) {
      const event = await nextEvent(connection.events);
      if (event.data) lengths.push(JSON.parse(event.data).params.data.length);
      cursor = idOf(event);
    }
    if (count % 2 === 0) {
      connection.cut();
      connection = await get(client, cursor);
    }
  }
  await release(client);
  for (const { data } of await rest(connection)) if (data) lengths.push(JSON.parse(data).params?.data.length);
  assert.deepEqual(lengths, [...Array.from({ length: 20 }, (_, index) => index + 1), undefined]);
});

test('who resumes a stream takes it over from the connection that has it', async () => {
  const client = await connect(bridge.url);
  const older = await hold(client);
  const priming = await nextEvent(older.events);
  const newer = await get(client, idOf(priming));
  await nextEvent(newer.events);
  assert.deepEqual(await rest(older), []);
  await release(client);
  assert.equal((await rest(newer)).length, 1);
  assert.equal(await cancelledIn(client), 0);
});

test('a call whose client does not come back in time is cancelled', async () => {
  await using brief = await startBridge({ timing: { ...QUICK, resumeMs: 100 } });
  const client = await connect(brief.url);
  const abort = new AbortController();
  const response = await fetch(brief.url, {
    method: 'POST',
    headers: { ...client.headers, 'Content-Type': 'application/json' },
    body: HOLD,
    signal: abort.signal,
  });
  const { id } = await nextEvent(rawEventsOf(response));
  abort.abort();
  await until('the end of the call', () => brief.sessions.counts.calls === 0);
  assert.equal(await cancelledIn(client), 1);
  const late = await client.get({ 'Last-Event-ID': id ?? '' });
  assert.equal(late.status, 204);
});

test('an answer that is no stream yet has nowhere to go on: its call is cancelled with its connection', async () => {
  await using slow = await startBridge();
  const client = await connect(slow.url);
  const abort = new AbortController();
  const headers = { ...client.headers, 'Content-Type': 'application/json' };
  const gone = fetch(slow.url, { method: 'POST', headers, body: HOLD, signal: abort.signal });
  await until('the call', () => slow.sessions.counts.calls === 1);
  abort.abort();
  await assert.rejects(gone);
  await until('the end of the call', () => slow.sessions.counts.calls === 0);
  assert.equal(await cancelledIn(client), 1);
});

test('the standing stream goes on where it was, and without an id with what nobody was sent', async () => {
  const client = await connect(bridge.url);
  const first = await get(client);
  await nextEvent(first.events);
  await notify(client, 1);
  await notify(client, 2);
  const one = await nextEvent(first.events);
  first.cut();
  const second = await get(client, idOf(one));
  await nextEvent(second.events);
  assert.deepEqual([noteOf(one), noteOf(await nextEvent(second.events))], [1, 2]);
  await notify(client, 3);
  assert.equal(noteOf(await nextEvent(second.events)), 3);
  const third = await get(client);
  assert.deepEqual(await rest(second), []);
  await nextEvent(third.events);
  await notify(client, 4);
  assert.equal(noteOf(await nextEvent(third.events)), 4);
  third.cut();
});

test('what is meant for the standing stream waits for it, however long it is away', async () => {
  await using brief = await startBridge({ timing: { ...QUICK, resumeMs: 50 } });
  const client = await connect(brief.url);
  const abort = new AbortController();
  const stream = rawEventsOf(await client.get({}, abort.signal));
  const { id } = await nextEvent(stream);
  abort.abort();
  const end = Date.now() + 200;
  let notes = 0;
  for (; Date.now() < end; notes += 1) await notify(client, notes);
  const back = new AbortController();
  const again = rawEventsOf(await client.get({ 'Last-Event-ID': id ?? '' }, back.signal));
  await nextEvent(again);
  for (let note = 0; note < notes; note += 1) assert.equal(noteOf(await nextEvent(again)), note);
  back.abort();
});

test('an id of another session gives nothing, and takes nothing away', async () => {
  const [mine, yours] = [await connect(bridge.url), await connect(bridge.url)];
  const ownCall = await hold(mine);
  const call = await hold(yours);
  const standing = await get(yours);
  const [callId, standingId] = [idOf(await nextEvent(call.events)), idOf(await nextEvent(standing.events))];
  await log(yours);
  await notify(yours, 1);
  assert.equal((await get(mine, callId)).response.status, 204);
  const own = await get(mine, standingId);
  assert.ok(isPriming(await nextEvent(own.events)));
  await notify(mine, 7);
  assert.equal(noteOf(await nextEvent(own.events)), 7, 'it is a standing stream of its own');
  own.cut();
  await release(mine);
  assert.equal((await rest(ownCall)).length, 2);
  const stranger = clientOf(bridge.url, { ...yours.headers, Authorization: 'Bearer bob.1' });
  assert.equal((await get(stranger, callId)).response.status, 404);
  await release(yours);
  assert.equal((await rest(call)).length, 2);
  assert.equal(noteOf(await nextEvent(standing.events)), 1);
  standing.cut();
});

for (const id of [
  '',
  '0',
  'x.g1.0',
  'AAAAAAAAAAAA.g7.12',
  `${'9'.repeat(400)}`,
  'AAAAAAAAAAAA.g1.-1',
  'ünicode',
]) {
  test(`an id that says nothing to us (${id.slice(0, 20)}) opens the standing stream`, async () => {
    const client = await connect(bridge.url);
    const stream = await get(client, encodeURIComponent(id));
    assert.equal(stream.response.status, 200);
    assert.ok(isPriming(await nextEvent(stream.events)));
    await notify(client, 1);
    assert.equal(noteOf(await nextEvent(stream.events)), 1);
    stream.cut();
  });
}

test('the stream of a call of an earlier life is finished', async () => {
  const client = await connect(bridge.url);
  assert.equal((await get(client, 'AAAAAAAAAAAA.p1.0')).response.status, 204);
});

test('of more than the buffer holds the newest is kept, and the answer in any case', async () => {
  const client = await connect(bridge.url);
  const call = await hold(client);
  const priming = await nextEvent(call.events);
  call.cut();
  await log(client, 3000, 1);
  await log(client, 600, 2);
  await log(client, 100, 3);
  await release(client);
  await until('the answer', () => bridge.sessions.counts.calls === 0);
  const events = (await rest(await get(client, idOf(priming)))).slice(1);
  assert.equal(events.length, 1000);
  const lengths = events.map(({ data }) => JSON.parse(data ?? '').params?.data.length);
  assert.deepEqual(
    [1, 2, 3, undefined].map((length) => lengths.filter((one) => one === length).length),
    [299, 600, 100, 1],
  );
});

test('an answer as large as may be waits for its client too', async () => {
  const client = await connect(bridge.url);
  const bytes = 12 * 1024 * 1024;
  const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'big', params: { bytes } });
  const call = await open(client, { method: 'POST', body });
  const priming = await nextEvent(call.events);
  call.cut();
  await until('the answer', () => bridge.sessions.counts.calls === 0);
  const [, answer] = await rest(await get(client, idOf(priming)));
  assert.equal(JSON.parse(answer?.data ?? '').result.text.length, bytes);
});
