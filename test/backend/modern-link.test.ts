/** The face of a modern child passes on how fast its child reads, and how fast its client does. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Heard } from '../../src/backend/calls.js';
import { ModernLink } from '../../src/backend/modern-link.js';

const INITIALIZE =
  '{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"elicitation":{},"roots":{}}}}\n';
const DISCOVERED =
  '{"jsonrpc":"2.0","id":1,"result":{"supportedVersions":["2026-07-28"],"capabilities":{"logging":{}}}}';
const CALL = '{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"a"}}\n';
const ASKS =
  '{"jsonrpc":"2.0","id":2,"result":{"resultType":"input_required","inputRequests":{"a":{"method":"roots/list"},"b":{"method":"roots/list"}}}}';

interface Hearing {
  readonly text: string;
  readonly about: number | undefined;
}

/** A link to a child that reads as long as it is told to, and to a client that answers each line with `heard`. */
function newLink(heard: () => Heard = () => ({ settled: true, drain: undefined })) {
  const written: string[] = [];
  const hearings: Hearing[] = [];
  const child: { reads: boolean } = { reads: true };
  const link = new ModernLink((line, about) => {
    hearings.push({ text: line.toString(), about });
    return heard();
  }, 1e6).attach({
    write: (line) => {
      if (!child.reads) return 'clogged';
      written.push(line.toString());
      return 'written';
    },
    stop: async () => undefined,
  });
  link.write(Buffer.from(INITIALIZE));
  link.hear(Buffer.from(DISCOVERED));
  written.length = 0;
  hearings.length = 0;
  return { link, written, hearings, child };
}

test('a call that the child does not read has not been made', () => {
  const { link, written, hearings, child } = newLink();
  child.reads = false;
  assert.equal(link.write(Buffer.from(CALL)), 'clogged');
  child.reads = true;
  link.hear(Buffer.from(ASKS));
  assert.match(hearings[0]?.text ?? '', /"error"/, 'nobody can be asked for it');
  assert.equal(link.write(Buffer.from(CALL)), 'written');
  assert.equal(written.length, 1);
});

test('what is answered here is heard after the call that asks, not within it', async () => {
  const { link, hearings } = newLink();
  assert.equal(link.write(Buffer.from('{"jsonrpc":"2.0","id":3,"method":"ping"}\n')), 'written');
  assert.equal(hearings.length, 0);
  await Promise.resolve();
  assert.equal(hearings[0]?.text, '{"jsonrpc":"2.0","id":3,"result":{}}');
});

test('several questions of one answer wait for the slowest reader, and are about their call', async () => {
  let read: () => void = () => undefined;
  const slow = new Promise<void>((resolve) => {
    read = resolve;
  });
  let count = 0;
  const { link, hearings } = newLink(() => {
    count += 1;
    return { settled: false, drain: count === 2 ? slow : undefined };
  });
  count = 0;
  link.write(Buffer.from(CALL));
  const { drain, settled } = link.hear(Buffer.from(ASKS));
  assert.deepEqual(
    hearings.map(({ about }) => about),
    [2, 2],
  );
  assert.equal(settled, false);
  assert.ok(drain !== undefined);
  let isDrained = false;
  const done = drain.then(() => {
    isDrained = true;
  });
  await Promise.resolve();
  assert.equal(isDrained, false);
  read();
  await done;
});

test('an answer passes with what its client says of it', () => {
  const drain = Promise.resolve();
  const { link } = newLink(() => ({ settled: true, drain }));
  link.write(Buffer.from(CALL));
  assert.deepEqual(link.hear(Buffer.from('{"jsonrpc":"2.0","id":2,"result":{}}')), { settled: true, drain });
});
