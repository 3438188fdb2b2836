/** What becomes of a call that asks, as tables: no child, no client, no clock. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as failures from '../../src/backend/failures.js';
import {
  asksOf,
  ENDED_WITHOUT,
  MAX_ASKED_BYTES,
  MAX_ASKS,
  MAX_ROUNDS,
  NO_ROUNDS,
  type Rounds,
  type RoundsEffect,
  type RoundsEvent,
  step,
  turnOf,
} from '../../src/backend/rounds.js';
import { type RequestMessage, readMessage } from '../../src/mcp/message.js';
import type { RpcError } from '../../src/mcp/protocol.js';

const UNTIL = 7;
const OUTCOME = Buffer.from('{}');
const BARRED: RpcError = { code: -32021, message: 'no' };
const WHY: ReadonlyMap<RpcError, string> = new Map([
  [BARRED, 'barred'],
  [failures.tooMuchAsked, 'too much'],
  [failures.noCallToAsk, 'no call'],
]);

function question(name: string, text = ''): RequestMessage {
  const json = `{"jsonrpc":"2.0","id":"${name}","method":"elicitation/create","params":{"message":"${text}"}}`;
  const message = readMessage(Buffer.from(json));
  assert.ok(message.kind === 'request');
  return message;
}

/** `asks a`, `takes back a`, `gathers`, `retries 1 a b`, `retries 1 a !b`, `answers`, `vanishes`, `leaves`, `gives up`. */
function eventOf(rounds: Rounds, words: string): RoundsEvent {
  const [what = '', ...names] = words.split(' ');
  const named = (name: string) => {
    const ask = asksOf(rounds).find(({ request }) => request.bytes.includes(`"${name}"`));
    return ask === undefined ? [] : [ask];
  };
  switch (what) {
    case 'asks':
      return { is: 'asked', request: question(names[0] ?? '') };
    case 'takes': {
      const [ask] = named(names[1] ?? '');
      assert.ok(ask !== undefined);
      return { is: 'taken back', ask };
    }
    case 'gathers':
      return { is: 'gathered', until: UNTIL };
    case 'retries': {
      const [round, ...given] = names;
      const answered = new Set(given.filter((name) => !name.startsWith('!')).flatMap(named));
      const barred = new Map(
        given
          .filter((name) => name.startsWith('!'))
          .flatMap((name) => named(name.slice(1)))
          .map((ask) => [ask, BARRED]),
      );
      return { is: 'retried', round: Number(round), answered, barred, until: UNTIL };
    }
    case 'answers':
      return { is: 'ended', outcome: OUTCOME };
    case 'vanishes':
      return { is: 'ended', outcome: undefined };
    case 'leaves':
      return { is: 'left' };
    default:
      return { is: 'given up', why: 'why' };
  }
}

const idOf = ({ bytes }: RequestMessage): string => JSON.parse(bytes.toString()).id;

function inWords(effect: RoundsEffect): string {
  switch (effect.do) {
    case 'ask':
      return `ask ${effect.round} ${effect.asks.map(({ key, request }) => `${idOf(request)}:${key.split('-')[1]}`).join(' ')}`;
    case 'answer':
      return `answer ${idOf(effect.ask.request)}`;
    case 'refuse':
      return `refuse ${idOf(effect.request)}: ${WHY.get(effect.error)}`;
    case 'let go':
      return `let go ${idOf(effect.request)}`;
    case 'end':
      return effect.outcome === undefined ? 'end without a word' : 'end';
    default:
      return effect.do;
  }
}

/** Each line: what happens, and what it leads to. */
const STORIES: Readonly<
  Record<string, readonly (readonly [event: string, effects: string, then?: string])[]>
> = {
  'a call that asks nothing ends with its answer': [['answers', 'end', 'over none']],
  'a call without an answer ends without a word': [['vanishes', 'end without a word', 'over none']],
  'what is asked at once is asked together, and the answers let the call go on': [
    ['asks a', 'gather', 'running child'],
    ['asks b', 'gather'],
    ['gathers', 'ask 1 a:1 b:2', 'parked client'],
    ['retries 1 a b', 'attach, answer a, answer b', 'running child'],
    ['answers', 'end', 'over none'],
  ],
  'a second round has keys of its own': [
    ['asks a', 'gather'],
    ['gathers', 'ask 1 a:1'],
    ['retries 1 a', 'attach, answer a'],
    ['asks b', 'gather'],
    ['gathers', 'ask 2 b:2'],
    ['retries 2 b', 'attach, answer b'],
  ],
  'what is missing is asked for again, under the key it had, and what is there is not lost': [
    ['asks a', 'gather'],
    ['asks b', 'gather'],
    ['gathers', 'ask 1 a:1 b:2'],
    ['retries 1 b', 'attach, answer b, ask 2 a:1', 'parked client'],
    ['retries 2', 'attach, ask 3 a:1'],
    ['retries 3 a', 'attach, answer a', 'running child'],
  ],
  'what a client cannot be asked any more is refused to the child': [
    ['asks a', 'gather'],
    ['asks b', 'gather'],
    ['gathers', 'ask 1 a:1 b:2'],
    ['retries 1 a !b', 'attach, answer a, refuse b: barred', 'running child'],
  ],
  'a round is used once': [
    ['asks a', 'gather'],
    ['gathers', 'ask 1 a:1'],
    ['retries 1 a', 'attach, answer a'],
    ['retries 1 a', 'turn away', 'running child'],
    ['asks b', 'gather'],
    ['gathers', 'ask 2 b:2'],
    ['retries 1 b', 'turn away', 'parked client'],
    ['retries 2 b', 'attach, answer b'],
    ['answers', 'end'],
    ['retries 2', 'turn away', 'over none'],
  ],
  'what is asked while the client is asked is asked when it comes back': [
    ['asks a', 'gather'],
    ['gathers', 'ask 1 a:1'],
    ['asks b', ''],
    ['retries 1 a', 'attach, answer a, ask 2 b:2', 'parked client'],
  ],
  'a round shrinks by what the child takes back': [
    ['asks a', 'gather'],
    ['asks b', 'gather'],
    ['gathers', 'ask 1 a:1 b:2'],
    ['takes back a', '', 'parked client'],
    ['retries 1 b', 'attach, answer b', 'running child'],
  ],
  'what is taken back at once is never asked': [
    ['asks a', 'gather'],
    ['takes back a', ''],
    ['gathers', '', 'running child'],
  ],
  'with nothing left to ask the call goes on by itself, and a retry joins it': [
    ['asks a', 'gather'],
    ['gathers', 'ask 1 a:1'],
    ['takes back a', '', 'parked child'],
    ['asks b', '', 'parked client'],
    ['takes back b', '', 'parked child'],
    ['retries 1', 'attach', 'running child'],
    ['answers', 'end'],
  ],
  'what comes of a call while nobody waits is kept for the retry, once': [
    ['asks a', 'gather'],
    ['gathers', 'ask 1 a:1'],
    ['answers', 'let go a', 'settled none'],
    ['asks b', 'refuse b: no call'],
    ['retries 1 a', 'attach, end', 'over none'],
    ['retries 1 a', 'turn away'],
  ],
  'a parked call that vanishes leaves nothing': [
    ['asks a', 'gather'],
    ['gathers', 'ask 1 a:1'],
    ['vanishes', 'let go a', 'over none'],
  ],
  'a client that leaves while it waits cancels': [
    ['asks a', 'gather'],
    ['leaves', 'cancel, let go a', 'over none'],
    ['vanishes', '', 'over none'],
    ['gathers', ''],
  ],
  'a client that leaves after it was asked cancels nothing': [
    ['asks a', 'gather'],
    ['gathers', 'ask 1 a:1'],
    ['leaves', '', 'parked client'],
  ],
  'what is given up is cancelled, and its questions are refused': [
    ['asks a', 'gather'],
    ['gathers', 'ask 1 a:1'],
    ['gives up', 'cancel, let go a', 'over none'],
  ],
  'what has ended is given up without a word to the child': [
    ['asks a', 'gather'],
    ['gathers', 'ask 1 a:1'],
    ['answers', 'let go a'],
    ['gives up', '', 'over none'],
  ],
  'what a client waits for is not given up': [['gives up', '', 'running child']],
  'a call that ends with questions open takes them along': [
    ['asks a', 'gather'],
    ['answers', 'let go a, end', 'over none'],
    ['gathers', ''],
  ],
};

for (const [story, lines] of Object.entries(STORIES)) {
  test(story, () => {
    let rounds = NO_ROUNDS;
    for (const [happens, leadsTo, then] of lines) {
      const taken = step(rounds, eventOf(rounds, happens));
      rounds = taken.rounds;
      assert.equal(taken.effects.map(inWords).join(', '), leadsTo, happens);
      if (then !== undefined) assert.equal(`${rounds.phase.is} ${turnOf(rounds)}`, then, happens);
    }
  });
}

const askFor = (rounds: Rounds, request: RequestMessage) => step(rounds, { is: 'asked', request });

test('a client is asked for no more at once than it may answer', () => {
  let rounds = NO_ROUNDS;
  for (let i = 0; i < MAX_ASKS; i += 1) rounds = askFor(rounds, question(`${i}`)).rounds;
  assert.deepEqual(askFor(rounds, question('more')).effects.map(inWords), ['refuse more: too much']);
});

test('several questions are together no larger than one may be', () => {
  const large = question('large', 'x'.repeat(MAX_ASKED_BYTES));
  const alone = askFor(NO_ROUNDS, large);
  assert.deepEqual(alone.effects.map(inWords), ['gather']);
  assert.deepEqual(askFor(alone.rounds, question('more')).effects.map(inWords), ['refuse more: too much']);
});

test('a call that asks without end is ended', () => {
  let rounds = NO_ROUNDS;
  for (let round = 1; round <= MAX_ROUNDS; round += 1) {
    rounds = askFor(rounds, question('a')).rounds;
    rounds = step(rounds, { is: 'gathered', until: UNTIL }).rounds;
    assert.equal(rounds.round, round);
    rounds = step(rounds, eventOf(rounds, `retries ${round} a`)).rounds;
  }
  rounds = askFor(rounds, question('a')).rounds;
  const { effects } = step(rounds, { is: 'gathered', until: UNTIL });
  assert.deepEqual(effects.map(inWords), ['cancel', 'let go a', 'exhaust']);
});

test('a call that was never asked anything ends as its short cut says', () => {
  const ended = step(NO_ROUNDS, { is: 'ended', outcome: OUTCOME });
  assert.deepEqual(ended, { rounds: ENDED_WITHOUT, effects: [{ do: 'end', outcome: OUTCOME }] });
});
