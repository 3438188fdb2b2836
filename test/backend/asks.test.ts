/** The child's questions: which one it takes back, and that finding it costs nothing. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Asks } from '../../src/backend/asks.js';
import * as failures from '../../src/backend/failures.js';
import {
  type NotificationMessage,
  type RequestMessage,
  type ResponseMessage,
  readMessage,
} from '../../src/mcp/message.js';

const message = (value: object) => readMessage(Buffer.from(JSON.stringify({ jsonrpc: '2.0', ...value })));
const question = (id: unknown) => message({ id, method: 'm' }) as RequestMessage;
const answer = (id: unknown) => message({ id, result: {} }) as ResponseMessage;
const takeBack = (requestId: unknown) =>
  message({ method: 'notifications/cancelled', params: { requestId } }) as NotificationMessage;

const idOf = (line: Buffer): number => JSON.parse(line.toString()).id;
const takenBack = (line: Buffer | undefined): unknown => line && JSON.parse(line.toString()).params.requestId;

test('a child takes back its own question, once, and the newer of two under one id', () => {
  const asks = new Asks();
  const [older, newer, other] = [1, 1, 2].map((life) => idOf(asks.add(question('a'), life, 10)));
  assert.equal(takenBack(asks.cancel(takeBack('b'), 1)), undefined);
  assert.equal(takenBack(asks.cancel(takeBack('a'), 1)), newer);
  assert.equal(takenBack(asks.cancel(takeBack('a'), 1)), undefined);
  assert.equal(takenBack(asks.cancel(takeBack('a'), 2)), other);
  assert.equal(asks.settle(answer(older))?.life, 1);
});

test('what is answered, overdue or forgotten is not taken back', () => {
  const asks = new Asks();
  const ask = (id: string, life: number, deadline: number) => idOf(asks.add(question(id), life, deadline));
  asks.settle(answer(ask('answered', 1, 10)));
  ask('overdue', 1, 5);
  assert.equal(asks.expire(5, failures.clientSilent).length, 1);
  ask('forgotten', 2, 10);
  asks.forget(2);
  for (const id of ['answered', 'overdue', 'forgotten'])
    for (const life of [1, 2]) assert.equal(asks.cancel(takeBack(id), life), undefined, id);
});

test('beyond a thousand questions the oldest is given up, and cannot be taken back', () => {
  const asks = new Asks();
  for (let id = 0; id < 1001; id += 1) asks.add(question(id), 1, 10);
  assert.equal(asks.cancel(takeBack(0), 1), undefined);
  assert.notEqual(asks.cancel(takeBack(1), 1), undefined);
});

test('a word about no question costs the same however many are open', () => {
  const none = takeBack('none');
  const costOf = (open: number): number => {
    const asks = new Asks();
    for (let id = 0; id < open; id += 1) asks.add(question(id), 1, 10);
    const began = performance.now();
    for (let i = 0; i < 5000; i += 1) asks.cancel(none, 1);
    return performance.now() - began;
  };
  const best = (open: number) => Math.min(...Array.from({ length: 5 }, () => costOf(open)));
  best(1);
  const ratio = best(1000) / best(1);
  assert.ok(ratio < 10, `${ratio}`);
});
