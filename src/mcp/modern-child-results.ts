/**
 * Results and errors of a modern child in the form a legacy client knows, by splices: a result is walked, never parsed.
 * Refuses nothing; what it cannot read passes as it came.
 */
import { metaRemovals, removals } from './edits.js';
import { type Edit, type RawJson, rawAt, splice, valueAt } from './message.js';
import { META } from './protocol.js';
import { elementsOf, isArrayAt, isObjectAt, isTextAt, type Members, membersAt, type Span } from './scan.js';

const RESULT = [
  'resultType',
  'ttlMs',
  'cacheScope',
  '_meta',
  'structuredContent',
  'tools',
  'inputRequests',
  'requestState',
] as const;

export type ResultMembers = Members<(typeof RESULT)[number]>;

export const resultMembers = (line: Buffer, result: Span): ResultMembers => membersAt(line, result, RESULT);

/** MCP 2026-07-28, basic: a result without `resultType` is complete. */
export function kindOf(
  line: Buffer,
  { resultType }: ResultMembers,
): 'complete' | 'input_required' | 'unknown' {
  if (resultType === undefined || isTextAt(line, resultType, 'complete')) return 'complete';
  return isTextAt(line, resultType, 'input_required') ? 'input_required' : 'unknown';
}

/** The edits that make a complete result one of the legacy era. */
export function legacyResult(
  line: Buffer,
  result: Span,
  found: ResultMembers,
  method: string | undefined,
): Edit[] {
  const { [META.serverInfo]: serverInfo } = membersAt(line, found._meta, [META.serverInfo]);
  const gone = [found.resultType, found.ttlMs, found.cacheScope];
  // MCP 2025-11-25, server/tools: an object. Clients refuse the whole result else; its text says the same.
  const { structuredContent: structured } = found;
  if (method === 'tools/call' && structured && !isObjectAt(line, structured.start)) gone.push(structured);
  const edits = metaRemovals(line, result.start, gone, found._meta, [serverInfo]);
  return method === 'tools/list' ? [...edits, ...legacyTools(line, found.tools)] : edits;
}

const MAX_TOOLS = 10_000;

/**
 * MCP 2025-11-25, server/tools: an output schema describes an object. In MCP 2026-07-28 it may describe any value; one
 * such tool makes a legacy client refuse the whole list, so the tool goes without its schema.
 */
function legacyTools(line: Buffer, tools: Span | undefined): Edit[] {
  const list = tools && isArrayAt(line, tools.start) ? elementsOf(line, tools.start, MAX_TOOLS) : [];
  if (typeof list === 'string') return [];
  return list.flatMap((tool) => {
    const { outputSchema } = membersAt(line, tool, ['outputSchema']);
    if (outputSchema === undefined) return [];
    const { type } = membersAt(line, outputSchema, ['type']);
    return type !== undefined && isTextAt(line, type, 'object')
      ? []
      : removals(line, tool.start, [outputSchema]);
  });
}

/**
 * MCP 2026-07-28, server/resources: a resource that does not exist is -32602 with its `uri`; it was -32002 before. Other
 * faults of parameters have no `uri` and stay as they are.
 */
export function legacyError(line: Buffer, method: string | undefined): Edit[] {
  if (method !== 'resources/read') return [];
  const code = valueAt(line, ['error', 'code']);
  if (code === undefined || rawAt(line, code) !== '-32602') return [];
  return valueAt(line, ['error', 'data', 'uri']) === undefined ? [] : [{ at: code, raw: '-32002' }];
}

/** A notification without the subscription it came by. */
export function withoutSubscription(line: Buffer, params: Span | undefined): Buffer {
  if (params === undefined) return line;
  const { _meta: meta } = membersAt(line, params, ['_meta']);
  const { [META.subscriptionId]: id } = membersAt(line, meta, [META.subscriptionId]);
  return id === undefined ? line : splice(line, metaRemovals(line, params.start, [], meta, [id]));
}

/** The subscription that a notification came by. */
export function subscriptionOf(line: Buffer, params: Span | undefined): RawJson | undefined {
  const { _meta: meta } = membersAt(line, params, ['_meta']);
  const { [META.subscriptionId]: id } = membersAt(line, meta, [META.subscriptionId]);
  return id && rawAt(line, id);
}
