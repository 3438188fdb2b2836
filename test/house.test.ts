/** The import table of docs/architecture.md, enforced: an arrow that is not listed there fails here. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize, resolve } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '../..');

/** Room of the house -> rooms it may import. `cli` sees `broker` and everything below it, `main` the command line alone. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  base: [],
  mcp: [],
  oauth: ['base'],
  backend: ['base', 'mcp'],
  store: ['base', 'oauth', 'backend'],
  identity: ['base', 'oauth'],
  http: ['base', 'oauth', 'mcp', 'backend'],
  demo: ['base'],
  config: ['base', 'backend', 'identity'],
  start: ['base', 'oauth', 'identity', 'store', 'mcp', 'backend', 'http', 'config'],
  broker: ['base', 'oauth', 'identity', 'store', 'mcp', 'backend', 'http', 'config', 'start'],
  cli: ['base', 'oauth', 'identity', 'store', 'mcp', 'backend', 'http', 'config', 'start', 'broker', 'demo'],
  main: ['cli'],
};

/** Package (or its prefix) -> the only rooms that may import it. */
const PACKAGE_ROOMS: Readonly<Record<string, readonly string[]>> = {
  hono: ['http', 'demo'],
  '@hono/node-server': ['http', 'demo'],
  '@modelcontextprotocol/sdk': ['demo'],
  'drizzle-orm': ['store'],
  'better-sqlite3': ['store'],
  libsql: ['store'],
  arctic: ['identity'],
  pino: ['base'],
  'pino-pretty': ['base'],
  'prom-client': ['base'],
  'node:child_process': ['backend'],
};

/** File -> the members of `process` it may use. The environment, arguments, streams and signals belong to programs. */
const MAY_USE_OF_PROCESS: Readonly<Record<string, 'all' | readonly string[]>> = {
  'main.ts': 'all',
  // A program of its own.
  'demo/mcp-server.ts': 'all',
  // To signal a process group.
  'backend/child.ts': ['kill'],
  'backend/orphans.ts': ['kill'],
  // Whose folder it is.
  'backend/spawner.ts': ['getuid'],
  // What the runtime can load is no setting.
  'store/sqlite.ts': ['versions'],
};

interface Source {
  readonly file: string;
  readonly room: string;
  readonly text: string;
  readonly imports: readonly string[];
}

const roomOf = (path: string) => (path.split('/')[0] ?? '').replace(/\.ts$/, '');

const sources: Source[] = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.ts'))
  .map((file) => {
    const text = readFileSync(join(root, 'src', file), 'utf8');
    const imports = [...text.matchAll(/\b(?:from|import)\s*\(?\s*'([^']+)'/g)].map((match) => match[1] ?? '');
    return { file, room: roomOf(file), text, imports };
  });

test('every room imports only the rooms below it', () => {
  const wrong: string[] = [];
  for (const { file, room, imports } of sources) {
    for (const specifier of imports.filter((name) => name.startsWith('.'))) {
      const target = roomOf(normalize(join(dirname(file), specifier)));
      const allowed = MAY_IMPORT[room];
      assert.ok(allowed !== undefined, `src/${file} stands in no room of the house`);
      if (target.replace(/\.js$/, '') !== room && !allowed.includes(target.replace(/\.js$/, ''))) {
        wrong.push(`src/${file} imports ${specifier}`);
      }
    }
  }
  assert.deepEqual(wrong, []);
});

test('each framework, driver and process API is known to its own room only', () => {
  const wrong: string[] = [];
  for (const { file, room, imports } of sources) {
    for (const specifier of imports) {
      for (const [name, rooms] of Object.entries(PACKAGE_ROOMS)) {
        if ((specifier === name || specifier.startsWith(`${name}/`)) && !rooms.includes(room)) {
          wrong.push(`src/${file} imports ${specifier}`);
        }
      }
    }
  }
  assert.deepEqual(wrong, []);
});

test('only a program reads its process', () => {
  const wrong = sources.flatMap(({ file, text, imports }) => {
    const allowed = MAY_USE_OF_PROCESS[file] ?? [];
    if (allowed === 'all') return [];
    const uses = [...text.matchAll(/(?<![#.\w])process(?:\??\.(\w+)|\[)|=\s*process\b/g)];
    const members = uses.map(([, member = '']) => member).filter((member) => !allowed.includes(member));
    const imported = imports.filter((name) => name === 'node:process' || name === 'process');
    return [...members, ...imported].map((use) => `src/${file} reads process: ${use}`);
  });
  assert.deepEqual(wrong, []);
});

test('arctic is imported by one file', () => {
  const importers = sources.filter(({ imports }) => imports.includes('arctic')).map(({ file }) => file);
  assert.ok(importers.length <= 1, `arctic is imported by ${importers.join(', ')}`);
});

test('no file grows past 400 lines', () => {
  const long = sources.filter(({ text }) => text.split('\n').length > 401).map(({ file }) => file);
  assert.deepEqual(long, []);
});
