/** What the server of the run says in its answers, and what must be true of it, whichever way an answer came. */
import type { Ledger } from './ledger.js';
import type { Message } from './wire.js';

/** What `server.ts` says in every answer. */
export interface Words {
  readonly marker: string;
  readonly login: string;
  readonly child: string;
  readonly deadFor: number;
  readonly forgejo?: { readonly status: number; readonly login?: string; readonly stillGood?: boolean };
  /** What it was answered to its questions. */
  readonly heard: readonly string[];
  /** The resources that it is to watch. */
  readonly watched: readonly string[];
  /** By marker, the calls that it was given, and that were cancelled, since it last answered. */
  readonly given: readonly string[];
  readonly givenAgain: readonly string[];
  readonly cancelled: readonly string[];
  readonly padding: string;
}

/** Who asked. */
export interface Asker {
  readonly user: {
    readonly login: string;
    readonly options: { readonly isExpired: (login: string) => boolean };
  };
}

/** The expiry of Forgejo's tokens is in whole seconds, and a call may be on its way just then. */
export const TOLERATED_DEAD_MS = 2000;

/** Every child has a name of its own: for whom it works. */
const owners = new Map<string, Asker>();
/** By marker, the child that was given the call. */
const carriedOut = new Map<string, string>();
/** Calls whose clients did not wait for the answer, or were told that there will be none. */
const leftAlone = new Set<string>();
/** Calls whose children were told to stop. */
const cancelled = new Set<string>();
let calls = 0;

/** What a call is known by wherever it is heard of. */
export function newMarker(name: string): string {
  calls += 1;
  return `${name}#${calls}`;
}

/** From now on the call may be cancelled. */
export function leaveAlone(marker: string): void {
  leftAlone.add(marker);
}

/** At the end of a run: a client may hear later than the child that its call was given up. */
export function checkCancelled(ledger: Ledger): void {
  ledger.count('calls cancelled at their children', cancelled.size);
  for (const marker of cancelled)
    if (!leftAlone.has(marker)) ledger.breach('CROSS-TALK: a call cancelled that nobody left', marker);
}

/** A child must work for one session, or one modern client, as long as it lives. */
export function isForeign(child: string, asker: Asker): boolean {
  if ((owners.get(child) ?? asker) !== asker) return true;
  owners.set(child, asker);
  return false;
}

export function wordsIn(answer: Message): Words | undefined {
  const text = answer.result?.content?.[0]?.text;
  return text === undefined ? undefined : (JSON.parse(text) as Words);
}

/** What is wrong with an answer of the server, and its words to show. */
export function wrongIn(
  answer: Message,
  asker: Asker,
  marker: string,
  bytes = 0,
): [what: string, words: string] | undefined {
  const { login, options } = asker.user;
  const words = wordsIn(answer);
  if (words === undefined) return ['an answer without words', JSON.stringify(answer)];
  const { padding, ...rest } = words;
  const shown = JSON.stringify(rest);
  if (words.marker !== marker) return ['CROSS-TALK: the answer of another call', shown];
  if (words.login !== login) return ['CROSS-TALK: a child of another user', shown];
  if (isForeign(words.child, asker)) return ['CROSS-TALK: a child of another client', shown];
  const repeated = words.givenAgain[0] ?? words.given.find((given) => carriedOut.has(given));
  if (repeated !== undefined)
    return ['a call carried out twice', `${repeated}, before by ${carriedOut.get(repeated)}: ${shown}`];
  for (const given of words.given) carriedOut.set(given, words.child);
  for (const given of words.cancelled) cancelled.add(given);
  if (padding !== marker.repeat(Math.ceil(bytes / marker.length)))
    return ['a large answer that is damaged', shown];
  if (words.deadFor > TOLERATED_DEAD_MS) return ['a call given to a child with a dead token', shown];
  if (words.forgejo?.status === 200 && words.forgejo.login !== login)
    return ['CROSS-TALK: the token of another user', shown];
  if (words.forgejo?.status === 401 && words.forgejo.stillGood && !options.isExpired(login))
    return ['a child whose token Forgejo refuses', shown];
  return undefined;
}
