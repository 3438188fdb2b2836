/**
 * The Inspector's command line as one more client: pinned beside the suite, run on the same Node. It signs in by itself,
 * in a home of its own, and once; nobody sits in front of it, so it cannot be asked anything.
 */
import { join } from 'node:path';
import { z } from 'zod';
import { Browser, signIn } from '../support/browser.js';
import type { Demo } from '../support/demo.js';
import { type Home, makeHome } from '../support/quiet-home.js';
import type { Check, Outcome } from './judge.js';
import { installed, runProgram } from './suite.js';

const COMMAND_MS = 60_000;
const PERSON = 'alice';

export const PROTOCOL_ERAS = ['legacy', 'auto', 'modern'] as const;
export type ProtocolEra = (typeof PROTOCOL_ERAS)[number];

interface Step {
  readonly name: string;
  readonly args: readonly string[];
  /** What its output has to hold. */
  readonly says: RegExp;
  /** Its result is printed as it came, and so shows which era it is of. */
  readonly isCall?: boolean;
}

const STEPS: readonly Step[] = [
  { name: 'tools-list', args: ['--method', 'tools/list'], says: /"name":"test_simple_text"/ },
  {
    name: 'tools-call',
    args: ['--method', 'tools/call', '--tool-name', 'test_simple_text'],
    says: /simple text response/,
    isCall: true,
  },
  {
    name: 'tools-call-with-header',
    args: ['--method', 'tools/call', '--tool-name', 'test_x_mcp_header', '--tool-arg', 'region=eu'],
    says: /Region: eu/,
    isCall: true,
  },
  {
    name: 'resources-read',
    args: ['--method', 'resources/read', '--uri', 'test://static-text'],
    says: /"contents":/,
  },
];

/** Only a modern result says which server it is from. */
const Answer = z.looseObject({
  result: z.looseObject({
    _meta: z.looseObject({ 'io.modelcontextprotocol/serverInfo': z.unknown() }).optional(),
  }),
});

/** Every step as one scenario. */
export async function runInspector(demo: Demo, era: ProtocolEra): Promise<Outcome[]> {
  using home = makeHome();
  const outcomes: Outcome[] = [];
  for (const [at, step] of STEPS.entries()) {
    const { output, visits } = await runStep(demo, home, era, step);
    const checks: Record<string, boolean> = {
      answers: step.says.test(output),
      'signs-in-once': visits === (at === 0 ? 1 : 0),
    };
    if (step.isCall) checks['speaks-its-era'] = isModern(output) === (era !== 'legacy');
    const failures = Object.entries(checks).flatMap(([id, holds]): Check[] =>
      holds ? [] : [{ id, message: output }],
    );
    const passed = Object.keys(checks).length - failures.length;
    outcomes.push({ scenario: step.name, passed, failures, warnings: [] });
  }
  return outcomes;
}

export const INSPECTOR_SCENARIOS = STEPS.map(({ name }) => name);

async function runStep(demo: Demo, home: Home, era: ProtocolEra, { args }: Step) {
  let visits = 0;
  const onLine = (line: string) => {
    const url = /navigate to: (http\S+)/.exec(line)?.[1];
    if (url === undefined) return;
    visits += 1;
    signIn(new Browser(), url, demo.user(PERSON), { deliver: true }).catch((error: unknown) =>
      process.stdout.write(`${error}\n`),
    );
  };
  const options = {
    '--server-url': demo.mcpUrl,
    '--transport': 'http',
    '--protocol-era': era,
    '--format': 'json',
    '--callback-url': 'http://127.0.0.1:0/oauth/callback',
  };
  const { output } = await runProgram({
    file: join(installed, '@modelcontextprotocol/inspector/clients/cli/build/index.js'),
    args: [...Object.entries(options).flat(), ...args],
    // Without a terminal it signs in only when it may open a browser; without a keyring it keeps its tokens in a file.
    env: { ...home.env, MCP_AUTO_OPEN_ENABLED: 'true', MCP_INSPECTOR_SECRET_STORE: 'file' },
    timeoutMs: COMMAND_MS,
    onLine,
  });
  return { output, visits };
}

function isModern(output: string): boolean {
  const line = output.split('\n').find((text) => text.startsWith('{'));
  const answer = Answer.safeParse(line === undefined ? undefined : JSON.parse(line));
  return answer.data?.result._meta !== undefined;
}
