/** `fjmcp-broker doctor`, beside a broker that runs: what it finds, what it advises, and that it changes nothing. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { z } from 'zod';
import { runDoctor } from '../../src/cli/doctor.js';
import { startTestBroker } from '../support/broker.js';
import { BARE, runCommand } from '../support/command.js';
import { obtainTokens } from '../support/oauth-client.js';

const folder = mkdtempSync(join(tmpdir(), 'fjmcp-doctor-'));
after(() => rmSync(folder, { recursive: true }));

const Findings = z.array(
  z.strictObject({
    state: z.enum(['ok', 'warn', 'fail']),
    check: z.string(),
    says: z.string(),
    remedy: z.string().optional(),
  }),
);
type Findings = z.infer<typeof Findings>;

/** In this process: whether all is well, and what was found. */
async function examine(env: Readonly<Record<string, string>>) {
  let printed = '';
  const print = (text: string) => {
    printed += text;
  };
  const readFile = (path: string) => readFileSync(path, 'utf8');
  const isWell = await runDoctor({ json: true, env, readFile, print, now: Date.now, random: randomBytes });
  return { isWell, findings: Findings.parse(JSON.parse(printed)) };
}

const stateOf = (findings: Findings, check: string) => findings.find((one) => one.check === check)?.state;

function hashOf(path: string): string {
  return createHash('sha256').update(readFileSync(path)).digest('hex');
}

/** A broker with one user, and the environment it would have. */
async function startSignedIn() {
  const database = join(folder, `${Math.random()}`, 'broker.db');
  const broker = await startTestBroker({ env: { BROKER_DATABASE: database } });
  await obtainTokens(broker.mcpUrl, broker.person('alice'));
  const env = {
    PATH: process.env.PATH ?? '',
    BROKER_PUBLIC_URL: broker.url,
    BROKER_LISTEN: new URL(broker.url).host,
    BROKER_DATABASE: database,
    BROKER_ENCRYPTION_KEY: Buffer.alloc(32, 1).toString('base64'),
    BROKER_MCP_COMMAND: 'sh',
    BROKER_SANDBOX: 'none',
    FORGEJO_URL: broker.forgejo.url,
    FORGEJO_CLIENT_ID: 'id',
    FORGEJO_CLIENT_SECRET: 'secret',
  };
  return { broker, env, database, [Symbol.asyncDispose]: () => broker[Symbol.asyncDispose]() };
}

test('beside a broker that is well nothing fails, and nothing is changed', async () => {
  await using it = await startSignedIn();
  const folderOf = () => readdirSync(join(it.database, '..')).sort();
  const [before, files] = [hashOf(it.database), folderOf()];
  const { isWell, findings } = await examine(it.env);
  assert.deepEqual(
    findings.filter(({ state }) => state === 'fail'),
    [],
  );
  assert.ok(isWell);
  for (const check of ['configuration', 'listens', 'database', 'encryption key', 'Forgejo', 'server forgejo'])
    assert.equal(stateOf(findings, check), 'ok', check);
  assert.equal(hashOf(it.database), before);
  assert.deepEqual(folderOf(), files);
});

test('what is wrong is found in one go, each with its remedy', async () => {
  await using it = await startSignedIn();
  const { isWell, findings } = await examine({
    ...it.env,
    BROKER_PUBLIC_URL: it.broker.forgejo.url,
    BROKER_LISTEN: '127.0.0.1:1',
    BROKER_ENCRYPTION_KEY: Buffer.alloc(32, 2).toString('base64'),
    BROKER_MCP_COMMAND: 'no-such-server',
    FORGEJO_URL: 'http://127.0.0.1:1',
  });
  assert.equal(isWell, false);
  const failed = findings.filter(({ state }) => state === 'fail');
  assert.deepEqual(
    failed.map(({ check }) => check),
    ['encryption key', 'Forgejo', 'server forgejo'],
  );
  assert.ok(failed.every(({ remedy }) => remedy !== undefined));
  assert.equal(stateOf(findings, 'listens'), 'warn', 'a broker that is not running is no fault');
});

test('an address that leads to something else fails', async () => {
  await using it = await startSignedIn();
  const { findings } = await examine({ ...it.env, BROKER_PUBLIC_URL: it.broker.forgejo.url });
  assert.notEqual(stateOf(findings, 'public URL'), 'ok');
});

test('a database that is not one fails; one that is not there yet is made by the broker, not by us', async () => {
  await using it = await startSignedIn();
  const missing = join(folder, 'missing', 'broker.db');
  const absent = await examine({ ...it.env, BROKER_DATABASE: missing });
  assert.equal(stateOf(absent.findings, 'database'), 'warn');
  assert.ok(!readdirSync(folder).includes('missing'));
  const strange = join(folder, 'strange.db');
  writeFileSync(strange, 'no database');
  const broken = await examine({ ...it.env, BROKER_DATABASE: strange });
  assert.equal(stateOf(broken.findings, 'database'), 'fail');
});

test('the command prints a line a check, exits with 1 when one fails, and takes no other option', async () => {
  const bare = await runCommand(['doctor'], BARE);
  assert.equal(bare.code, 1);
  assert.match(bare.stdout, /^fail {2}configuration +BROKER_PUBLIC_URL: is not set/);
  assert.equal((await runCommand(['doctor', '--fix'], BARE)).code, 2);
  await using it = await startSignedIn();
  const well = await runCommand(['doctor'], { ...BARE, ...it.env });
  assert.equal(well.code, 0);
  assert.match(well.stdout, /^warn {2}sandbox .*\n +mend: BROKER_SANDBOX=auto$/m);
});
