/** How much the streams of a session keep for clients that may come back. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import type { Stream } from '../../src/backend/outbox.js';
import { type Connect, SessionStreams } from '../../src/http/mcp-resume.js';
import { Shelf } from '../../src/http/mcp-shelf.js';
import { until } from '../fixtures/until.js';

/** Streams of a session whose clients are not there. */
function streamsOf(shelf: Shelf): SessionStreams {
  const session = { listen: () => () => undefined, state: 'live' as const };
  return new SessionStreams(session, { resumeMs: 60_000, lingerMs: 60_000, shelf, random: randomBytes });
}

/** Nobody reads what leaves there. */
const nowhere: Connect = () => ({ write: () => undefined, end: () => undefined });
const gone: Connect = (first, onGone) => {
  queueMicrotask(() => onGone(false));
  return nowhere(first, onGone);
};

test('all sessions of a user together keep so much and no more; the oldest loses what it kept first', () => {
  const shelf = new Shelf(10_000);
  const answered = Array.from({ length: 4 }, () => {
    const streams = streamsOf(shelf);
    const stream = streams.post(() => undefined);
    void stream.send(Buffer.alloc(3000, ' '));
    stream.end();
    return () => streams.get(`${stream.name}.0`, nowhere);
  });
  assert.deepEqual(
    answered.map((isKept) => isKept()),
    [false, true, true, true],
  );
});

test('the oldest is who said nothing for longest, not who began first', () => {
  const shelf = new Shelf(10_000);
  const streams = streamsOf(shelf);
  const [busy, quiet, large] = [1, 2, 3].map(() => streams.post(() => undefined));
  for (const stream of [busy, quiet, busy]) void stream?.send(Buffer.alloc(2000, ' '));
  void large?.send(Buffer.alloc(5000, ' '));
  for (const stream of [busy, quiet, large]) stream?.end();
  assert.deepEqual(
    [busy, quiet, large].map((stream) => stream?.hasMoreThan(0)),
    [true, false, true],
  );
});

test('what a standing stream could not say is kept as long as its session is there, and no longer', async () => {
  const shelf = new Shelf(10_000);
  let standing: Stream | undefined;
  let expiries = 0;
  const session: { listen: (stream: Stream) => () => void; state: 'live' | 'closed' } = {
    listen: (stream) => {
      standing = stream;
      return () => {
        expiries += 1;
      };
    },
    state: 'live',
  };
  const options = { resumeMs: 5, lingerMs: 5, shelf, random: randomBytes };
  new SessionStreams(session, options).get(undefined, gone);
  await Promise.resolve();
  void standing?.send(Buffer.from('{}'));
  await until('some time', () => expiries > 3);
  assert.ok(shelf.bytes > 0);
  session.state = 'closed';
  await until('the end', () => shelf.bytes === 0);
});

test('a message of the largest size is kept, whatever else was', () => {
  const streams = streamsOf(new Shelf(10_000));
  const small = streams.post(() => undefined);
  void small.send(Buffer.alloc(100, ' '));
  small.end();
  const large = streams.post(() => undefined);
  void large.send(Buffer.alloc(9900, ' '));
  large.end();
  assert.equal(streams.get(`${small.name}.0`, nowhere), false);
  assert.ok(streams.get(`${large.name}.0`, nowhere));
});

test('a session has a thousand streams to ask for; beyond them the oldest finished one is forgotten', () => {
  const streams = streamsOf(new Shelf(1e9));
  const running = streams.post(() => undefined);
  const finished = Array.from({ length: 1000 }, () => {
    const stream = streams.post(() => undefined);
    void stream.send(Buffer.from('{}'));
    stream.end();
    return stream.name;
  });
  const kept = [running.name, ...finished].filter((name) => streams.get(`${name}.0`, nowhere));
  assert.deepEqual(kept, [running.name, ...finished.slice(1)]);
});
