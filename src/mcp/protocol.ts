/** Facts of the protocol: versions, header names, JSON-RPC errors. No behaviour. */
import type { RawJson } from './message.js';

/** The version with a handshake that has most of what the modern era has. */
export const NEWEST_LEGACY_VERSION = '2025-11-25';
/**
 * Versions with an `initialize` handshake, newest first. What a session agreed on is its child's choice among them.
 * The SDKs also list `2024-10-07`, which came before the first release and which nothing describes any more.
 */
export const LEGACY_VERSIONS: readonly string[] = [
  NEWEST_LEGACY_VERSION,
  '2025-06-18',
  '2025-03-26',
  '2024-11-05',
];
/** Who the broker is where it speaks for itself: an Implementation. */
export const BROKER_INFO: RawJson = '{"name":"fjmcp-broker","version":"1"}';
/** From here on event ids and events without data are understood (MCP 2025-11-25, basic/transports). */
export const RESUMABLE_VERSION = '2025-11-25';
/** From here on there is no handshake and no session. */
export const MODERN_VERSION = '2026-07-28';
/** What a modern client may choose from. Never a legacy version: what it asks next would still be a modern request. */
export const MODERN_VERSIONS: readonly string[] = [MODERN_VERSION];
/** The one version with batches (MCP 2025-03-26, basic/transports; removed in 2025-06-18). */
export const BATCH_VERSION = '2025-03-26';

/** Reserved names in `_meta` (MCP 2026-07-28, basic/index: `_meta`). */
export const META = {
  version: 'io.modelcontextprotocol/protocolVersion',
  clientInfo: 'io.modelcontextprotocol/clientInfo',
  capabilities: 'io.modelcontextprotocol/clientCapabilities',
  logLevel: 'io.modelcontextprotocol/logLevel',
  serverInfo: 'io.modelcontextprotocol/serverInfo',
  subscriptionId: 'io.modelcontextprotocol/subscriptionId',
} as const;

export interface RpcError {
  readonly code: number;
  readonly message: string;
  readonly data?: { readonly retryAfterSeconds?: number; readonly [name: string]: unknown };
}

/** Refusals at the door. -32000 and -32001 as the SDKs use them; -32020 to -32022 are MCP 2026-07-28, basic/index. */
export const ERRORS = {
  malformed: { code: -32700, message: 'Parse error: the body is not JSON in UTF-8' },
  invalid: { code: -32600, message: 'Invalid Request' },
  unknownMethod: { code: -32601, message: 'Method not found' },
  invalidParams: { code: -32602, message: 'Invalid params' },
  internal: { code: -32603, message: 'Internal error' },
  wrongType: { code: -32000, message: 'Unsupported Media Type: Content-Type must be application/json' },
  tooLarge: { code: -32000, message: 'Payload Too Large' },
  tooManyBodies: { code: -32000, message: 'Too many bytes of requests at once. Try again in a moment.' },
  wrongHttpMethod: { code: -32000, message: 'Method not allowed' },
  noSession: { code: -32000, message: 'Bad Request: Mcp-Session-Id header is required' },
  stopping: { code: -32000, message: 'The broker is restarting. Try again in a moment.' },
  unknownSession: { code: -32001, message: 'Session not found' },
  unknownServer: { code: -32000, message: 'Not found: no such MCP server' },
  headerMismatch: { code: -32020, message: 'Header mismatch' },
  missingCapability: { code: -32021, message: 'Missing required client capability' },
  unsupportedVersion: { code: -32022, message: 'Unsupported protocol version' },
} as const satisfies Readonly<Record<string, RpcError>>;

export function errorAnswer(id: RawJson | undefined, error: RpcError): Buffer {
  return envelope(id, 'error', JSON.stringify(error));
}

/** An error of the standard with its reason: "Invalid params: …". */
export function because(error: RpcError, why: string): RpcError {
  return { ...error, message: `${error.message}: ${why}` };
}

export function resultAnswer(id: RawJson, result: object): Buffer {
  return envelope(id, 'result', JSON.stringify(result));
}

/** An answer whose result is at hand as JSON. */
export function rawAnswer(id: RawJson, result: RawJson): Buffer {
  return Buffer.from(`{"jsonrpc":"2.0","id":${id},"result":${result}}`, 'latin1');
}

/** `id` as it stands in JSON. */
export function request(id: RawJson, method: string, params: object): Buffer {
  return Buffer.from(`{"jsonrpc":"2.0","id":${id},"method":"${method}","params":${JSON.stringify(params)}}`);
}

export function notification(method: string, params?: object): Buffer {
  return Buffer.from(JSON.stringify({ jsonrpc: '2.0', method, params }));
}

/** What was asked under an id of ours is taken back. */
export function withdrawal(id: RawJson): Buffer {
  return Buffer.from(
    `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":${id}}}`,
    'latin1',
  );
}

/** The id goes back as it came, byte for byte: it was latin1 text of the original bytes. */
function envelope(id: RawJson | undefined, name: 'error' | 'result', value: string): Buffer {
  return Buffer.concat([
    Buffer.from('{"jsonrpc":"2.0","id":'),
    Buffer.from(id ?? 'null', 'latin1'),
    Buffer.from(`,"${name}":${value}}`),
  ]);
}
