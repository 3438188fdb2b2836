/** Edits that take members out of an object, or put some in, and leave every other byte where it was. */

import { skipSpace } from './json.js';
import type { Edit, RawJson } from './message.js';
import { entriesOf, type MemberSpan } from './scan.js';

const COMMA = 0x2c;
const CLOSE_BRACE = 0x7d;

/** Takes out members of the object that starts at `at`, each with the one comma that parted it from what stays. */
export function removals(bytes: Buffer, at: number, members: readonly (MemberSpan | undefined)[]): Edit[] {
  const edits: Edit[] = [];
  const gone = members.filter((member) => member !== undefined);
  if (gone.length === 0) return edits;
  const begin = skipSpace(bytes, at + 1);
  /** Where the first member stands that stays, as far as is known: all before it go in one edit, the first. */
  let first = begin;
  for (const { key, end } of gone.sort((a, b) => a.key - b.key)) {
    if (key === first) {
      const after = skipSpace(bytes, end);
      first = bytes[after] === COMMA ? skipSpace(bytes, after + 1) : end;
      edits[0] = { at: { start: begin, end: first }, raw: '' };
    } else {
      let comma = key - 1;
      while (comma > at && bytes[comma] !== COMMA) comma -= 1;
      edits.push({ at: { start: comma, end }, raw: '' });
    }
  }
  return edits;
}

/** Takes members out of the `_meta` of an object that starts at `at`; if nothing is left in it, `_meta` goes too. */
export function metaRemovals(
  bytes: Buffer,
  at: number,
  members: readonly (MemberSpan | undefined)[],
  meta: MemberSpan | undefined,
  ofMeta: readonly (MemberSpan | undefined)[],
): Edit[] {
  const gone = ofMeta.filter((member) => member !== undefined);
  if (meta === undefined || gone.length === 0) return removals(bytes, at, members);
  const isEmptied = entriesOf(bytes, meta.start, gone.length) !== 'too many';
  return isEmptied
    ? removals(bytes, at, [...members, meta])
    : [...removals(bytes, at, members), ...removals(bytes, meta.start, gone)];
}

/** Puts members (`"a":1,"b":2`, or none) in front of those of the object that starts at `at`. */
export function insertion(bytes: Buffer, at: number, members: RawJson): Edit {
  const isAlone = members === '' || bytes[skipSpace(bytes, at + 1)] === CLOSE_BRACE;
  return { at: { start: at + 1, end: at + 1 }, raw: isAlone ? members : `${members},` };
}
