/** Whose question it is that a child asks. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Attribution } from '../../src/backend/attribution.js';
import { type RequestMessage, readMessage } from '../../src/mcp/message.js';

type Turn = 'child' | 'client' | 'over';

class Call {
  readonly name: string;
  turn: Turn;

  constructor(name: string, turn: Turn = 'child') {
    this.name = name;
    this.turn = turn;
  }

  get mayAsk(): boolean {
    return this.turn === 'child';
  }

  get waitsForClient(): boolean {
    return this.turn === 'client';
  }
}

function question(): RequestMessage {
  const message = readMessage(Buffer.from('{"jsonrpc":"2.0","id":1,"method":"roots/list"}'));
  assert.ok(message.kind === 'request');
  return message;
}

const inFlight = ({ turn }: Call) => turn !== 'over';

const CASES: Readonly<
  Record<string, readonly [calls: readonly Turn[], taken: number | undefined, isCertain: boolean]>
> = {
  'nobody is asked where nothing is worked on': [[], undefined, true],
  'the one call that is worked on is asked': [['child'], 0, true],
  'the newest of those that are worked on is asked, and may be the wrong one': [['child', 'child'], 1, false],
  'one that waits is passed over': [['child', 'client'], 0, true],
  'one that waits is asked more where nothing else is worked on': [['client', 'client'], 1, true],
};

for (const [rule, [turns, taken, isCertain]] of Object.entries(CASES)) {
  test(rule, () => {
    const calls = turns.map((turn, at) => new Call(`${at}`, turn));
    const found = new Attribution<Call>().attribute(question(), calls);
    assert.deepEqual(
      [found.call, found.isCertain],
      [taken === undefined ? undefined : calls[taken], isCertain],
    );
  });
}

test('a certain question ends with its call', () => {
  const attribution = new Attribution<Call>();
  const [other, call] = [new Call('other', 'client'), new Call('call')];
  const asked = question();
  assert.equal(attribution.attribute(asked, [other, call]).call, call);
  call.turn = 'over';
  assert.equal(attribution.next(asked, call, inFlight), undefined);
});

test('a guessed question goes from call to call, to each once', () => {
  const attribution = new Attribution<Call>();
  const calls = ['a', 'b', 'c'].map((name) => new Call(name));
  const asked = question();
  const path: string[] = [];
  let { call } = attribution.attribute(asked, calls);
  while (call !== undefined) {
    path.push(call.name);
    call = attribution.next(asked, call, inFlight);
  }
  assert.deepEqual(path, ['c', 'b', 'a']);
});

test('a call that began after a question was asked does not get it', () => {
  const attribution = new Attribution<Call>();
  const [a, b, later] = [new Call('a'), new Call('b'), new Call('later')];
  const asked = question();
  attribution.attribute(asked, [a, b]);
  b.turn = 'over';
  assert.equal(attribution.next(asked, b, inFlight), a);
  a.turn = 'over';
  assert.equal(attribution.next(asked, a, inFlight), undefined);
  assert.ok(inFlight(later));
});

test('two calls that were confused once may each have the questions of the other', () => {
  const attribution = new Attribution<Call>();
  const [a, b] = [new Call('a'), new Call('b')];
  attribution.attribute(question(), [a, b]);
  b.turn = 'client';
  const second = question();
  assert.deepEqual(attribution.attribute(second, [a, b]), { call: a, isCertain: false });
  a.turn = 'over';
  assert.equal(attribution.next(second, a, inFlight), b);
});
