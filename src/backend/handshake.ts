/** What `initialize` settled, kept so that it can be said again to the next child. */
import { type RequestMessage, readMessage, splice } from '../mcp/message.js';

export interface Handshake {
  /** The client's request, under an id of ours: the client may use its own again, and cancel it. */
  readonly initialize: RequestMessage;
  readonly version: string;
  /** Names of the capabilities the client declared. */
  readonly clientCapabilities: readonly string[];
  /** Whether the present child has had `notifications/initialized`. */
  readonly confirmed: boolean;
}

const REPLAY_ID = '"fjmcp-broker-replay"';

/** A request of the child -> the capability a client must have declared to be asked (MCP 2025-11-25, lifecycle). */
const NEEDS: ReadonlyMap<string, string> = new Map([
  ['sampling/createMessage', 'sampling'],
  ['elicitation/create', 'elicitation'],
  ['roots/list', 'roots'],
]);

/** Undefined when the child refused. Both messages are small and come once a child, so they are parsed. */
export function readHandshake(initialize: RequestMessage, answer: Buffer): Handshake | undefined {
  const again = readMessage(splice(initialize.bytes, [{ at: initialize.id, raw: REPLAY_ID }]));
  const { result } = parse<{ result?: { protocolVersion?: unknown } }>(answer) ?? {};
  const { params } = parse<{ params?: { capabilities?: unknown } }>(initialize.bytes) ?? {};
  const version = result?.protocolVersion;
  if (again.kind !== 'request' || typeof version !== 'string') return undefined;
  return {
    initialize: again,
    version,
    clientCapabilities: Object.keys(params?.capabilities ?? {}),
    confirmed: false,
  };
}

/** A client that did not declare a capability is not asked for it; some never answer, and their child would wait. */
export function mayBeAsked(method: string, handshake: Handshake | undefined): boolean {
  const capability = NEEDS.get(method);
  return (
    capability === undefined || handshake === undefined || handshake.clientCapabilities.includes(capability)
  );
}

/** `T` may only promise optional members of unknown type: every object keeps that promise. */
function parse<T extends object>(bytes: Buffer): T | undefined {
  try {
    const value: unknown = JSON.parse(bytes.toString());
    return typeof value === 'object' && value !== null ? (value as T) : undefined;
  } catch {
    return undefined;
  }
}
