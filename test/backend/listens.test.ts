/** Subscriptions at a child that cannot be asked. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silent } from '../../src/backend/answers.js';
import { Listens } from '../../src/backend/listens.js';
import type { Life } from '../../src/backend/lives.js';
import { messageOf, modernRequest } from '../fixtures/modern.js';

test('one that its child does not read is refused, and nothing of it is kept', () => {
  const lines: string[] = [];
  const listens = new Listens({
    write: (_life, line) => {
      lines.push(line.toString());
      return 'clogged';
    },
  });
  const answers: (Buffer | undefined)[] = [];
  const { message } = modernRequest('subscriptions/listen', { notifications: {} });
  listens.open(message, { ...silent(), end: (answer) => void answers.push(answer) }, 1 as Life);
  assert.match(String(answers), /child-not-reading/);
  assert.equal(listens.size, 0);
  const asked = messageOf(lines[0] ?? '');
  assert.ok(asked.kind === 'request');
  const late = messageOf(
    `{"jsonrpc":"2.0","id":${asked.bytes.subarray(asked.id.start, asked.id.end)},"result":{}}`,
  );
  assert.ok(late.kind === 'response');
  assert.equal(listens.answer(late), false);
});
