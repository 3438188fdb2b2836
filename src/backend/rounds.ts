/**
 * What becomes of a call whose child asks its client for something, when the client can be asked only in the answer and
 * answers only by making the call again (MCP 2026-07-28, basic/patterns/mrtr): events in, effects out; no I/O, no clock.
 * What the messages say is decided elsewhere.
 */
import type { Ask } from '../mcp/input-required.js';
import type { RequestMessage } from '../mcp/message.js';
import type { RpcError } from '../mcp/protocol.js';
import { noCallToAsk, tooMuchAsked } from './failures.js';

export type Phase =
  /** A client waits for what comes of it; `asks` is what the child asked in this moment. */
  | { readonly is: 'running'; readonly asks: readonly Ask[] }
  /** The client was asked, and is expected to come back. Without `asks` left the child goes on by itself. */
  | { readonly is: 'parked'; readonly asks: readonly Ask[]; readonly until: number }
  /** It ended while nobody waited: its outcome does. */
  | { readonly is: 'settled'; readonly outcome: Buffer; readonly until: number }
  | { readonly is: 'over' };

export interface Rounds {
  readonly phase: Phase;
  /** How often its client was asked; the client can come back to the last time only. */
  readonly round: number;
  /** Of the last key. They are not used again: a late answer must not become one to another question. */
  readonly lastKey: number;
}

export type RoundsEvent =
  | { readonly is: 'asked'; readonly request: RequestMessage }
  /** The child no longer wants to know. */
  | { readonly is: 'taken back'; readonly ask: Ask }
  /** It has asked all that it asked at once. */
  | { readonly is: 'gathered'; readonly until: number }
  /** The client came back to that round. */
  | {
      readonly is: 'retried';
      readonly round: number;
      /** What it has good answers to, and what it can no longer be asked, with what its child hears instead. */
      readonly answered: ReadonlySet<Ask>;
      readonly barred: ReadonlyMap<Ask, RpcError>;
      readonly until: number;
    }
  /** The child, or the bridge in its place, has answered the call; or it was cancelled without a word. */
  | { readonly is: 'ended'; readonly outcome: Buffer | undefined }
  /** The client that waited is gone. */
  | { readonly is: 'left' }
  /** The client that was asked took too long, or its place is wanted. */
  | { readonly is: 'given up'; readonly why: string };

export type RoundsEffect =
  /** See after what else is asked in this moment whether that was all. */
  | { readonly do: 'gather' }
  /** The child's question cannot be answered. */
  | { readonly do: 'refuse'; readonly request: RequestMessage; readonly error: RpcError }
  /** The call is over and its question is not answered: if it was one of this call. */
  | { readonly do: 'let go'; readonly request: RequestMessage }
  /** This retry is of no use. */
  | { readonly do: 'turn away' }
  /** From now on this client waits for what comes of the call. */
  | { readonly do: 'attach' }
  | { readonly do: 'answer'; readonly ask: Ask }
  | { readonly do: 'ask'; readonly asks: readonly Ask[]; readonly round: number }
  | { readonly do: 'end'; readonly outcome: Buffer | undefined }
  /** Tell the client that it was asked too often. */
  | { readonly do: 'exhaust' }
  | { readonly do: 'cancel'; readonly why: string };

export interface Step {
  readonly rounds: Rounds;
  readonly effects: readonly RoundsEffect[];
}

export const NO_ROUNDS: Rounds = { phase: { is: 'running', asks: [] }, round: 0, lastKey: 0 };
/** What becomes of them when the call ends without any: nothing has to be done but to end it. */
export const ENDED_WITHOUT: Rounds = { ...NO_ROUNDS, phase: { is: 'over' } };

/** As many answers as are read of one retry. */
export const MAX_ASKS = 100;
/** One question may be as large as messages get, several together not larger. */
export const MAX_ASKED_BYTES = 16 * 1024 * 1024;
/** A child that asks and asks holds its place as long as its client has patience; a program has much. */
export const MAX_ROUNDS = 100;

/** The child's, which may ask, or the client's, which was asked. */
export type Turn = 'child' | 'client' | 'none';

export function turnOf({ phase }: Rounds): Turn {
  switch (phase.is) {
    case 'running':
      return 'child';
    case 'parked':
      return phase.asks.length > 0 ? 'client' : 'child';
    case 'settled':
    case 'over':
      return 'none';
  }
}

export function asksOf({ phase }: Rounds): readonly Ask[] {
  return 'asks' in phase ? phase.asks : [];
}

export const bytesOf = (asks: readonly Ask[]): number =>
  asks.reduce((sum, { request }) => sum + request.bytes.length, 0);

export function step(rounds: Rounds, event: RoundsEvent): Step {
  const { phase } = rounds;
  switch (event.is) {
    case 'asked':
      return asked(rounds, event.request);
    case 'taken back': {
      if (!('asks' in phase)) return stay(rounds);
      const asks = phase.asks.filter((ask) => ask !== event.ask);
      return stay({ ...rounds, phase: { ...phase, asks } });
    }
    case 'gathered':
      if (phase.is !== 'running' || phase.asks.length === 0) return stay(rounds);
      return park(rounds, phase.asks, event.until, []);
    case 'retried':
      return retried(rounds, event);
    case 'ended':
      return ended(rounds, event.outcome);
    case 'left':
      return phase.is === 'running' ? giveUp(rounds, 'the client disconnected') : stay(rounds);
    case 'given up':
      if (phase.is === 'settled') return over(rounds, []);
      return phase.is === 'parked' ? giveUp(rounds, event.why) : stay(rounds);
  }
}

const stay = (rounds: Rounds): Step => ({ rounds, effects: [] });
const over = (rounds: Rounds, effects: readonly RoundsEffect[]): Step => ({
  rounds: { ...rounds, phase: { is: 'over' } },
  effects,
});

function asked(rounds: Rounds, request: RequestMessage): Step {
  const { phase } = rounds;
  if (!('asks' in phase)) return { rounds, effects: [{ do: 'refuse', request, error: noCallToAsk }] };
  const isLarge = phase.asks.length > 0 && bytesOf(phase.asks) + request.bytes.length > MAX_ASKED_BYTES;
  if (isLarge || phase.asks.length >= MAX_ASKS)
    return { rounds, effects: [{ do: 'refuse', request, error: tooMuchAsked }] };
  const lastKey = rounds.lastKey + 1;
  const asks = [...phase.asks, { key: keyOf(request, lastKey), request }];
  // A client that was asked already hears of it when it comes back.
  const effects: RoundsEffect[] = phase.is === 'running' ? [{ do: 'gather' }] : [];
  return { rounds: { ...rounds, lastKey, phase: { ...phase, asks } }, effects };
}

/** For people who look at the wire: `elicitation-1`. */
const keyOf = ({ method }: RequestMessage, number: number) => `${method.split('/')[0]}-${number}`;

function park(rounds: Rounds, asks: readonly Ask[], until: number, before: readonly RoundsEffect[]): Step {
  if (rounds.round >= MAX_ROUNDS) {
    const effects: RoundsEffect[] = [{ do: 'cancel', why: 'it asked too often' }, ...remains(asks)];
    return over(rounds, [...before, ...effects, { do: 'exhaust' }]);
  }
  const round = rounds.round + 1;
  return {
    rounds: { ...rounds, round, phase: { is: 'parked', asks, until } },
    effects: [...before, { do: 'ask', asks, round }],
  };
}

function retried(rounds: Rounds, event: Extract<RoundsEvent, { is: 'retried' }>): Step {
  const { phase } = rounds;
  const { round, answered, barred, until } = event;
  const isFirst = round === rounds.round && (phase.is === 'parked' || phase.is === 'settled');
  if (!isFirst) return { rounds, effects: [{ do: 'turn away' }] };
  if (phase.is === 'settled') return over(rounds, [{ do: 'attach' }, { do: 'end', outcome: phase.outcome }]);
  const effects: RoundsEffect[] = [{ do: 'attach' }];
  const rest: Ask[] = [];
  for (const ask of phase.asks) {
    const error = barred.get(ask);
    if (answered.has(ask)) effects.push({ do: 'answer', ask });
    else if (error !== undefined) effects.push({ do: 'refuse', request: ask.request, error });
    else rest.push(ask);
  }
  if (rest.length > 0) return park(rounds, rest, until, effects);
  return { rounds: { ...rounds, phase: { is: 'running', asks: [] } }, effects };
}

function ended(rounds: Rounds, outcome: Buffer | undefined): Step {
  const { phase } = rounds;
  const effects = remains(asksOf(rounds));
  if (phase.is === 'running') return over(rounds, [...effects, { do: 'end', outcome }]);
  if (phase.is !== 'parked') return stay(rounds);
  if (outcome === undefined) return over(rounds, effects);
  return { rounds: { ...rounds, phase: { is: 'settled', outcome, until: phase.until } }, effects };
}

const giveUp = (rounds: Rounds, why: string): Step =>
  over(rounds, [{ do: 'cancel', why }, ...remains(asksOf(rounds))]);

const remains = (asks: readonly Ask[]): RoundsEffect[] =>
  asks.map(({ request }) => ({ do: 'let go', request }));
