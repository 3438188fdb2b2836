/**
 * Small pieces of JSON: as they stand in a message, and as values. Not for what may be large: that is found by places
 * (`scan.ts`) and never parsed.
 */
import { isJson, skipSpace } from './json.js';
import { type RawJson, rawAt } from './message.js';
import { isObjectAt, membersAt } from './scan.js';

/** A value of ours as JSON, in the form of what is cut out of messages. */
export function toRaw(value: unknown): RawJson {
  return Buffer.from(JSON.stringify(value)).toString('latin1');
}

export type RawMembers = readonly (readonly [name: string, value: RawJson | undefined])[];

/** Those of the members that are there (`"a":1,"b":2`). */
export function joined(members: RawMembers): RawJson {
  let text = '';
  for (const [name, value] of members) {
    if (value !== undefined) text += `${text === '' ? '' : ','}"${name}":${value}`;
  }
  return text;
}

/** The object of those members that are there. */
export const objectOf = (members: RawMembers): RawJson => `{${joined(members)}}`;

/** Those of the members that are objects. */
export function objectsIn<Name extends string>(
  object: RawJson,
  names: readonly Name[],
): { readonly [N in Name]?: RawJson } {
  const bytes = Buffer.from(object, 'latin1');
  const members = membersAt(bytes, { start: skipSpace(bytes, 0), end: bytes.length }, names);
  const found: { [N in Name]?: RawJson } = {};
  for (const name of names) {
    const span = members[name];
    if (span !== undefined && isObjectAt(bytes, span.start)) found[name] = rawAt(bytes, span);
  }
  return found;
}

export type JsonObject = Readonly<Record<string, unknown>>;

export const isObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** The object that bytes are; undefined when they are anything else, or so deep that it could not be written again. */
export function parseObject(bytes: Buffer): JsonObject | undefined {
  // A byte that is no UTF-8 is read as U+FFFD: a stray one in its prose does not make a server unusable.
  const text = bytes.toString();
  const value: unknown = isJson(Buffer.from(text)) ? JSON.parse(text) : undefined;
  return isObject(value) ? value : undefined;
}

/** The same of a piece that was cut out of a message. */
export const objectIn = (raw: RawJson | undefined): JsonObject | undefined =>
  raw === undefined ? undefined : parseObject(Buffer.from(raw, 'latin1'));
