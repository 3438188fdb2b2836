/**
 * A client of MCP 2026-07-28 as it really is: no session, each request says all there is to know, and what the server asks
 * comes in the answer to a call, which is made again with the answers. What is checked of every answer stands here too.
 */
import type { IncomingMessage } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { META } from '../../src/mcp/protocol.js';
import { modernBody, modernHeaders } from '../fixtures/modern-client.js';
import type { Chance } from './chance.js';
import { reasonOf } from './conversation.js';
import type { Entry, Ledger } from './ledger.js';
import { Listening } from './listening.js';
import type { User } from './load.js';
import { eventsOf, type Message, type Question, type Result } from './wire.js';
import {
  isForeign,
  leaveAlone,
  newMarker,
  TOLERATED_DEAD_MS,
  type Words,
  wordsIn,
  wrongIn,
} from './words.js';

interface Call {
  readonly ms?: number;
  readonly bytes?: number;
  readonly progress?: boolean;
  readonly questions?: number;
  /** When the client closes the connection, if it has no answer by then. */
  readonly leaveAfterMs?: number;
}

/** A call while it goes from one request to the next. */
interface Errand extends Call {
  readonly kind: string;
  readonly marker: string;
  readonly startedAt: number;
  /** What the next request brings of the last answer. */
  input?: { readonly requestState: string; readonly inputResponses: Readonly<Record<string, object>> };
  /** When the token of the child ends that asked last. */
  goodUntil?: number;
}

/** How one request of it ended. */
type Leg = 'done' | 'failed' | 'asked' | 'once more';

const WEIGHTS = {
  ...{ echo: 32, whoami: 8, slow: 8, progress: 8, large: 4 },
  ...{ ask: 20, leave: 8, touch: 12, discover: 3 },
} as const;
const PROGRESS_STEPS = 4;
const RETRY_MS = 500;
/** How long users think about a question; some of them until a child has been replaced. */
const THOUGHT = { short: [20, 1200], long: [2500, 6000], long_share: 0.15 } as const;
/** Errors of calls that were cancelled while their clients were away. */
const GIVEN_UP = ['token-ended', 'place-needed'];
const FORGETFUL = 0.1;
const STUBBORN = 0.2;

export class ModernClient {
  readonly name: string;
  readonly user: User;
  readonly capabilities: object;
  readonly #ledger: Ledger;
  readonly #chance: Chance;
  readonly #canBeAsked: boolean;
  readonly #reusesIds: boolean;
  readonly #listening: Listening;
  #lastId = 0;

  constructor(user: User, name: string) {
    const { chance, ledger } = user.options;
    this.user = user;
    this.name = name;
    this.#ledger = ledger;
    this.#chance = chance.fork();
    this.#canBeAsked = this.#chance.is(0.8);
    this.capabilities = this.#canBeAsked ? { elicitation: { form: {} } } : {};
    this.#reusesIds = this.#chance.is(0.5);
    this.#listening = new Listening(this, ledger);
  }

  async callAnything(chance: Chance): Promise<void> {
    const kind = chance.weighted(WEIGHTS);
    if (kind === 'discover') return this.#discover();
    const calls: Readonly<Record<typeof kind, () => Call>> = {
      echo: () => ({}),
      whoami: () => ({}),
      touch: () => ({}),
      slow: () => ({ ms: chance.between(200, 2500) }),
      progress: () => ({ ms: chance.between(200, 2000), progress: true }),
      large: () => ({ bytes: chance.between(50_000, 1_000_000) }),
      ask: () => ({ ms: chance.between(0, 300), progress: chance.is(0.3), questions: chance.between(1, 3) }),
      leave: () => ({ ms: 2500, progress: chance.is(0.5), leaveAfterMs: chance.between(0, 2000) }),
    };
    await this.call(kind, calls[kind]());
  }

  keepListening(stop: AbortSignal): Promise<void> {
    return this.#listening.keep(stop);
  }

  /** Whether it was answered by the server, after however many questions. */
  async call(kind: string, call: Call): Promise<boolean> {
    const errand: Errand = { ...call, kind, marker: newMarker(this.name), startedAt: Date.now() };
    for (;;) {
      const used = errand.input;
      const leg = await this.#request(errand);
      const isOver = leg === 'done' || leg === 'failed';
      if (used !== undefined && (leg === 'done' || leg === 'asked') && this.#chance.is(STUBBORN))
        await this.#comeAgain({ ...errand, input: used });
      if (isOver) return leg === 'done';
      await sleep(leg === 'once more' ? RETRY_MS : this.#thoughtMs());
    }
  }

  post(
    method: string,
    params: Readonly<Record<string, unknown>>,
    id: number | string,
    more: { readonly progressToken?: string; readonly signal?: AbortSignal } = {},
  ): Promise<IncomingMessage> {
    const { progressToken, signal } = more;
    const { capabilities, name } = this;
    const meta = progressToken === undefined ? {} : { progressToken };
    const body = modernBody(method, params, { id, capabilities, name, meta });
    return this.user.send('POST', modernHeaders(method, params), body, signal);
  }

  newId(): number | string {
    if (this.#reusesIds) return 1;
    this.#lastId += 1;
    return this.#lastId % 3 === 0 ? `id ${this.#lastId}` : this.#lastId;
  }

  async #request(errand: Errand): Promise<Leg> {
    const { kind, marker, input, startedAt } = errand;
    const entry = this.#ledger.call(`${kind} ${marker}${input ? ', retry' : ''}`, 'modern', startedAt);
    const id = this.newId();
    const leaving = new AbortController();
    const leave = () => {
      leaveAlone(marker);
      leaving.abort();
    };
    // A client that was asked comes back: a call that waits for its client would keep its child.
    const isLeaver = errand.leaveAfterMs !== undefined && input === undefined;
    const timer = isLeaver ? setTimeout(leave, errand.leaveAfterMs) : undefined;
    try {
      const listening = this.#listening.moment;
      const response = await this.post('tools/call', paramsOf(errand), id, {
        signal: leaving.signal,
        ...(errand.progress && { progressToken: marker }),
      });
      const { answer, steps } = await this.#read(response, id, marker);
      const leg = this.#judge(entry, errand, answer, response);
      if (leg !== 'done') return leg;
      const isWhole = !errand.progress || errand.input !== undefined || steps === PROGRESS_STEPS;
      if (!isWhole) this.#ledger.breach('progress that was lost', `${marker}: ${steps}`);
      if (kind === 'touch' && answer !== undefined)
        await this.#listening.check(listening, marker, wordsIn(answer)?.watched ?? []);
      return leg;
    } catch (error) {
      if (leaving.signal.aborted) entry.abandoned();
      else entry.refused(error);
      return 'failed';
    } finally {
      clearTimeout(timer);
    }
  }

  /** All of it, to its end: an answer comes once. */
  async #read(
    response: IncomingMessage,
    id: number | string,
    marker: string,
  ): Promise<{ answer: Message | undefined; steps: number }> {
    let answer: Message | undefined;
    let steps = 0;
    for await (const { message } of eventsOf(response)) {
      if (message === undefined) continue;
      const { method, params } = message;
      if (answer !== undefined)
        this.#ledger.breach('something after the answer', `${marker}: ${JSON.stringify(message)}`);
      if (method === undefined) answer = message;
      else if (method === 'notifications/progress' && params?.progressToken === marker) {
        if (params.progress !== undefined && params.progress <= steps)
          this.#ledger.breach('progress that goes back', `${marker}: ${steps}, ${params.progress}`);
        steps += 1;
      } else this.#ledger.breach('CROSS-TALK: not of this call', `${marker}: ${JSON.stringify(message)}`);
    }
    const isOurs = answer === undefined || answer.id === id || (answer.id === null && answer.error);
    if (!isOurs)
      this.#ledger.breach('an answer under another id', `${marker}: ${JSON.stringify(answer?.id)}`);
    return { answer, steps };
  }

  #judge(entry: Entry, errand: Errand, answer: Message | undefined, response: IncomingMessage): Leg {
    const { kind, marker, bytes } = errand;
    const { statusCode } = response;
    if (statusCode === 401) entry.breach('a call refused for good (401)');
    else if (answer?.error !== undefined) return this.#judgeError(entry, errand, answer, response);
    else if (answer?.result === undefined) entry.refused(`it ended without an answer (${statusCode})`);
    else if (answer.result.resultType === 'input_required')
      return this.#hearQuestions(entry, errand, answer.result);
    else {
      const words = wordsIn(answer);
      const wrong =
        wrongIn(answer, this, marker, bytes) ?? wrongEnvelope(answer.result) ?? this.#misheard(errand, words);
      if (wrong !== undefined) entry.breach(...wrong);
      else entry.answered(kind === 'echo' && errand.input === undefined);
      return wrong === undefined ? 'done' : 'failed';
    }
    return 'failed';
  }

  #judgeError(entry: Entry, errand: Errand, answer: Message, response: IncomingMessage): Leg {
    const reason = reasonOf(answer, response);
    const { marker, goodUntil = Number.POSITIVE_INFINITY, input } = errand;
    if (GIVEN_UP.includes(reason)) leaveAlone(marker);
    // It ended while the client was away, with the token of its child: no child outlives that.
    if (reason === 'token-ended' && Date.now() > goodUntil - TOLERATED_DEAD_MS) {
      this.#ledger.count('modern, ended with the token of the child');
      entry.abandoned();
    } else entry.failed(reason);
    return input !== undefined && reason.startsWith('http 5') ? 'once more' : 'failed';
  }

  /** What came back to the server must be what we said to each of its questions. */
  #misheard({ marker, questions = 0 }: Errand, words: Words | undefined): [string, string] | undefined {
    const expected = Array.from({ length: questions }, (_, n) => `${marker}?${n + 1}`);
    const { heard = [] } = words ?? {};
    const isRight = this.#canBeAsked
      ? heard.join() === expected.join()
      : heard.length === questions && heard.every((word) => word.startsWith('error'));
    return isRight ? undefined : ['CROSS-TALK: the answer to another question', heard.join()];
  }

  #hearQuestions(entry: Entry, errand: Errand, result: Result): Leg {
    const { inputRequests = {}, requestState } = result;
    const answers = new Map<string, object>();
    for (const [key, question] of Object.entries(inputRequests)) {
      const wrong = this.#wrongQuestion(errand, question);
      if (wrong !== undefined) {
        entry.breach(wrong, JSON.stringify(question));
        return 'failed';
      }
      const { word } = saidIn(question);
      answers.set(key, { action: 'accept', content: { word } });
    }
    if (requestState === undefined) {
      entry.breach('a question without a state to come back with');
      return 'failed';
    }
    entry.asked();
    const isForgetful = this.#chance.is(FORGETFUL);
    if (isForgetful) this.#ledger.count('modern, retries without what was asked');
    errand.input = { requestState, inputResponses: isForgetful ? {} : Object.fromEntries(answers) };
    return 'asked';
  }

  #wrongQuestion(errand: Errand, question: Question): string | undefined {
    if (question.method !== 'elicitation/create') return 'a question that nobody asked';
    if (!this.#canBeAsked) return 'a question to a client that cannot be asked';
    const { login, child, marker, goodUntil } = saidIn(question);
    if (login !== this.user.login || isForeign(child, this))
      return 'CROSS-TALK: a question to another client';
    errand.goodUntil = goodUntil;
    // Several calls at one child: which of them asked, it does not say.
    if (marker !== errand.marker) this.#ledger.count("modern, questions on another call's answer");
    return undefined;
  }

  /** What a client was asked it answers once: there is nothing to come back to, be the call over or not. */
  async #comeAgain(errand: Errand): Promise<void> {
    const entry = this.#ledger.call(`${errand.kind} ${errand.marker}, with a used state`, 'modern');
    const id = this.newId();
    try {
      const response = await this.post('tools/call', paramsOf(errand), id);
      const { answer } = await this.#read(response, id, errand.marker);
      if (answer?.result !== undefined) entry.breach('a state that was good twice', JSON.stringify(answer));
      else if (answer === undefined) entry.refused('a used state without an answer');
      else entry.answered(false);
    } catch (error) {
      entry.refused(error);
    }
  }

  async #discover(): Promise<void> {
    const entry = this.#ledger.call(`server/discover of ${this.name}`, 'modern');
    const id = this.newId();
    try {
      const response = await this.post('server/discover', {}, id);
      const { answer } = await this.#read(response, id, 'server/discover');
      if (answer?.error !== undefined) entry.failed(reasonOf(answer, response));
      else if (answer?.result === undefined) entry.refused('server/discover ended without an answer');
      else if (!answer.result.supportedVersions?.includes('2026-07-28') || wrongEnvelope(answer.result))
        entry.breach('a server that is not discovered', JSON.stringify(answer));
      else entry.answered(false);
    } catch (error) {
      entry.refused(error);
    }
  }

  #thoughtMs(): number {
    const [least, most] = this.#chance.is(THOUGHT.long_share) ? THOUGHT.long : THOUGHT.short;
    return this.#chance.between(least, most);
  }
}

const paramsOf = ({ kind, marker, ms, bytes, questions, input }: Errand) => ({
  name: kind,
  arguments: { marker, ms, bytes, questions },
  ...input,
});

interface Said {
  readonly login: string;
  readonly child: string;
  readonly marker: string;
  readonly word: string;
  readonly goodUntil: number;
}

const saidIn = ({ params }: Question) => JSON.parse(params?.message ?? '{}') as Said;

function wrongEnvelope(result: Result): [string, string] | undefined {
  const { resultType, _meta } = result;
  const server = _meta?.[META.serverInfo] as { readonly name?: string } | undefined;
  const isModern = resultType === 'complete' && server?.name === 'chaos';
  return isModern
    ? undefined
    : ['a result in the words of another era', JSON.stringify({ resultType, _meta })];
}
