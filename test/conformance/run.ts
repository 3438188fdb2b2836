/**
 * `npm run conformance`: the official suite against the broker as an operator starts it. Prints a table of the
 * figures, and fails when a scored scenario does. Words on the command line pick parts by their title.
 */
import { join } from 'node:path';
import { freePort } from '../../src/demo/free-port.js';
import { startBearerProxy } from '../support/bearer-proxy.js';
import { Browser, signIn } from '../support/browser.js';
import { commandLine, type Demo, root, startDemo } from '../support/demo.js';
import { discover, obtainTokens, register } from '../support/oauth-client.js';
import { installSuite, requiredScenarios, runSuite, type Verdict } from './suite.js';

interface Part {
  readonly title: string;
  /** The stdio server that the broker runs for this part; default: the demo's own. */
  readonly server?: string;
  run(demo: Demo): Promise<Verdict[]>;
}

/** The suite itself would wait five minutes for the redirect. */
const SIGN_IN_MS = 60_000;

const conformanceChild = commandLine(
  process.execPath,
  join(root, 'dist/test/fixtures/conformance-legacy.js'),
);

const parts: readonly Part[] = [
  { title: 'server 2025-11-25', server: conformanceChild, run: (demo) => testServer(demo, '2025-11-25') },
  { title: 'authorization server', run: testAuthorizationServer },
];

async function testServer(demo: Demo, revision: string): Promise<Verdict[]> {
  const { access_token } = await obtainTokens(demo.mcpUrl, demo.user('alice'));
  await using proxy = await startBearerProxy(demo.mcpUrl, access_token);
  return await runSuite(requiredScenarios(revision), [
    'server',
    '--url',
    proxy.url,
    '--requirements',
    revision,
  ]);
}

/** The suite prints the authorization URL and waits for the redirect: a person with a browser is expected. */
async function testAuthorizationServer(demo: Demo): Promise<Verdict[]> {
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
  return runSuite(
    ['authorization-server-metadata-endpoint', 'authorization-code-grant'],
    ['authorization', ...Object.entries(options).flat()],
    { onLine, timeoutMs: SIGN_IN_MS },
  );
}

function isPassed({ passed, failed }: Verdict): boolean {
  return failed === 0 && passed > 0;
}

function report(title: string, verdicts: readonly Verdict[]): void {
  const width = Math.max(...verdicts.map(({ scenario }) => scenario.length));
  print(`\n${title}\n`);
  for (const verdict of verdicts) {
    const { scenario, scored, passed, failed, problems, warnings } = verdict;
    const mark = isPassed(verdict) ? 'ok  ' : scored ? 'FAIL' : '-   ';
    print(
      `  ${mark}  ${scenario.padEnd(width)}  ${passed} passed, ${failed} failed${scored ? '' : ' (not scored)'}\n`,
    );
    for (const problem of problems) print(`          ${problem}\n`);
    for (const warning of warnings) print(`          (${warning})\n`);
  }
  const required = verdicts.filter(({ scored }) => scored);
  print(`  ${required.filter(isPassed).length} of ${required.length}\n`);
}

function print(text: string): void {
  process.stdout.write(text);
}

const wanted = process.argv.slice(2);
await installSuite();
for (const { title, server, run } of parts) {
  if (wanted.length > 0 && !wanted.some((word) => title.includes(word))) continue;
  await using demo = await startDemo(server === undefined ? {} : { server });
  const verdicts = await run(demo);
  report(title, verdicts);
  if (!verdicts.every((verdict) => isPassed(verdict) || !verdict.scored)) process.exitCode = 1;
}
