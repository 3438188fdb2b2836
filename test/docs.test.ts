/** What the documents promise about the tests is there, and what the log says is in the documents. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, test } from 'node:test';
import { AUDIT_KINDS } from '../src/oauth/audit.js';

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

/** `level event` of each line that the sources log by name; what has its level from elsewhere is any. */
function loggedIn(folder: string): Set<string> {
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((file) =>
    file.endsWith('.ts'),
  );
  const calls = files.flatMap((file) => [
    ...readFileSync(join(folder, file), 'utf8').matchAll(
      /log(?:\.(debug|info|warn|error)|\[\w+\])\(\s*([^,)]*)/gi,
    ),
  ]);
  const events = calls.flatMap(([, level = 'any', subject = '']) =>
    [...subject.matchAll(/'([^']+)'/g)].map(([, event = '']) => `${level} ${event}`),
  );
  return new Set(events);
}

/** The same of a table whose rows are level, events, and what they mean. */
function listedIn(text: string): string[] {
  const rows = [...text.matchAll(/^\| (debug|info|warn|error) \| ([^|]+) \| [^|]{10,} \|$/gm)];
  return rows.flatMap(([, level = '', events = '']) =>
    [...events.matchAll(/`([^`]+)`/g)].map(([, event = '']) => `${level} ${event}`),
  );
}

describe('the log', () => {
  const listed = listedIn(readFileSync(resolve(root, 'docs/operations.md'), 'utf8'));
  const logged = loggedIn(resolve(root, 'src'));
  const nameOf = (event: string) => event.split(' ')[1] ?? '';

  test('says nothing that docs/operations.md does not explain, at its level', () => {
    const names = new Set(listed.map(nameOf));
    const isListed = (event: string) =>
      event.startsWith('any ') ? names.has(nameOf(event)) : listed.includes(event);
    assert.ok(logged.size > 50, String(logged.size));
    assert.deepEqual(
      [...logged].filter((event) => !isListed(event)),
      [],
    );
  });

  test('says all that docs/operations.md explains', () => {
    const isLogged = (event: string) => logged.has(event) || logged.has(`any ${nameOf(event)}`);
    assert.deepEqual(
      listed.filter((event) => !isLogged(event)),
      [],
    );
  });

  test('has the events of the audit trail, which docs/administration.md explains', () => {
    const text = readFileSync(resolve(root, 'docs/administration.md'), 'utf8');
    assert.deepEqual(
      AUDIT_KINDS.filter((kind) => !text.includes(`| \`${kind}\` | `)),
      [],
    );
  });
});
