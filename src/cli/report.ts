/**
 * What administration commands print: aligned text for people, one JSON document for programs. Names come from
 * strangers, so nothing printed can move a cursor, turn the direction of text, or begin a line of its own.
 */

export interface Report {
  /** For `--json`. */
  readonly data: unknown;
  /** For people, with its line end. */
  readonly text: string;
}

/** The widest a cell of a list gets. */
const MAX_CELL = 60;

/** A list: one line a row, columns aligned. `none` stands alone when there is no row. */
export function table(head: readonly string[], rows: readonly (readonly string[])[], none: string): string {
  if (rows.length === 0) return `${none}\n`;
  const cells = [head, ...rows.map((row) => row.map((cell) => shorten(clean(cell))))];
  const widths = head.map((_, column) => Math.max(...cells.map((row) => lengthOf(row[column] ?? ''))));
  return cells
    .map((row) => row.map((cell, column) => pad(cell, widths[column] ?? 0)).join('  '))
    .map((line) => `${line.trimEnd()}\n`)
    .join('');
}

/** One thing: a line a field, in full. */
export function card(fields: readonly (readonly [name: string, value: string])[]): string {
  const width = Math.max(...fields.map(([name]) => name.length));
  return fields
    .map(([name, value]) => `${pad(name, width)}  ${clean(value)}`.trimEnd().concat('\n'))
    .join('');
}

/** One document. Characters that a terminal would obey or hide are escaped, which JSON reads as the same text. */
export function json(data: unknown): string {
  const text = JSON.stringify(data, undefined, 2);
  const escaped = text.replace(/[^\n\P{C}]|\p{Zl}|\p{Zp}/gu, (character) =>
    character
      .split('')
      .map((unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
      .join(''),
  );
  return `${escaped}\n`;
}

/** ISO 8601 to the second. */
export function time(at: number): string {
  return new Date(at).toISOString().replace(/\.\d+Z$/, 'Z');
}

export function timeOr<T>(at: number | null, otherwise: T): string | T {
  return at === null ? otherwise : time(at);
}

export function plural(n: number, noun: string): string {
  return `${n} ${noun}${n === 1 ? '' : 's'}`;
}

export function clean(text: string): string {
  return text.replace(/\p{C}|\p{Zl}|\p{Zp}/gu, '\ufffd');
}

function shorten(text: string): string {
  return lengthOf(text) > MAX_CELL ? `${[...text].slice(0, MAX_CELL - 1).join('')}…` : text;
}

function lengthOf(text: string): number {
  return [...text].length;
}

function pad(text: string, width: number): string {
  return text + ' '.repeat(Math.max(0, width - lengthOf(text)));
}
