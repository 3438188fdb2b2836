/**
 * Results and errors of a modern child in the form a legacy client knows, by splices: a result is walked, never parsed.
 * Refuses nothing; what it cannot read passes as it came.
 */
import { type Edit, type RawJson, rawAt, splice, valueAt } from './message.js';
import { META, metaOf, removals, strip } from './meta.js';
import { elementsOf, isArrayAt, isObjectAt, isTextAt, membersOf, type Span } from './scan.js';

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

export type ResultMembers = { readonly [N in (typeof RESULT)[number]]?: Span };

export const resultMembers = (line: Buffer, result: Span): ResultMembers => {
  const scanned = membersOf(line, result.start, RESULT);
  return typeof scanned === 'string' ? {} : scanned.members;
};

/** MCP 2026-07-28, basic: a result without `resultType` is complete. */
export function kindOf(
  line: Buffer,
  { resultType }: ResultMembers,
): 'complete' | 'input_required' | 'unknown' {
  if (resultType === undefined || isTextAt(line, resultType, 'complete')) return 'complete';
  return isTextAt(line, resultType, 'input_required') ? 'input_required' : 'unknown';
}

/** The edits that make a complete result one of the legacy era. */
export function legacyResult(line: Buffer, found: ResultMembers, method: string | undefined): Edit[] {
  const meta = metaOf(line, found._meta, [META.serverInfo]);
  const gone = [found.resultType, found.ttlMs, found.cacheScope];
  // MCP 2025-11-25, server/tools: an object. Clients refuse the whole result else; its text says the same.
  const { structuredContent: structured } = found;
  if (method === 'tools/call' && structured && !isObjectAt(line, structured.start)) gone.push(structured);
  const edits = strip(line, gone, found._meta, [meta[META.serverInfo]]);
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
  return list.flatMap(({ start }) => {
    const tool = membersOf(line, start, ['outputSchema']);
    const schema = typeof tool === 'string' ? undefined : tool.members.outputSchema;
    if (schema === undefined) return [];
    const scanned = membersOf(line, schema.start, ['type']);
    const type = typeof scanned === 'string' ? undefined : scanned.members.type;
    return type !== undefined && isTextAt(line, type, 'object') ? [] : removals(line, [schema]);
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
  if (params === undefined || !isObjectAt(line, params.start)) return line;
  const scanned = membersOf(line, params.start, ['_meta']);
  if (typeof scanned === 'string') return line;
  const { _meta } = scanned.members;
  const meta = metaOf(line, _meta, [META.subscriptionId]);
  return splice(line, strip(line, [], _meta, [meta[META.subscriptionId]]));
}

/** The subscription that a notification came by. */
export function subscriptionOf(line: Buffer, params: Span | undefined): RawJson | undefined {
  if (params === undefined || !isObjectAt(line, params.start)) return undefined;
  const scanned = membersOf(line, params.start, ['_meta']);
  if (typeof scanned === 'string') return undefined;
  const id = metaOf(line, scanned.members._meta, [META.subscriptionId])[META.subscriptionId];
  return id && rawAt(line, id);
}
