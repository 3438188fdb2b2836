/**
 * A call of a modern client to a legacy child. To the session it is the exchange of that one call, from its beginning to
 * its end; its client meanwhile comes and goes: what the child asks ends the exchange that is there, and the retry brings
 * the next (MCP 2026-07-28, basic/patterns/mrtr). `rounds.ts` decides, this carries out. Who may come back to which call
 * is for `parked-calls.ts`.
 *
 * While no client waits, progress and log messages are dropped: both are about now.
 */
import type { Caller } from '../base/ids.js';
import { declares, missingCapability, needOf } from '../mcp/capabilities.js';
import type { Envelope, ModernRequest } from '../mcp/envelope.js';
import { type Ask, answerFor, type Input, inputRequired, isResponseTo } from '../mcp/input-required.js';
import { elicitationsIn, toModernEdits } from '../mcp/legacy-to-modern.js';
import { type LogLevel, wants } from '../mcp/log-levels.js';
import {
  type Edit,
  type NotificationMessage,
  type RequestMessage,
  type ResponseMessage,
  rawAt,
  readMessage,
  splice,
} from '../mcp/message.js';
import { ERRORS, errorAnswer, type RpcError } from '../mcp/protocol.js';
import { refuse } from './answers.js';
import type { Drain, Exchange } from './calls.js';
import * as failures from './failures.js';
import { type Child, ModernExchange } from './modern-exchange.js';
import type { CallOutcome } from './observer.js';
import { fault, type Place } from './request-state.js';
import {
  asksOf,
  bytesOf,
  ENDED_WITHOUT,
  NO_ROUNDS,
  type Rounds,
  type RoundsEffect,
  type RoundsEvent,
  step,
  turnOf,
} from './rounds.js';

/** What a call is kept by while it waits for its client. */
export interface Keeper {
  /** When the client must have come back that is asked now. */
  deadline(): number;
  /** What the client is given to come back with. */
  stateFor(call: ModernCall, goal: 'this round' | 'a new call', until: number): string;
  /** It waits for its client to come back. */
  keep(call: ModernCall): void;
  forget(call: ModernCall): void;
}

export class ModernCall extends ModernExchange implements Place {
  readonly caller: Caller;
  readonly server: string;
  /** Under which it is kept, once it has to be. */
  id: string | undefined;
  readonly #keeper: Keeper;
  #rounds: Rounds = NO_ROUNDS;
  /** The client that waits. */
  #present: Exchange | undefined;
  #cancel: (why?: string) => void = () => undefined;
  #timer: NodeJS.Timeout | undefined;
  #retryAfterSeconds: number | undefined;
  #answered: 'in modern words' | undefined;
  #outcome: CallOutcome | undefined;

  constructor({ caller, server, request }: Place, exchange: Exchange, child: Child, keeper: Keeper) {
    super(request, exchange, child);
    this.caller = caller;
    this.server = server;
    this.#keeper = keeper;
    this.#present = exchange;
  }

  /** To its child: what its client of the moment can take is seen to here. */
  override get streams(): boolean {
    return true;
  }

  override get waitsForClient(): boolean {
    return turnOf(this.#rounds) === 'client';
  }

  override get mayAsk(): boolean {
    return turnOf(this.#rounds) === 'child';
  }

  get round(): number {
    return this.#rounds.round;
  }

  /** Until when it is kept for its client, if it is. */
  get until(): number | undefined {
    const { phase } = this.#rounds;
    return 'until' in phase ? phase.until : undefined;
  }

  /** How much memory it takes to keep it. */
  get bytes(): number {
    const { phase } = this.#rounds;
    const said = phase.is === 'settled' ? phase.outcome.length : bytesOf(asksOf(this.#rounds));
    return said + this.request.message.bytes.length;
  }

  /** `cancel` takes it back from its child. What is returned is for a client that goes away. */
  begin(cancel: (why?: string) => void): () => void {
    this.#cancel = cancel;
    const { exchange } = this;
    return () => this.#leave(exchange);
  }

  /** The client came back to this round. */
  resume(round: number, input: Input, request: ModernRequest, exchange: Exchange): () => void {
    const { bytes } = request.message;
    const asks = asksOf(this.#rounds);
    const isGood = ({ key, request: { method } }: Ask) => {
      const response = input.responses.get(key);
      return response !== undefined && isResponseTo(method, bytes, response);
    };
    const answered = new Set(asks.filter(isGood));
    // What a client can do, it says each time.
    const barred = new Map<Ask, RpcError>();
    for (const ask of asks) {
      const refusal = refusalOf(request.envelope, ask.request);
      if (refusal !== undefined) barred.set(ask, refusal);
    }
    const retry = { exchange, request, input };
    void this.#apply({ is: 'retried', round, answered, barred, until: this.#keeper.deadline() }, retry);
    return () => this.#leave(exchange);
  }

  giveUp(why: string): void {
    void this.#apply({ is: 'given up', why });
  }

  /** The child's progress, under the token that the call began with. */
  override send(bytes: Buffer): Drain {
    const message = readMessage(bytes);
    const { bytes: made, token } = this.request.message;
    if (message.kind !== 'notification' || message.subject === undefined || token === undefined)
      return undefined;
    return this.#tell(splice(bytes, [{ at: message.subject, raw: rawAt(made, token) }]));
  }

  override log(message: NotificationMessage, level: LogLevel | undefined): Drain {
    return wants(this.request.envelope.logLevel, level) ? this.#tell(message.bytes) : undefined;
  }

  override ask(request: RequestMessage): Drain {
    const refusal = refusalOf(this.request.envelope, request);
    return refusal === undefined ? this.#apply({ is: 'asked', request }) : this.#refuse(request, refusal);
  }

  override takeBack({ bytes, subject }: NotificationMessage): void {
    const id = subject && rawAt(bytes, subject);
    const ask = asksOf(this.#rounds).find(({ request }) => rawAt(request.bytes, request.id) === id);
    if (ask !== undefined) void this.#apply({ is: 'taken back', ask });
  }

  /** For the client that made the call. One that comes back has another id, and perhaps none waits. */
  override edits(answer: ResponseMessage): readonly Edit[] {
    const isLast = this.#rounds === NO_ROUNDS && elicitationsIn(answer).length === 0;
    if (isLast) this.#answered = 'in modern words';
    return isLast ? super.edits(answer) : [];
  }

  override end(answer: Buffer | undefined, retryAfterSeconds?: number, outcome?: CallOutcome): Drain {
    this.#retryAfterSeconds = retryAfterSeconds;
    this.#outcome = outcome;
    const drain =
      this.#rounds === NO_ROUNDS ? this.#endWithout(answer) : this.#apply({ is: 'ended', outcome: answer });
    this.child.released(this);
    return drain;
  }

  /** Most calls are never asked anything: `step` would say the same, at the price of more objects. */
  #endWithout(answer: Buffer | undefined): Drain {
    this.#rounds = ENDED_WITHOUT;
    return this.#finish(answer);
  }

  #leave(exchange: Exchange): void {
    if (this.#present !== exchange) return;
    this.#present = undefined;
    void this.#apply({ is: 'left' });
    void exchange.end(undefined);
  }

  #tell(message: Buffer): Drain {
    const exchange = this.#present;
    return exchange?.streams === true ? exchange.send(message) : undefined;
  }

  #apply(event: RoundsEvent, retry?: Retry): Drain {
    const { rounds, effects } = step(this.#rounds, event);
    this.#rounds = rounds;
    let drain: Drain;
    for (const effect of effects) drain = this.#do(effect, retry) ?? drain;
    // What was done may have had consequences.
    const { phase } = this.#rounds;
    if (phase.is === 'parked' || phase.is === 'settled') this.#keeper.keep(this);
    else if (phase.is === 'over') {
      clearTimeout(this.#timer);
      this.#keeper.forget(this);
    }
    return drain;
  }

  #do(effect: RoundsEffect, retry: Retry | undefined): Drain {
    switch (effect.do) {
      case 'gather':
        clearTimeout(this.#timer);
        this.#timer = setTimeout(() => {
          void this.#apply({ is: 'gathered', until: this.#keeper.deadline() });
        }, GATHER_MS);
        return undefined;
      case 'refuse':
        return this.#refuse(effect.request, effect.error);
      case 'let go':
        return this.child.letGo(effect.request, this);
      case 'turn away':
        if (retry === undefined) return undefined;
        refuse(retry.request.message, retry.exchange, fault('requestState was used already').fault);
        return undefined;
      case 'attach':
        if (retry === undefined) return undefined;
        this.request = retry.request;
        this.exchange = this.#present = retry.exchange;
        this.child.resumed(this);
        return undefined;
      case 'answer':
        return retry && this.#answer(effect.ask, retry);
      case 'ask':
        return this.#park(effect.asks, 'this round');
      case 'end':
        return this.#finish(effect.outcome);
      case 'exhaust':
        this.#outcome = 'bridge_error';
        return this.#finish(errorAnswer('0', failures.tooManyRounds));
      case 'cancel':
        this.#cancel(effect.why);
    }
    return undefined;
  }

  #answer({ key, request }: Ask, { input, request: { message } }: Retry): undefined {
    const response = input.responses.get(key);
    if (response === undefined) return;
    this.child.answer(answerFor(rawAt(request.bytes, request.id), message.bytes, response));
  }

  #refuse({ bytes, id }: RequestMessage, error: RpcError): undefined {
    this.child.answer(errorAnswer(rawAt(bytes, id), error));
  }

  /** The exchange that is there ends with what its client is asked. */
  #park(asks: readonly Ask[], goal: 'this round' | 'a new call'): Drain {
    const { bytes, id } = this.request.message;
    const state = this.#keeper.stateFor(this, goal, this.until ?? this.#keeper.deadline());
    this.#outcome = 'answered';
    const drain = this.#hangUp(inputRequired(rawAt(bytes, id), asks, state, this.child.side));
    if (this.waitsForClient) this.child.released(this);
    return drain;
  }

  #finish(outcome: Buffer | undefined): Drain {
    if (this.#answered === 'in modern words') return this.#hangUp(outcome);
    const message = outcome && readMessage(outcome);
    if (outcome === undefined || message?.kind !== 'response') return this.#hangUp(undefined);
    const visits = this.#visitsIn(message);
    if (visits.length > 0) return this.#park(visits, 'a new call');
    const { method, bytes, id } = this.request.message;
    const edits = [{ at: message.id, raw: rawAt(bytes, id) }, ...toModernEdits(method, message, this.side)];
    return this.#hangUp(splice(outcome, edits));
  }

  /** The child wants its client to have been somewhere before it makes the same call again. */
  #visitsIn(answer: ResponseMessage): Ask[] {
    const { envelope } = this.request;
    const visits = elicitationsIn(answer);
    const canAll = visits.every((visit) => refusalOf(envelope, visit) === undefined);
    return canAll ? visits.map((request, index) => ({ key: `elicitation-${index + 1}`, request })) : [];
  }

  #hangUp(answer: Buffer | undefined): Drain {
    const present = this.#present;
    this.#present = undefined;
    return present?.end(answer, this.#retryAfterSeconds, this.#outcome);
  }
}

/** The lines of one moment reach us in several pieces, and a busy child writes them one by one. */
const GATHER_MS = 10;

interface Retry {
  readonly exchange: Exchange;
  readonly request: ModernRequest;
  readonly input: Input;
}

/** Why a client must not be asked this (MCP 2026-07-28, basic/patterns/mrtr: server requirements, 2 and 7). */
function refusalOf({ capabilities }: Envelope, request: RequestMessage): RpcError | undefined {
  const need = needOf(request);
  if (need === undefined) return ERRORS.unknownMethod;
  return declares(capabilities, need) ? undefined : missingCapability(need);
}
