/** What the MCP endpoint answers when it relays nothing: JSON-RPC errors with their HTTP status. */
import type { RawJson } from '../mcp/message.js';
import { ERRORS, errorAnswer, LEGACY_VERSIONS, type RpcError } from '../mcp/protocol.js';
import { jsonReply, type Reply } from './http-exchange.js';

export function refuse(status: number, error: RpcError, id?: RawJson, headers?: Reply['headers']): Reply {
  return jsonReply(status, errorAnswer(id, error), headers);
}

/** Of a broker that ends: the session lives on in the next one, which is found over another connection. */
export function refuseStopping(id?: RawJson): Reply {
  return refuse(503, ERRORS.stopping, id, { 'Retry-After': '1', Connection: 'close' });
}

export function refuseInvalid({ id, why }: { id?: RawJson | undefined; why: string }): Reply {
  return refuse(400, { ...ERRORS.invalid, message: `${ERRORS.invalid.message}: ${why}` }, id);
}

export const ACCEPTED: Reply = { status: 202 };

export function refuseTooLarge(maxBytes: number): Reply {
  const message = `${ERRORS.tooLarge.message}: a message may have ${maxBytes} bytes`;
  return refuse(413, { ...ERRORS.tooLarge, message });
}

export function refuseVersion(requested: string, id: RawJson | undefined): Reply {
  return refuse(400, { ...ERRORS.unsupportedVersion, data: { supported: LEGACY_VERSIONS, requested } }, id);
}
