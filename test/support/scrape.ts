/** What Prometheus would read: `fjmcp_sessions{state="live",server="forgejo"}` -> 1. */
import assert from 'node:assert/strict';
import { ask } from './ask.js';

export type Series = ReadonlyMap<string, number>;

export function parseSeries(text: string): Series {
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(
    lines.map((line) => {
      const [, name = '', value] = /^(\S+(?: [^}]*})?) (\S+)$/.exec(line) ?? [];
      // Go reads "Nan" too.
      assert.ok(name !== '' && /^(?:[\d.e+-]+|Nan)$/.test(value ?? ''), line);
      return [name, Number(value)];
    }),
  );
}

export async function scrape(url: string): Promise<{ readonly text: string; readonly series: Series }> {
  const { status, body } = await ask(url);
  assert.equal(status, 200, body);
  return { text: body, series: parseSeries(body) };
}

/** The metrics with that name that are not 0. */
export function nonZero(series: Series, name: string): Record<string, number> {
  return Object.fromEntries([...series].filter(([key, value]) => value !== 0 && key.startsWith(`${name}{`)));
}
