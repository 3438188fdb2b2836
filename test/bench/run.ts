/**
 * `npm run bench`: the broker beside a bare relay and two other bridges, in turn in one run on this machine, with the
 * same child. Figures are medians of rounds; those that say something elsewhere are the ratios. Loopback only.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { compare as comparison, type Figure, Figures, type Report, tableOf } from './figures.js';
import { goalsTable } from './goals.js';
import {
  measureGrowth,
  measureLimits,
  measureRelays,
  measureSessions,
  type Plan,
  RELAYS,
} from './measures.js';
import { installPeers, type Loader, makeChild, OutOfTime, startLoader } from './programs.js';
import { TARGETS } from './targets.js';

const USAGE = `usage: npm run bench -- [--quick] [--json FILE] [--compare FILE] [--only PART]

  --quick         at most 3 minutes: fewer and shorter rounds, fewer sessions
  --json FILE     write the figures there
  --compare FILE  print what is more than 20 % worse than the figures in that file
  --only PART     one of: limits, relays, sessions, growth
`;
/** When no further measure begins, and when it ends in any case. */
const TIME = {
  full: { softMs: 18 * 60_000, hardMs: 20 * 60_000 },
  quick: { softMs: 150_000, hardMs: 180_000 },
};

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    json: { type: 'string' },
    compare: { type: 'string' },
    only: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});
const print = (text: string) => void process.stdout.write(`${text}\n`);

type Part = { readonly title: string; readonly measure: typeof measureRelays };
const PARTS: Readonly<Record<string, Part>> = {
  limits: { title: 'What the load generator and the child can do', measure: measureLimits },
  relays: { title: 'Relaying', measure: measureRelays },
  sessions: { title: 'Sessions', measure: measureSessions },
  growth: { title: 'Authorization server and growth', measure: measureGrowth },
};

if (values.help) print(USAGE);
else if (values.only !== undefined && !(values.only in PARTS)) {
  process.stderr.write(USAGE);
  process.exitCode = 2;
} else await bench();

async function bench(): Promise<void> {
  const { quick, json, compare, only } = values;
  const before = compare === undefined ? undefined : (JSON.parse(readFileSync(compare, 'utf8')) as Report);
  const { softMs, hardMs } = quick ? TIME.quick : TIME.full;
  // A server that hangs must not hold whoever waits for the table.
  const deadline = setTimeout(() => {
    process.stderr.write('the benchmark took too long\n');
    process.exit(1);
  }, hardMs);
  const startedAt = Date.now();
  installPeers();
  await using loader = startLoader(startedAt + softMs);
  const plan = planOf(quick, loader);
  const [processor] = cpus();
  const machine: Record<string, string | number> = {
    processor: processor?.model ?? 'unknown',
    cores: cpus().length,
    node: process.version,
    child: plan.child.kind,
  };
  const figures: Figure[] = [];
  for (const [name, { title, measure }] of Object.entries(PARTS)) {
    if (only !== undefined && only !== name) continue;
    const part = new Figures();
    try {
      Object.assign(machine, await measure(plan, part));
    } catch (error) {
      if (!(error instanceof OutOfTime)) throw error;
      plan.note(`${name}: the rest is left out for want of time`);
    }
    const targets = name === 'growth' || name === 'limits' ? namesOf(part.all) : TARGETS;
    print(`\n## ${title}\n\n${tableOf(part.all, targets)}`);
    figures.push(...part.all);
  }
  const goals = goalsTable(figures);
  if (goals !== undefined) print(`\n## Against the goals\n\n${goals}`);
  const about = Object.entries(machine).map(([name, value]) => `${name}: ${value}`);
  print(`\n${about.join(', ')}`);
  const report: Report = { machine, figures };
  if (json !== undefined) writeFileSync(json, `${JSON.stringify(report, undefined, 1)}\n`);
  if (before !== undefined) {
    const { worse, compared, missing } = comparison(before, report);
    print(`\nMore than 20 % worse than before, of ${compared} figures: ${worse.join('\n') || 'nothing'}`);
    if (missing.length > 0) print(`Measured in one of the runs only: ${missing.join('; ')}`);
  }
  clearTimeout(deadline);
}

function planOf(quick: boolean, loader: Loader): Plan {
  return {
    relays: quick ? RELAYS.quick : RELAYS.full,
    child: makeChild(),
    loader,
    rounds: quick ? 2 : 3,
    warmUpMs: quick ? 150 : 250,
    measureMs: quick ? 350 : 1000,
    heatMs: quick ? 1500 : 4000,
    liveChildren: quick ? 100 : 1000,
    sleepingSessions: quick ? [10, 1000] : [10, 100, 1000, 10_000],
    tokenRequests: quick ? 300 : 2000,
    rowsOfYears: quick ? 20_000 : 100_000,
    note: (text) => process.stderr.write(`${text}\n`),
  };
}

function namesOf(figures: readonly Figure[]): readonly string[] {
  return [...new Set(figures.map(({ target }) => target))];
}
