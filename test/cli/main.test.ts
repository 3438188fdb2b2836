/** The command line: what it refuses is one clear line and an exit code, and never a stack trace. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { BARE, root, runCommand, startCommand, type Variables } from '../support/command.js';

/** All that `serve` needs, with a Forgejo that does not answer. */
const SERVING: Variables = {
  ...BARE,
  BROKER_PUBLIC_URL: 'https://mcp.example.org',
  BROKER_LISTEN: '127.0.0.1:0',
  BROKER_DATABASE: ':memory:',
  BROKER_ENCRYPTION_KEY: Buffer.alloc(32, 1).toString('base64'),
  BROKER_MCP_COMMAND: process.execPath,
  FORGEJO_URL: 'http://127.0.0.1:1',
  FORGEJO_CLIENT_ID: 'id',
  FORGEJO_CLIENT_SECRET: 'secret',
};

/** Runs it where it must fail: nothing on stdout, one line on stderr, nothing left in the temporary folder. */
async function refusal(args: readonly string[], env: Variables = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'fjmcp-cli-test-'));
  try {
    const { code, stdout, stderr } = await runCommand(args, { ...BARE, TMPDIR: folder, ...env });
    assert.equal(stdout, '');
    assert.match(stderr, /^fjmcp-broker: .+\n$/);
    assert.deepEqual(readdirSync(folder), []);
    return { code, line: stderr };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

async function takePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  assert.ok(typeof address === 'object' && address !== null);
  return { port: String(address.port), [Symbol.dispose]: () => void server.close() };
}

describe('a command line that cannot be meant', () => {
  for (const [args, expected] of [
    [['dmeo'], /no command "dmeo"/],
    [['demo', '--prot', '1'], /'--prot'/],
    [['demo', '--port'], /'--port <value>'/],
    [['demo', '--port', 'abc'], /--port: "abc" is no port number/],
    [['serve', '--port', '80'], /environment variables/],
  ] as const) {
    test(`is refused with exit code 2: ${args.join(' ')}`, async () => {
      const { code, line } = await refusal(args);
      assert.equal(code, 2);
      assert.match(line, expected);
    });
  }
});

describe('what the system refuses', () => {
  test('is told with the option that would help when a port of the demo is in use', async () => {
    using taken = await takePort();
    for (const option of ['--port', '--forgejo-port']) {
      const { code, line } = await refusal([
        'demo',
        '--port',
        '0',
        '--forgejo-port',
        '0',
        option,
        taken.port,
      ]);
      assert.equal(code, 1);
      assert.match(line, new RegExp(`in use.* ${option}\n`));
    }
  });

  test('is told in a line when the demo cannot keep its state there', async () => {
    const { code, line } = await refusal(['demo', '--data', join(root, 'package.json')]);
    assert.equal(code, 1);
    assert.match(line, /package\.json/);
  });
});

describe('serve', () => {
  test('says in its log when it listens, also while Forgejo is down, and SIGTERM ends it with 0', async () => {
    const broker = startCommand(['serve'], SERVING);
    await broker.written(/upstream\.unreachable/, 'stderr');
    await broker.written(/broker\.ready/, 'stderr');
    broker.kill('SIGTERM');
    assert.deepEqual(await broker.ended, { code: 0, signal: null });
    assert.equal(broker.stdout, '');
  });

  test('warns when children cannot be kept apart, and does not start where that was asked for', async () => {
    const env = { ...SERVING, PATH: '/nowhere' };
    const broker = startCommand(['serve'], env);
    await broker.written(/sandbox\.unavailable/, 'stderr');
    await broker.written(/broker\.ready/, 'stderr');
    assert.match(broker.stderr, /"why":"bubblewrap (?:is not installed|needs Linux)"/);
    broker.kill('SIGTERM');
    assert.deepEqual(await broker.ended, { code: 0, signal: null });
    const strict = { ...env, BROKER_SANDBOX: 'bubblewrap', BROKER_LOG_LEVEL: 'error' };
    const { code, stderr } = await runCommand(['serve'], strict);
    assert.equal(code, 1);
    assert.match(stderr, /^fjmcp-broker: BROKER_SANDBOX: bubblewrap .+\n$/);
    const off = startCommand(['serve'], { ...env, BROKER_SANDBOX: 'none' });
    await off.written(/broker\.ready/, 'stderr');
    assert.doesNotMatch(off.stderr, /sandbox\./);
    off.kill('SIGTERM');
    await off.ended;
  });

  test('tells every problem of its environment at once, repeats no secret, and exits with 2', async () => {
    const { code, stdout, stderr } = await runCommand(['serve'], {
      ...BARE,
      BROKER_PUBLIC_URL: 'http://mcp.example.org/',
      BROKER_ENCRYPTION_KEY: 'not-a-key-but-secret',
      BROKER_LISTEN: 'nowhere',
      FORGEJO_CLIENT_SECRET: 'also-secret',
    });
    assert.equal(code, 2);
    assert.equal(stdout, '');
    const [head, ...lines] = stderr.trimEnd().split('\n');
    assert.match(head ?? '', /5 problem/);
    assert.deepEqual(lines.map((line) => /^ {2}(\w+): ./.exec(line)?.[1]).toSorted(), [
      'BROKER_ENCRYPTION_KEY',
      'BROKER_LISTEN',
      'BROKER_PUBLIC_URL',
      'FORGEJO_CLIENT_ID',
      'FORGEJO_URL',
    ]);
    assert.doesNotMatch(stderr, /secret/);
  });

  test('ends with a line when its address is taken', async () => {
    using taken = await takePort();
    const env = { ...SERVING, BROKER_LISTEN: `127.0.0.1:${taken.port}`, BROKER_LOG_LEVEL: 'error' };
    const { code, stderr } = await runCommand(['serve'], env);
    assert.equal(code, 1);
    assert.match(
      stderr,
      new RegExp(`^fjmcp-broker: BROKER_LISTEN: .*in use.*127\\.0\\.0\\.1:${taken.port}.*\n$`),
    );
  });
});

describe('what is asked about the program itself', () => {
  test('help is the usage on stdout; no command at all is the same on stderr, and a mistake', async () => {
    const help = await runCommand(['help']);
    assert.equal(help.code, 0);
    for (const word of ['serve', 'demo', 'version', '--forgejo-port']) assert.ok(help.stdout.includes(word));
    assert.deepEqual(await runCommand(['demo', '--help']), help);
    assert.deepEqual(await runCommand([]), { code: 2, stdout: '', stderr: help.stdout });
  });

  test('version is that of the package', async () => {
    const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
    assert.deepEqual(await runCommand(['version']), { code: 0, stdout: `${version}\n`, stderr: '' });
  });
});
