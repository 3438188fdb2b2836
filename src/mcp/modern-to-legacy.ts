/**
 * What a modern client asks, as a legacy server is asked it. Nothing but the envelope, and the answers to what was asked
 * before, is taken out; the rest of a request leaves as it came, byte for byte.
 */
import { neutralClient } from './capabilities.js';
import { removals } from './edits.js';
import type { Envelope, ModernRequest } from './envelope.js';
import type { RawJson, RequestMessage } from './message.js';
import { NEWEST_LEGACY_VERSION } from './protocol.js';
import { objectIn, objectOf } from './raw-json.js';

/**
 * The `initialize` that stands for such a client. Clients with the same one may share a child: it is all that a legacy
 * server ever learns of its client.
 */
export function initializeFor(
  { clientInfo, capabilities }: Envelope,
  broker: { readonly id: RawJson; readonly clientInfo: RawJson },
): Buffer {
  const params = objectOf([
    ['protocolVersion', `"${NEWEST_LEGACY_VERSION}"`],
    ['capabilities', neutralClient(capabilities)],
    ['clientInfo', clientInfo !== undefined && isNamed(clientInfo) ? clientInfo : broker.clientInfo],
  ]);
  return Buffer.from(
    `{"jsonrpc":"2.0","id":${broker.id},"method":"initialize","params":${params}}`,
    'latin1',
  );
}

/** A legacy server may refuse a client without a name or a version; a modern one need not say who it is. */
function isNamed(clientInfo: RawJson): boolean {
  const { name, version } = objectIn(clientInfo) ?? {};
  return typeof name === 'string' && typeof version === 'string';
}

/** With its changes still to be made. */
export function toLegacyRequest({ message, params }: ModernRequest): RequestMessage {
  const { bytes, method, id, token, version, places } = message;
  const { _meta: meta, inputResponses, requestState } = params.members;
  const answers = removals(bytes, params.at.start, [inputResponses, requestState]);
  const edits = meta === undefined ? answers : [...answers, ...removals(bytes, meta.start, params.envelope)];
  return { kind: 'request', bytes, method, id, params: message.params, token, version, places, edits };
}
