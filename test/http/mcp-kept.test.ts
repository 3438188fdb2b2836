/** How much the streams of a session keep for clients that may come back. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { type Connect, SessionStreams } from '../../src/http/mcp-resume.js';
import { EventStream } from '../../src/http/mcp-stream.js';
import { Unread } from '../../src/http/mcp-unread.js';

/** Streams of a session whose clients are not there. */
function streamsOf(maxBytes: number): SessionStreams {
  const session = { listen: () => () => undefined };
  return new SessionStreams(session, { resumeMs: 60_000, maxBytes, random: randomBytes });
}

/** Nobody reads what leaves there. */
const nowhere: Connect = (first, onGone) =>
  new EventStream({
    outgoing: undefined,
    pingMs: 60_000,
    stallMs: 60_000,
    unread: new Unread(1e9),
    first,
    onGone,
  });

test('all streams of a session together keep so much and no more; the oldest loses what it kept first', () => {
  const streams = streamsOf(10_000);
  const answered = Array.from({ length: 4 }, () => {
    const stream = streams.post(() => undefined);
    void stream.send(Buffer.alloc(3000, ' '));
    stream.end();
    return stream.name;
  });
  const kept = answered.map((name) => streams.get(`${name}.0`, nowhere) !== undefined);
  assert.deepEqual(kept, [false, true, true, true]);
});

test('a message of the largest size is kept, whatever else was', () => {
  const streams = streamsOf(10_000);
  const small = streams.post(() => undefined);
  void small.send(Buffer.alloc(100, ' '));
  small.end();
  const large = streams.post(() => undefined);
  void large.send(Buffer.alloc(9900, ' '));
  large.end();
  assert.equal(streams.get(`${small.name}.0`, nowhere), undefined);
  assert.ok(streams.get(`${large.name}.0`, nowhere));
});

test('a session has a thousand streams to ask for; beyond them the oldest finished one is forgotten', () => {
  const streams = streamsOf(1e9);
  const running = streams.post(() => undefined);
  const finished = Array.from({ length: 1000 }, () => {
    const stream = streams.post(() => undefined);
    void stream.send(Buffer.from('{}'));
    stream.end();
    return stream.name;
  });
  const kept = [running.name, ...finished].filter((name) => streams.get(`${name}.0`, nowhere) !== undefined);
  assert.deepEqual(kept, [running.name, ...finished.slice(1)]);
});
