/** What `initialize` settled, kept so that it can be said again to the next child. */
import { createHash } from 'node:crypto';
import { type Clock, MINUTE } from '../base/clock.js';
import { ExpiringMap } from '../base/expiring-map.js';
import type { UserId } from '../base/ids.js';
import { type RequestMessage, readMessage, splice, valueAt } from '../mcp/message.js';
import { isObject, parseObject } from '../mcp/raw-json.js';

export interface Handshake {
  /** The client's request under an id of ours, asking for the version that was agreed on. */
  readonly initialize: RequestMessage;
  readonly version: string;
  /** Of the capabilities that a child may use, those the client declared. */
  readonly clientCapabilities: readonly string[];
}

const OUR_ID = '"fjmcp-broker"';
/** What a child may answer to `initialize`. */
const MAX_GREETING_BYTES = 1024 * 1024;

/** A request of the child -> the capability a client must have declared to be asked (MCP 2025-11-25, lifecycle). */
const NEEDS: ReadonlyMap<string, string> = new Map([
  ['sampling/createMessage', 'sampling'],
  ['elicitation/create', 'elicitation'],
  ['roots/list', 'roots'],
]);

/** The client may use its own id again, and cancel it: so what is said again is said under ours. */
export function underOurId(message: RequestMessage): RequestMessage {
  return asRequest(splice(message.bytes, [{ at: message.id, raw: OUR_ID }])) ?? message;
}

/** Undefined when the child refused. Both messages are small (the door sees to it of the client's), so they are parsed. */
export function agree(initialize: RequestMessage, answer: Buffer): Handshake | undefined {
  if (answer.length > MAX_GREETING_BYTES) return undefined;
  const version = memberOf(parseObject(answer)?.result, 'protocolVersion');
  if (typeof version !== 'string') return undefined;
  const { bytes } = initialize;
  const asked = valueAt(bytes, ['params', 'protocolVersion']);
  const raw = JSON.stringify(version);
  const again = asked === undefined ? initialize : asRequest(splice(bytes, [{ at: asked, raw }]));
  return again && { initialize: again, version, clientCapabilities: capabilitiesOf(initialize) };
}

/** A handshake that was stored. */
export function recall(bytes: Buffer): Handshake | undefined {
  const initialize = asRequest(bytes);
  if (initialize === undefined) return undefined;
  const version = memberOf(parseObject(bytes)?.params, 'protocolVersion');
  if (typeof version !== 'string') return undefined;
  return { initialize, version, clientCapabilities: capabilitiesOf(initialize) };
}

/** A client that did not declare a capability is not asked for it; some never answer, and their child would wait. */
export function mayBeAsked(method: string, handshake: Handshake | undefined): boolean {
  const capability = NEEDS.get(method);
  return (
    capability === undefined || handshake === undefined || handshake.clientCapabilities.includes(capability)
  );
}

/** What a conversation begins with. */
type Words = Pick<RequestMessage, 'bytes'>;

/**
 * How servers answered `initialize` before, so that the next conversation that begins with the same words costs no
 * process. By user: a server may greet each by name.
 */
export class KnownAnswers {
  readonly #answers: ExpiringMap<string, Buffer>;

  constructor(now: Clock) {
    this.#answers = new ExpiringMap({ now, ...KNOWN });
  }

  find(userId: UserId, server: string, initialize: Words): Buffer | undefined {
    return this.#answers.get(keyOf(userId, server, initialize));
  }

  forget(userId: UserId, server: string, initialize: Words): void {
    this.#answers.delete(keyOf(userId, server, initialize));
  }

  /** A copy: the answer may be a small part of much more that was read. */
  remember(userId: UserId, server: string, initialize: Words, answer: Buffer): void {
    if (answer.length > MAX_KNOWN_BYTES) return;
    this.#answers.set(keyOf(userId, server, initialize), Buffer.from(answer));
  }
}

/** An upgraded server is noticed at the next start of one of its children, and this late at the latest. */
export const KNOWN = { ttlMs: 60 * MINUTE, capacity: 1000 };
export const MAX_KNOWN_BYTES = 64 * 1024;

function keyOf(userId: UserId, server: string, { bytes }: Words): string {
  return `${userId} ${server} ${createHash('sha256').update(bytes).digest('base64')}`;
}

export function asRequest(bytes: Buffer): RequestMessage | undefined {
  const message = readMessage(bytes);
  return message.kind === 'request' ? message : undefined;
}

function capabilitiesOf({ bytes }: RequestMessage): string[] {
  const declared = Object.keys(memberOf(parseObject(bytes)?.params, 'capabilities') ?? {});
  return [...NEEDS.values()].filter((name) => declared.includes(name));
}

const memberOf = (value: unknown, name: string): unknown => (isObject(value) ? value[name] : undefined);
