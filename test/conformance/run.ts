/**
 * `npm run conformance`: the official suite against the broker as an operator starts it. Four cells, a child of each
 * era against a client of each, the Inspector in front of either child, and the authorization server. Prints what each
 * scenario said and a table, and fails when one that is demanded falls short. Words on the command line pick cells by their title.
 */
import { join } from 'node:path';
import { freePort } from '../../src/demo/free-port.js';
import { startBearerProxy } from '../support/bearer-proxy.js';
import { Browser, signIn } from '../support/browser.js';
import { commandLine, type Demo, root, startDemo } from '../support/demo.js';
import { discover, obtainTokens, register } from '../support/oauth-client.js';
import { INSPECTOR_SCENARIOS, PROTOCOL_ERAS, type ProtocolEra, runInspector } from './inspector.js';
import { type Demands, type Exception, type Judgement, judge, summarise, type Verdict } from './judge.js';
import { installSuite, requiredScenarios, runSuite } from './suite.js';

const ERAS = ['legacy', 'modern'] as const;
const REVISIONS = ['2025-11-25', '2026-07-28'] as const;
type Era = (typeof ERAS)[number];
type Revision = (typeof REVISIONS)[number];
/** Era of the child, revision that the client speaks. */
type Cell = `${Era} ${Revision}`;

/** The cells that have to hold. The others run as well, and the table says how far they are. */
const required: readonly Cell[] = [
  'legacy 2025-11-25',
  'legacy 2026-07-28',
  'modern 2025-11-25',
  'modern 2026-07-28',
];

/** Checks that cannot pass, each with its reason. One that passes after all fails the run until it is removed here. */
const exceptions: Readonly<Partial<Record<Cell, readonly Exception[]>>> = {
  'legacy 2026-07-28': [
    {
      check: 'sep-2322-elicitation-incomplete',
      reason:
        'it wants a key of its own choice, and a legacy server has no way to name one: the broker makes the keys',
    },
  ],
};

/** What the suite runs without counting it, because its own example cannot do it, or because it is too new. */
const alsoDemanded: Readonly<Record<Revision, readonly string[]>> = {
  '2025-11-25': ['server-session-lifecycle', 'server-sse-polling', 'json-schema-2020-12'],
  '2026-07-28': ['http-header-validation', 'http-custom-header-server-validation', 'json-schema-2020-12'],
};

/** Tasks are an extension, which only passes between modern and modern: anywhere else their failures say nothing. */
const isTold = (cell: Cell, { scenario, weight }: Verdict) =>
  weight !== 'shown' || !scenario.startsWith('tasks-') || cell === 'modern 2026-07-28';

/** The suite itself would wait five minutes for the redirect. */
const SIGN_IN_MS = 60_000;
const COLUMN = 28;

const inspectorTitle = (era: Era, mode: ProtocolEra) => `inspector ${mode}, ${era} child`;

const wanted = process.argv.slice(2);
const isPicked = (title: string) => wanted.length === 0 || wanted.some((word) => title.includes(word));

async function testServer(demo: Demo, cell: Cell, revision: Revision): Promise<Judgement> {
  const { access_token } = await obtainTokens(demo.mcpUrl, demo.user('alice'));
  await using proxy = await startBearerProxy(demo.mcpUrl, access_token);
  const demands: Demands = {
    scored: requiredScenarios(revision),
    alsoDemanded: alsoDemanded[revision],
    exceptions: exceptions[cell] ?? [],
  };
  const args = ['server', '--url', proxy.url, '--requirements', revision];
  return judge(await runSuite(cell, demands.scored, args), demands);
}

/** The suite prints the authorization URL and waits for the redirect: a person with a browser is expected. */
async function testAuthorizationServer(demo: Demo, title: string): Promise<Judgement> {
  const port = await freePort(); // the suite takes no port 0
  const discovery = await discover(demo.mcpUrl);
  const { clientId } = await register(discovery, `http://127.0.0.1:${port}/callback`);
  const { issuer, authorization_endpoint } = discovery.server;
  let visited = false;
  const onLine = (line: string) => {
    if (visited || !line.startsWith(`${authorization_endpoint}?`)) return;
    visited = true;
    signIn(new Browser(), line, demo.user('alice'), { deliver: true }).catch((error: unknown) =>
      print(`${error}\n`),
    );
  };
  const options = {
    '--url': issuer,
    '--client-id': clientId,
    '--port': `${port}`,
    '--resource': demo.mcpUrl,
  };
  const scored = ['authorization-server-metadata-endpoint', 'authorization-code-grant'];
  const args = ['authorization', ...Object.entries(options).flat()];
  return judge(await runSuite(title, scored, args, { onLine, timeoutMs: SIGN_IN_MS }), { scored });
}

function report(title: string, judgement: Judgement, told: readonly Verdict[] = judgement.verdicts): void {
  const width = Math.max(...told.map(({ scenario }) => scenario.length));
  print(`\n${title}\n`);
  for (const verdict of told) {
    const { scenario, weight, passed, failures, warnings } = verdict;
    const figures = `${passed} passed, ${failures.length} failed`;
    const note = weight === 'scored' ? '' : ` (not scored${weight === 'shown' ? '' : ', but demanded'})`;
    print(`  ${markOf(verdict)}  ${scenario.padEnd(width)}  ${figures}${note}\n`);
    for (const { id, message } of failures) print(`          ${id}: ${message}\n`);
    for (const { id, message } of warnings) print(`          (${id}: ${message})\n`);
  }
  for (const { check, reason } of judgement.stale) print(`  passes, so no exception: ${check} (${reason})\n`);
  print(`  ${summarise(judgement)}\n`);
}

function markOf({ weight, mark }: Verdict): string {
  if (mark === 'passed') return 'ok  ';
  if (mark === 'excepted') return 'exc ';
  return weight === 'shown' ? '-   ' : 'FAIL';
}

function printTable(judgements: ReadonlyMap<Cell, Judgement>): void {
  const row = (...columns: readonly string[]) =>
    print(
      `${columns
        .map((text) => text.padEnd(COLUMN))
        .join('')
        .trimEnd()}\n`,
    );
  print('\n');
  row('', ...REVISIONS.map((revision) => `client ${revision}`));
  for (const era of ERAS) {
    row(`${era} child`, ...REVISIONS.map((revision) => entryOf(`${era} ${revision}`, judgements)));
  }
}

function entryOf(cell: Cell, judgements: ReadonlyMap<Cell, Judgement>): string {
  const judgement = judgements.get(cell);
  if (judgement === undefined) return 'not run';
  const short = judgement.holds ? '' : ', falls short';
  return `${summarise(judgement)}${required.includes(cell) ? short : ', not demanded'}`;
}

function print(text: string): void {
  process.stdout.write(text);
}

await installSuite();

const judgements = new Map<Cell, Judgement>();
for (const era of ERAS) {
  const revisions = REVISIONS.filter((revision) => isPicked(`${era} ${revision}`));
  const inspectors = PROTOCOL_ERAS.filter((mode) => isPicked(inspectorTitle(era, mode)));
  if (revisions.length + inspectors.length === 0) continue;
  const server = commandLine(process.execPath, join(root, `dist/test/fixtures/conformance-${era}.js`));
  await using demo = await startDemo({ server });
  for (const revision of revisions) {
    const cell: Cell = `${era} ${revision}`;
    const judgement = await testServer(demo, cell, revision);
    judgements.set(cell, judgement);
    const told = judgement.verdicts.filter((verdict) => isTold(cell, verdict));
    if (required.includes(cell) || wanted.length > 0) report(cell, judgement, told);
    if (required.includes(cell) && !judgement.holds) process.exitCode = 1;
  }
  for (const mode of inspectors) {
    const judgement = judge(await runInspector(demo, mode), { scored: INSPECTOR_SCENARIOS });
    report(inspectorTitle(era, mode), judgement);
    if (!judgement.holds) process.exitCode = 1;
  }
}

const title = 'authorization server';
if (isPicked(title)) {
  await using demo = await startDemo();
  const judgement = await testAuthorizationServer(demo, title);
  report(title, judgement);
  if (!judgement.holds) process.exitCode = 1;
}

if (judgements.size > 0) printTable(judgements);
