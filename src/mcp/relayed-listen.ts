/**
 * A `subscriptions/listen` of a modern client at the modern children that come and go behind it (MCP 2026-07-28,
 * basic/patterns/subscriptions). Each child is asked under an id of ours. The client hears one acknowledgement, and then
 * of one subscription, until it is ended by a child or by us. Event in, effects out; what a filter means is the child's
 * to say.
 */
import {
  type Edit,
  lineOf,
  type NotificationMessage,
  type RawJson,
  type RequestMessage,
  type ResponseMessage,
  rawAt,
  splice,
  valueAt,
} from './message.js';
import { META } from './protocol.js';

export interface Listen {
  /** Whether the client has been told that it listens. */
  readonly isAcknowledged: boolean;
  /** The id under which that child listens whose word counts. */
  readonly heard: RawJson | undefined;
  /** The newest id under which a child was asked, until it has acknowledged. */
  readonly opening: RawJson | undefined;
}

/** A child was asked, has acknowledged, reports a change, ends the subscription, or is gone. */
export interface ListenEvent {
  readonly is: 'asked' | 'acknowledged' | 'told' | 'ended' | 'lost';
  readonly as: RawJson;
}

export interface ListenStep {
  readonly listen: Listen;
  /** Whether what the child said goes to the client. */
  readonly passes: boolean;
  /** What is to be taken back from its child. */
  readonly cancel?: RawJson;
  /** Nothing more comes: with what passes, or, if nothing does, with an error of ours. */
  readonly isOver?: true;
}

export const UNHEARD: Listen = { isAcknowledged: false, heard: undefined, opening: undefined };

export function step(listen: Listen, { is, as }: ListenEvent): ListenStep {
  const { isAcknowledged, heard, opening } = listen;
  switch (is) {
    case 'asked':
      return quietly({ ...listen, opening: as }, opening);
    case 'acknowledged':
      if (as !== opening) return quietly(listen);
      return {
        ...quietly({ isAcknowledged: true, heard: as, opening: undefined }, heard),
        passes: !isAcknowledged,
      };
    case 'told':
      // MUST NOT come before the acknowledgement; of two children, the one that has acknowledged is heard.
      return { listen, passes: as === heard };
    case 'ended': {
      // A child on its way out, when the next one has been asked already.
      if (as === heard && opening !== undefined) return quietly({ ...listen, heard: undefined });
      const closing = quietly(
        { ...listen, heard: undefined, opening: undefined },
        as === heard ? undefined : heard,
      );
      return { ...closing, passes: true, isOver: true };
    }
    case 'lost': {
      const left = {
        isAcknowledged,
        heard: heard === as ? undefined : heard,
        opening: opening === as ? undefined : opening,
      };
      // The next child is asked again, as soon as there is one. Who has not been told yet that it listens is told the truth.
      const isOver = !isAcknowledged && left.opening === undefined;
      return isOver ? { listen: left, passes: false, isOver } : quietly(left);
    }
  }
}

const quietly = (listen: Listen, cancel?: RawJson): ListenStep => ({
  listen,
  passes: false,
  ...(cancel !== undefined && { cancel }),
});

/** The line by which a child is asked. No progress comes of it, so a token of the client's must not reach a child unmapped. */
export function askedAs({ bytes, id, token }: RequestMessage, as: RawJson): Buffer {
  return lineOf(
    bytes,
    token === undefined ? [{ at: id, raw: as }] : [id, token].map((at) => ({ at, raw: as })),
  );
}

/** The id of the subscription that a notification came by. */
export function subscriptionOf({ bytes, method, subject }: NotificationMessage): RawJson | undefined {
  const at = method === CANCELLED ? subject : valueAt(bytes, ['params', '_meta', META.subscriptionId]);
  return at && rawAt(bytes, at);
}

/** What a notification of a subscription does to it. */
export function eventOf({ method }: NotificationMessage, as: RawJson): ListenEvent {
  if (method === CANCELLED) return { is: 'ended', as };
  return { is: method === 'notifications/subscriptions/acknowledged' ? 'acknowledged' : 'told', as };
}

const CANCELLED = 'notifications/cancelled';

/** The notification as its client knows it. */
export function toldTo({ bytes, subject }: NotificationMessage, id: RawJson): Buffer {
  return splice(bytes, editsAt(id, subject, valueAt(bytes, ['params', '_meta', META.subscriptionId])));
}

/** The child's answer, by which it ends the subscription, as its client knows it. */
export function endedTo({ bytes, id: at }: ResponseMessage, id: RawJson): Buffer {
  return splice(bytes, editsAt(id, at, valueAt(bytes, ['result', '_meta', META.subscriptionId])));
}

const editsAt = (raw: RawJson, ...places: readonly (Edit['at'] | undefined)[]): Edit[] =>
  places.filter((at) => at !== undefined).map((at) => ({ at, raw }));
