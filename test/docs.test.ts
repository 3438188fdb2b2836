/** What the documents promise about the tests is there. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { describe, test } from 'node:test';

const root = resolve(import.meta.dirname, '../..');

interface Title {
  /** As written, up to the first value that is put in. */
  readonly text: string;
  readonly goesOn: boolean;
}

/** The names of the tests and suites of a file, and the constant parts of those that are made up. */
function titlesOf(file: string): readonly Title[] {
  const source = readFileSync(resolve(root, 'test', file), 'utf8');
  const titles = [...source.matchAll(/\b(?:test|describe)\(\s*(['"`])((?:\\.|(?!\1)[^\\])*)\1/g)];
  const rows = [...source.matchAll(/^ {2}\['([^']+)'/gm)].map(([, text = '']) => ({ text, goesOn: true }));
  const written = titles.flatMap(([, , name = '']) => {
    const parts = name.split(/\$\{[^}]*\}/).map((text) => text.replace(/\\(.)/g, '$1'));
    return parts.map((text) => ({ text: text.trimStart(), goesOn: parts.length > 1 }));
  });
  return [...written, ...rows].filter(({ text }) => text !== '');
}

describe('docs/conformance.md', () => {
  const text = readFileSync(resolve(root, 'docs/conformance.md'), 'utf8');
  const references = [
    ...text.matchAll(/`([\w/.-]+\.(?:test|e2e)\.ts|config\.test\.ts)`: ([^|<]+?) *(?=\||<br>|$)/gm),
  ];

  test('names many tests', () => assert.ok(references.length > 150, String(references.length)));

  test('names only tests that exist', () => {
    const missing = references.flatMap(([, file = '', name = '']) => {
      const found = titlesOf(file).some((title) => title.text.startsWith(name) || title.text.trim() === name);
      return found ? [] : [`${file}: ${name}`];
    });
    assert.deepEqual(missing, []);
  });

  test('leaves no row without a test or a reason', () => {
    const rows = text.split('\n').filter((line) => /^\| (?!clause)/.test(line));
    const empty = rows.filter((row) => (row.split(' | ')[2] ?? '').replace('|', '').trim().length < 10);
    assert.ok(rows.length > 120, String(rows.length));
    assert.deepEqual(empty, []);
  });
});
