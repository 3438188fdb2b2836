/**
 * What is changed in the answer of a modern server to a modern client: what only the one in the middle can know. Any
 * other byte stays as it came.
 */

import {
  type Edit,
  type RawJson,
  type ResponseMessage,
  rawAt,
  readMessage,
  splice,
  valueAt,
} from './message.js';
import { MODERN_METHODS } from './methods.js';
import { MODERN_VERSIONS } from './protocol.js';
import { elementsOf, isArrayAt, isObjectAt, isTextAt, membersOf, type Span, textAt } from './scan.js';

/** The answer of a server to a request of `method`. */
export function relayed(method: string, answer: Buffer): Buffer {
  if (MODERN_METHODS.get(method)?.cacheable !== true) return answer;
  const message = readMessage(answer);
  const edits = message.kind === 'response' ? resultEdits(message) : [];
  return edits.length === 0 ? answer : splice(answer, edits);
}

function resultEdits({ bytes, result }: ResponseMessage): Edit[] {
  if (result === undefined || !isObjectAt(bytes, result.start)) return [];
  const scanned = membersOf(bytes, result.start, ['cacheScope', 'supportedVersions']);
  if (typeof scanned === 'string') return [];
  const { cacheScope, supportedVersions } = scanned.members;
  return [
    ...(cacheScope === undefined ? [] : ownScope(bytes, cacheScope)),
    ...(supportedVersions === undefined ? [] : ourVersions(bytes, supportedVersions)),
  ];
}

/**
 * MCP 2026-07-28, server/utilities/caching: what is public may be shown to any user. A server that speaks stdio knows one
 * user, who is all the world to it. Here it speaks for one of many, and what it says stays with that one.
 */
function ownScope(bytes: Buffer, at: Span): Edit[] {
  return isTextAt(bytes, at, 'public') ? [{ at, raw: '"private"' }] : [];
}

/** A client may choose from what a server says it supports; with any other version it would be refused at our door. */
function ourVersions(bytes: Buffer, at: Span): Edit[] {
  const listed = isArrayAt(bytes, at.start) ? elementsOf(bytes, at.start, MAX_VERSIONS) : 'malformed';
  if (typeof listed === 'string') return [];
  const ours = listed.filter((version) => MODERN_VERSIONS.includes(textAt(bytes, version) ?? ''));
  if (ours.length === 0 || ours.length === listed.length) return [];
  return [{ at, raw: `[${ours.map((version) => rawAt(bytes, version)).join(',')}]` }];
}

/**
 * An answer that was kept, to who asks now. It is stale at once (MCP 2026-07-28, server/utilities/caching: TTL): its
 * server may have changed since.
 */
export function keptFor(id: RawJson, answer: Buffer): Buffer {
  const message = readMessage(answer);
  if (message.kind !== 'response') return answer;
  const ttlMs = valueAt(answer, ['result', 'ttlMs']);
  return splice(answer, [
    { at: message.id, raw: id },
    ...(ttlMs === undefined ? [] : [{ at: ttlMs, raw: '0' }]),
  ]);
}

const MAX_VERSIONS = 1000;
