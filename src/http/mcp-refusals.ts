/** What the MCP endpoint answers when it relays nothing: JSON-RPC errors with their HTTP status. */
import type { RawJson } from '../mcp/message.js';
import { ERRORS, errorAnswer, LEGACY_VERSIONS, type RpcError } from '../mcp/protocol.js';

export function refuse(
  status: number,
  error: RpcError,
  id?: RawJson,
  headers: Readonly<Record<string, string>> = {},
): Response {
  return new Response(errorAnswer(id, error), {
    status,
    headers: { 'Content-Type': 'application/json', ...headers },
  });
}

/** Of a broker that ends: the session lives on in the next one, which is found over another connection. */
export function refuseStopping(id?: RawJson): Response {
  return refuse(503, ERRORS.stopping, id, { 'Retry-After': '1', Connection: 'close' });
}

export function refuseInvalid({ id, why }: { id?: RawJson | undefined; why: string }): Response {
  return refuse(400, { ...ERRORS.invalid, message: `${ERRORS.invalid.message}: ${why}` }, id);
}

export const accepted = (): Response => new Response(null, { status: 202 });

export function refuseTooLarge(maxBytes: number): Response {
  const message = `${ERRORS.tooLarge.message}: a message may have ${maxBytes} bytes`;
  return refuse(413, { ...ERRORS.tooLarge, message });
}

export function refuseVersion(requested: string, id: RawJson | undefined): Response {
  return refuse(400, { ...ERRORS.unsupportedVersion, data: { supported: LEGACY_VERSIONS, requested } }, id);
}
