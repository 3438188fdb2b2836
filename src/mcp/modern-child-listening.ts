/**
 * The one `subscriptions/listen` of a modern child that serves a legacy client's `resources/subscribe` and the list-changed
 * notifications. What is listened to cannot change while it lasts (MCP 2026-07-28, basic/patterns/subscriptions): a new
 * one is opened, and when the child has acknowledged it, the old one is cancelled. So nothing is missed; what the old one
 * says after that is not heard. At most one is being opened at a time.
 */
import type { RawJson } from './message.js';
import type { RpcError } from './protocol.js';

/** A `subscriptions/listen` by its id, and the resources it names. */
export interface Stream {
  readonly id: RawJson;
  readonly lists: readonly string[];
  readonly uris: ReadonlySet<string>;
}

/** A request of the client that is answered when the child listens, or no longer, to `uri`. */
interface Waiter {
  readonly id: RawJson;
  readonly uri: string;
  readonly wants: boolean;
}

export interface Listening {
  /** Filter members for the lists that may change. */
  readonly lists: readonly string[];
  readonly wanted: ReadonlySet<string>;
  /** The one that the child has acknowledged. */
  readonly current: Stream | undefined;
  readonly opening: Stream | undefined;
  readonly waiters: readonly Waiter[];
  readonly lastId: number;
  readonly reopened: number;
}

export interface ListeningStep {
  readonly listening: Listening;
  readonly open?: Stream;
  readonly cancel?: readonly RawJson[];
  /** Requests of the client that have their answer. */
  readonly answered?: readonly { readonly id: RawJson; readonly error?: RpcError }[];
}

export const SILENT: Listening = {
  lists: [],
  wanted: new Set(),
  current: undefined,
  opening: undefined,
  waiters: [],
  lastId: 0,
  reopened: 0,
};

const MAX_URIS = 1000;
const MAX_WAITERS = 1000;
const MAX_URI_LENGTH = 2048;
/** A child that ends its streams without end gets no new ones. */
const MAX_REOPENED = 10;

const REFUSED: RpcError = {
  code: -32602,
  message: 'The MCP server does not report changes of this resource',
};
const TOO_MANY: RpcError = {
  code: -32603,
  message: `At most ${MAX_URIS} resources are subscribed to at once`,
};
const ENDED: RpcError = { code: -32603, message: 'The MCP server ended the subscription' };

export function subscribe(listening: Listening, id: RawJson, uri: string): ListeningStep {
  const { wanted, waiters } = listening;
  const isTooMany = (wanted.size >= MAX_URIS && !wanted.has(uri)) || waiters.length >= MAX_WAITERS;
  if (isTooMany || uri.length > MAX_URI_LENGTH) return { listening, answered: [{ id, error: TOO_MANY }] };
  return settle({
    ...listening,
    wanted: new Set(wanted).add(uri),
    waiters: [...waiters, { id, uri, wants: true }],
  });
}

export function unsubscribe(listening: Listening, id: RawJson, uri: string): ListeningStep {
  const { wanted, waiters } = listening;
  if (waiters.length >= MAX_WAITERS) return { listening, answered: [{ id, error: TOO_MANY }] };
  return settle({
    ...listening,
    wanted: without(wanted, [uri]),
    waiters: [...waiters, { id, uri, wants: false }],
  });
}

/** The conversation begins: from now on changes of these lists are reported. */
export const listenTo = (listening: Listening, lists: readonly string[]): ListeningStep =>
  settle({ ...listening, lists });

/** The client takes a request back. What the child has not answered until now is not waited for any longer. */
export function giveUp(listening: Listening, id: RawJson): ListeningStep {
  const waiter = listening.waiters.find((other) => other.id === id);
  if (waiter === undefined) return { listening };
  const { opening, current, wanted } = listening;
  const step = settle({
    ...listening,
    opening: undefined,
    waiters: listening.waiters.filter((other) => other !== waiter),
    wanted: waiter.wants && !current?.uris.has(waiter.uri) ? without(wanted, [waiter.uri]) : wanted,
  });
  return opening === undefined ? step : { ...step, cancel: [opening.id, ...(step.cancel ?? [])] };
}

/** The child listens to some of what was asked for. */
export function acknowledged(listening: Listening, id: RawJson, granted: ReadonlySet<string>): ListeningStep {
  const { opening, current, waiters, wanted } = listening;
  if (opening?.id !== id) return { listening };
  const refused = [...opening.uris].filter((uri) => !granted.has(uri));
  const isRefused = ({ uri, wants }: Waiter) => wants && refused.includes(uri);
  const step = settle({
    ...listening,
    opening: undefined,
    current: { ...opening, uris: without(opening.uris, refused) },
    wanted: without(wanted, refused),
    waiters: waiters.filter((waiter) => !isRefused(waiter)),
  });
  return {
    ...step,
    cancel: [...(current === undefined ? [] : [current.id]), ...(step.cancel ?? [])],
    answered: [
      ...waiters.filter(isRefused).map((waiter) => ({ id: waiter.id, error: REFUSED })),
      ...(step.answered ?? []),
    ],
  };
}

/** The child has ended a stream, or would not open it. */
export function ended(listening: Listening, id: RawJson, error = ENDED): ListeningStep {
  const { opening, current, waiters, reopened } = listening;
  if (opening?.id === id) {
    return {
      listening: { ...listening, opening: undefined, wanted: current?.uris ?? new Set(), waiters: [] },
      answered: waiters.map((waiter) => ({ id: waiter.id, error })),
    };
  }
  if (current?.id !== id) return { listening };
  const lost = { ...listening, current: undefined, reopened: reopened + 1 };
  return reopened < MAX_REOPENED ? settle(lost) : { listening: { ...lost, wanted: new Set() } };
}

/** Answers whom it can, and opens a stream if the one there is differs from what is wanted. */
function settle(listening: Listening): ListeningStep {
  const { current, opening, waiters, wanted, lists } = listening;
  if (opening !== undefined) return { listening };
  const nothing = wanted.size === 0 && lists.length === 0;
  const isThere = current !== undefined && current.lists === lists && isSame(current.uris, wanted);
  if (nothing || isThere) {
    const quiet = { ...listening, current: nothing ? undefined : current, waiters: [] };
    const cancel = nothing && current !== undefined ? [current.id] : [];
    return { listening: quiet, cancel, answered: waiters.map(({ id }) => ({ id })) };
  }
  const isMet = ({ uri, wants }: Waiter) => (current?.uris.has(uri) ?? false) === wants;
  const lastId = listening.lastId + 1;
  const open = { id: `"fjmcp-listen-${lastId}"`, lists, uris: wanted };
  const rest = waiters.filter((waiter) => !isMet(waiter));
  return {
    listening: { ...listening, opening: open, lastId, waiters: rest },
    open,
    answered: waiters.filter(isMet).map(({ id }) => ({ id })),
  };
}

const without = (set: ReadonlySet<string>, gone: readonly string[]): ReadonlySet<string> =>
  new Set([...set].filter((item) => !gone.includes(item)));

const isSame = (a: ReadonlySet<string>, b: ReadonlySet<string>): boolean =>
  a.size === b.size && [...a].every((item) => b.has(item));
