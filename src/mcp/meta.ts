/**
 * Members of JSON objects put in and taken out by splices, and the names MCP 2026-07-28 reserves in `_meta`. What stands
 * beside them stays as it came. Knows no message and no direction.
 */
import type { Edit, RawJson } from './message.js';
import { isObjectAt, membersOf, type Span, skipSpace } from './scan.js';

/** MCP 2026-07-28, basic: `_meta`. */
export const META = {
  version: 'io.modelcontextprotocol/protocolVersion',
  clientInfo: 'io.modelcontextprotocol/clientInfo',
  capabilities: 'io.modelcontextprotocol/clientCapabilities',
  logLevel: 'io.modelcontextprotocol/logLevel',
  serverInfo: 'io.modelcontextprotocol/serverInfo',
  subscriptionId: 'io.modelcontextprotocol/subscriptionId',
} as const;

/** Members of `_meta` by name, each value as it stands in JSON. */
export type Envelope = readonly (readonly [name: string, raw: RawJson])[];

const QUOTE = 0x22;
const COMMA = 0x2c;

/** A text of ours as it stands in the bytes of a message: spliced text is one character a byte. */
export const rawOf = (value: unknown): RawJson => Buffer.from(JSON.stringify(value)).toString('latin1');

export const members = (envelope: Envelope): RawJson =>
  envelope.map(([name, raw]) => `"${name}":${raw}`).join(',');

/** Puts members (`"a":1,"b":2`) first into the object that starts at `at`. */
export function insertion(bytes: Buffer, at: number, members: RawJson): Edit {
  const first = skipSpace(bytes, at + 1);
  const isEmpty = bytes[first] !== QUOTE;
  return { at: { start: at + 1, end: at + 1 }, raw: isEmpty || members === '' ? members : `${members},` };
}

/**
 * Takes members out of one object, with the commas that held them; `values` are the spans `membersOf` found in it.
 * Neighbours go as one run, so that no comma is taken twice, and none is left behind.
 */
export function removals(bytes: Buffer, values: readonly (Span | undefined)[]): Edit[] {
  const members = values
    .filter((value) => value !== undefined)
    .map((value) => ({ start: startOfName(bytes, value), end: value.end }))
    .sort((a, b) => a.start - b.start);
  const runs: { start: number; end: number }[] = [];
  for (const member of members) {
    const run = runs.at(-1);
    const next = run && behindComma(bytes, run.end);
    if (run !== undefined && next === member.start) run.end = member.end;
    else runs.push(member);
  }
  return runs.map(({ start, end }) => {
    const next = behindComma(bytes, end);
    const at = next === undefined ? { start: commaBefore(bytes, start), end } : { start, end: next };
    return { at, raw: '' };
  });
}

/** Takes members out of an object and out of its `_meta`; a `_meta` with nothing left in it goes too. */
export function strip(
  bytes: Buffer,
  values: readonly (Span | undefined)[],
  meta: Span | undefined,
  metaValues: readonly (Span | undefined)[],
): Edit[] {
  if (meta === undefined) return removals(bytes, values);
  const within = removals(bytes, metaValues);
  const [only] = within;
  const isEmptied =
    only !== undefined &&
    within.length === 1 &&
    skipSpace(bytes, meta.start + 1) === only.at.start &&
    skipSpace(bytes, only.at.end) === meta.end - 1;
  return isEmptied ? removals(bytes, [...values, meta]) : [...removals(bytes, values), ...within];
}

/** The members of `_meta` among `names`; none if there is no such object. */
export function metaOf<Name extends string>(
  bytes: Buffer,
  meta: Span | undefined,
  names: readonly Name[],
): { readonly [N in Name]?: Span } {
  if (meta === undefined || !isObjectAt(bytes, meta.start)) return {};
  const scanned = membersOf(bytes, meta.start, names);
  return typeof scanned === 'string' ? {} : scanned.members;
}

/** The names that are looked for hold no quote, however they are written. */
function startOfName(bytes: Buffer, value: Span): number {
  const closing = bytes.lastIndexOf(QUOTE, value.start - 1);
  return bytes.lastIndexOf(QUOTE, closing - 1);
}

function behindComma(bytes: Buffer, end: number): number | undefined {
  const at = skipSpace(bytes, end);
  return bytes[at] === COMMA ? skipSpace(bytes, at + 1) : undefined;
}

/** The comma that stands before a member, or the member itself when it is the first. */
function commaBefore(bytes: Buffer, start: number): number {
  let i = start - 1;
  for (let c = bytes[i]; c === 0x20 || c === 0x0a || c === 0x0d || c === 0x09; c = bytes[i]) i -= 1;
  return bytes[i] === COMMA ? i : start;
}
