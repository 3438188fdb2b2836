import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inspect } from 'node:util';
import { type Config, loadConfig } from '../src/config.js';

const KEY = Buffer.alloc(32, 7).toString('base64');
const REQUIRED = {
  BROKER_PUBLIC_URL: 'https://mcp.example.org',
  BROKER_ENCRYPTION_KEY: KEY,
  FORGEJO_URL: 'https://forgejo.example.org/git/',
  FORGEJO_CLIENT_ID: 'id',
  FORGEJO_CLIENT_SECRET: 'very-secret-value',
};

const noFile = (path: string): string => {
  throw Object.assign(new Error(path), { code: 'ENOENT' });
};

function load(env: Record<string, string>, files: Record<string, string> = {}) {
  return loadConfig({ ...REQUIRED, ...env }, (path) => files[path] ?? noFile(path));
}

function good(env: Record<string, string> = {}, files: Record<string, string> = {}): Config {
  const loaded = load(env, files);
  assert.ok('config' in loaded, inspect(loaded));
  return loaded.config;
}

function problems(env: Record<string, string>, files: Record<string, string> = {}): readonly string[] {
  const loaded = load(env, files);
  return 'problems' in loaded ? loaded.problems : [];
}

test('the documented defaults hold when only the required variables are set', () => {
  const config = good();
  assert.deepEqual(config.listen, { kind: 'tcp', host: '127.0.0.1', port: 8080 });
  assert.equal(config.database, './data/broker.db');
  assert.deepEqual(config.lifetimes, {
    accessTokenSeconds: 3600,
    refreshTokenSeconds: 7776000,
    codeSeconds: 300,
    pendingSeconds: 600,
  });
  assert.deepEqual(config.limits, {
    maxChildren: 200,
    maxChildrenPerUser: 8,
    childIdleSeconds: 300,
    sessionSeconds: 2592000,
    requestSeconds: 300,
    drainSeconds: 30,
    maxMessageBytes: 16777216,
  });
  assert.deepEqual(config.servers, [
    {
      name: 'forgejo',
      command: 'forgejo-mcp',
      args: ['--transport', 'stdio'],
      env: {},
      protocol: 'auto',
      ttlSeconds: 0,
    },
  ]);
  assert.deepEqual(config.forgejo.scopes.slice(0, 3), ['read:user', 'write:repository', 'write:issue']);
  assert.equal(config.forgejo.url, 'https://forgejo.example.org/git');
  assert.equal(config.allowedOrigins, 'any');
  assert.equal(config.trustedProxies.check('127.0.0.9'), true);
  assert.equal(config.trustedProxies.check('10.0.0.1'), false);
});

test('every problem is reported at once, with the name of its variable', () => {
  const loaded = loadConfig(
    { BROKER_LISTEN: 'nowhere', BROKER_MAX_CHILDREN: '0', FORGEJO_SCOPES: 'read:users' },
    noFile,
  );
  assert.ok('problems' in loaded);
  const named = loaded.problems.map((problem) => problem.split(':')[0]);
  for (const name of [
    'BROKER_PUBLIC_URL',
    'BROKER_ENCRYPTION_KEY',
    'BROKER_LISTEN',
    'BROKER_MAX_CHILDREN',
    'FORGEJO_URL',
    'FORGEJO_CLIENT_ID',
    'FORGEJO_CLIENT_SECRET',
    'FORGEJO_SCOPES',
  ]) {
    assert.ok(named.includes(name), `${name} is missing in ${named}`);
  }
});

const REFUSED: readonly (readonly [name: string, value: string])[] = [
  ['BROKER_PUBLIC_URL', 'http://mcp.example.org'],
  ['BROKER_PUBLIC_URL', 'https://mcp.example.org/'],
  ['BROKER_PUBLIC_URL', 'https://mcp.example.org/mcp'],
  ['BROKER_PUBLIC_URL', 'mcp.example.org'],
  ['BROKER_LISTEN', '127.0.0.1:70000'],
  ['BROKER_LISTEN', 'systemd'],
  ['BROKER_METRICS_LISTEN', 'systemd'],
  ['BROKER_METRICS_LISTEN', '9464'],
  ['BROKER_METRICS_LISTEN', '127.0.0.1:8080'],
  ['BROKER_METRICS_LISTEN', '0.0.0.0:8080'],
  ['BROKER_DATABASE', 'postgres://db/broker'],
  ['BROKER_ENCRYPTION_KEY', 'c2hvcnQ='],
  ['BROKER_ACCESS_TOKEN_SECONDS', '1e3'],
  ['BROKER_SANDBOX', 'docker'],
  ['BROKER_SANDBOX_READ', 'servers'],
  ['BROKER_CHILD_MEMORY_BYTES', '1G'],
  ['BROKER_LOG_LEVEL', 'loud'],
  ['BROKER_MCP_COMMAND', 'server "unbalanced'],
  ['BROKER_MCP_COMMAND', `server ${'$'}{user.token}`],
  ['BROKER_MCP_PROTOCOL', '2026-07-28'],
  ['BROKER_MCP_TTL_SECONDS', '-1'],
  ['BROKER_MCP_TTL_SECONDS', '1.5'],
  ['BROKER_SERVERS_FILE', '/missing.json'],
  ['FORGEJO_URL', 'ftp://forgejo.example.org'],
  ['FORGEJO_SCOPES', 'read:user,write:issue'],
  ['FORGEJO_SCOPES', 'read:user  write:issue'],
  ['FORGEJO_SCOPES', 'write:issue'],
  ['FORGEJO_SCOPES', ''],
  ['BROKER_ALLOWED_ORIGINS', 'https://app.example.org/path'],
  ['BROKER_TRUSTED_PROXIES', '10.0.0.0/99'],
];
for (const [name, value] of REFUSED) {
  test(`${name}=${JSON.stringify(value)} is refused by name`, () => {
    const found = problems({ [name]: value });
    assert.equal(found.length, 1, inspect(found));
    assert.ok(found[0]?.startsWith(`${name}: `), found[0]);
  });
}

test('a secret comes from the variable, its file, or a systemd credential, and never from two at once', () => {
  const { FORGEJO_CLIENT_SECRET: _direct, ...rest } = REQUIRED;
  const secretOf = (env: Record<string, string>, files: Record<string, string>) => {
    const loaded = loadConfig({ ...rest, ...env }, (path) => files[path] ?? noFile(path));
    assert.ok('secrets' in loaded, inspect(loaded));
    return loaded.secrets.forgejoClientSecret.reveal();
  };
  assert.equal(secretOf({ FORGEJO_CLIENT_SECRET_FILE: '/run/s' }, { '/run/s': 'from-file\n' }), 'from-file');
  assert.equal(
    secretOf({ CREDENTIALS_DIRECTORY: '/run/c' }, { '/run/c/FORGEJO_CLIENT_SECRET': 'from-systemd\n' }),
    'from-systemd',
  );
  assert.equal(problems({ FORGEJO_CLIENT_SECRET_FILE: '/run/s' }, { '/run/s': 'x' }).length, 1);
});

test('an empty secret is a problem wherever it comes from', () => {
  for (const name of ['BROKER_ENCRYPTION_KEY', 'FORGEJO_CLIENT_SECRET'] as const) {
    const { [name]: _direct, ...rest } = REQUIRED;
    const read = () => '\n';
    for (const env of [{ [`${name}_FILE`]: '/run/s' }, { CREDENTIALS_DIRECTORY: '/run/c' }]) {
      const loaded = loadConfig({ ...rest, ...env }, read);
      assert.ok('problems' in loaded && loaded.problems.some((problem) => problem.startsWith(name)), name);
    }
  }
  assert.equal(problems({ BROKER_ENCRYPTION_KEY: ',' }).length, 1);
});

test('no problem and no printed configuration holds a secret', () => {
  const text = inspect(load({ BROKER_LISTEN: 'nowhere' }), { depth: 9 }) + inspect(load({}), { depth: 9 });
  assert.equal(text.includes('very-secret-value'), false);
  assert.equal(JSON.stringify(load({})).includes('very-secret-value'), false);
});

test('several encryption keys may be given, the first one first', () => {
  const other = Buffer.alloc(32, 9).toString('base64');
  const loaded = load({ BROKER_ENCRYPTION_KEY: `${other} ${KEY}` });
  assert.ok('secrets' in loaded);
  assert.deepEqual(loaded.secrets.encryptionKeys, [Buffer.alloc(32, 9), Buffer.alloc(32, 7)]);
});

test('a servers file is the mcpServers shape, members for other hosts ignored', () => {
  const file = {
    mcpServers: {
      forgejo: { command: 'a', args: ['-x'], type: 'stdio' },
      notes: { command: 'b', env: { A: '1' }, protocol: 'modern', ttlSeconds: 60 },
    },
  };
  const { servers } = good({ BROKER_SERVERS_FILE: '/s.json' }, { '/s.json': JSON.stringify(file) });
  assert.deepEqual(servers, [
    { name: 'forgejo', command: 'a', args: ['-x'], env: {}, protocol: 'auto', ttlSeconds: 0 },
    { name: 'notes', command: 'b', args: [], env: { A: '1' }, protocol: 'modern', ttlSeconds: 60 },
  ]);
});

for (const text of [
  '{',
  '{}',
  '{"mcpServers":{}}',
  '{"mcpServers":{"Bad Name":{"command":"x"}}}',
  '{"mcpServers":{"a":{}}}',
  '{"mcpServers":{"a":{"command":"x","protocol":"new"}}}',
  '{"mcpServers":{"a":{"command":"x","ttlSeconds":-1}}}',
  '{"mcpServers":{"a":{"command":"x","ttlSeconds":0.5}}}',
  '{"mcpServers":{"a":{"command":"x","ttlSeconds":"60"}}}',
]) {
  test(`the servers file ${text} is refused`, () => {
    assert.ok(
      problems({ BROKER_SERVERS_FILE: '/s.json' }, { '/s.json': text })[0]?.startsWith(
        'BROKER_SERVERS_FILE: ',
      ),
    );
  });
}

for (const protocol of ['auto', 'legacy', 'modern']) {
  test(`the era of the one server may be said to be ${protocol}`, () => {
    assert.equal(good({ BROKER_MCP_PROTOCOL: protocol }).servers[0]?.protocol, protocol);
  });
}

test('it may be said how long what the one server lists is good for', () => {
  assert.equal(good({ BROKER_MCP_TTL_SECONDS: '3600' }).servers[0]?.ttlSeconds, 3600);
});

test('any origin may be written out', () => {
  assert.equal(good({ BROKER_ALLOWED_ORIGINS: 'any' }).allowedOrigins, 'any');
});

test('organisations can only be checked with the scope for it', () => {
  const found = problems({ BROKER_ALLOWED_ORGS: 'staff', FORGEJO_SCOPES: 'read:user' });
  assert.deepEqual(
    found.map((problem) => problem.split(':')[0]),
    ['FORGEJO_SCOPES'],
  );
});

test('metrics have an address of their own, or none', () => {
  assert.equal(good().metricsListen, undefined);
  const metrics = (listen: string, own: string) =>
    good({ BROKER_LISTEN: listen, BROKER_METRICS_LISTEN: own }).metricsListen;
  assert.deepEqual(metrics('127.0.0.1:8080', '127.0.0.1:9464'), {
    kind: 'tcp',
    host: '127.0.0.1',
    port: 9464,
  });
  assert.deepEqual(metrics('unix:/run/b.sock', 'unix:/run/m.sock'), { kind: 'unix', path: '/run/m.sock' });
  assert.deepEqual(metrics('127.0.0.1:8080', '10.0.0.1:8080'), { kind: 'tcp', host: '10.0.0.1', port: 8080 });
  assert.ok(metrics('127.0.0.1:0', '127.0.0.1:0'));
  for (const [listen, own] of [
    ['unix:/run/b.sock', 'unix:/run/b.sock'],
    ['[::]:8080', '127.0.0.1:8080'],
    ['0.0.0.0:9', '[::1]:9'],
  ] as const)
    assert.equal(problems({ BROKER_LISTEN: listen, BROKER_METRICS_LISTEN: own }).length, 1, own);
});

test('it listens on TCP, IPv6, a UNIX socket, or what systemd passes', () => {
  assert.deepEqual(good({ BROKER_LISTEN: '[::1]:9' }).listen, { kind: 'tcp', host: '::1', port: 9 });
  assert.deepEqual(good({ BROKER_LISTEN: 'unix:/run/b.sock' }).listen, { kind: 'unix', path: '/run/b.sock' });
  assert.deepEqual(good({ BROKER_LISTEN: 'systemd', LISTEN_FDS: '1' }).listen, { kind: 'systemd' });
});
