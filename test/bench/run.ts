/**
 * `npm run bench`: the broker beside a bare relay and two other bridges, in turn in one run on this machine, with the
 * same child. Figures are medians of rounds; those that say something elsewhere are the ratios. Loopback only.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { Figures, type Report, tableOf, worseThan } from './figures.js';
import { measureGrowth, measureLimits, measureRelays, measureSessions, type Plan } from './measures.js';
import { installPeers, makeChild, startLoader } from './programs.js';
import { TARGETS } from './targets.js';

const USAGE = `usage: npm run bench -- [--quick] [--json FILE] [--compare FILE] [--only PART]

  --quick         at most 3 minutes: fewer and shorter rounds, fewer sessions
  --json FILE     write the figures there
  --compare FILE  print what is more than 20 % worse than the figures in that file
  --only PART     one of: limits, relays, sessions, growth
`;
const FULL_MS = 20 * 60_000;
const QUICK_MS = 3 * 60_000;

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

if (values.help) print(USAGE);
else await bench();

async function bench(): Promise<void> {
  const { quick, json, compare, only } = values;
  const before = compare === undefined ? undefined : (JSON.parse(readFileSync(compare, 'utf8')) as Report);
  // A server that hangs must not hold whoever waits for the table.
  const deadline = setTimeout(
    () => {
      process.stderr.write('the benchmark took too long\n');
      process.exit(1);
    },
    quick ? QUICK_MS : FULL_MS,
  );
  installPeers();
  await using loader = startLoader();
  const plan: Plan = {
    child: makeChild(),
    loader,
    rounds: quick ? 2 : 5,
    warmUpMs: quick ? 150 : 300,
    measureMs: quick ? 350 : 1000,
    heatMs: quick ? 1500 : 4000,
    liveChildren: quick ? 100 : 1000,
    sleepingSessions: quick ? [10, 1000] : [10, 100, 1000, 10_000],
    tokenRequests: quick ? 500 : 2000,
    rowsOfYears: quick ? 20_000 : 100_000,
    note: (text) => process.stderr.write(`${text}\n`),
  };
  const figures = new Figures();
  const wants = (part: string) => only === undefined || only === part;
  const [processor] = cpus();
  const machine: Record<string, string | number> = {
    processor: processor?.model ?? 'unknown',
    cores: cpus().length,
    node: process.version,
    child: plan.child.kind,
  };

  const show = (title: string, part: Figures, targets: readonly string[]) => {
    print(`\n${title}\n\n${tableOf(part.all, targets)}`);
    for (const { name, target, unit, rounds } of part.all)
      for (const value of rounds) figures.add(name, target, unit, value);
  };
  if (wants('limits')) {
    const part = new Figures();
    await measureLimits(plan, part);
    const { all } = part;
    const hello = new Figures();
    const child = new Figures();
    for (const { name, target, unit, median } of all)
      (target === 'child' ? child : hello).add(name, target, unit, median);
    show('What the load generator can ask for', hello, ['node:net', 'node:http']);
    show('The child without a bridge', child, ['child']);
  }
  if (wants('relays')) {
    const part = new Figures();
    machine.sandbox = await measureRelays(plan, part);
    show('Relaying', part, TARGETS);
  }
  if (wants('sessions')) {
    const part = new Figures();
    await measureSessions(plan, part);
    show('Sessions', part, TARGETS);
  }
  if (wants('growth')) {
    const part = new Figures();
    await measureGrowth(plan, part);
    show('Authorization server and growth', part, [...new Set(part.all.map(({ target }) => target))]);
  }
  print(
    `\n${Object.entries(machine)
      .map(([name, value]) => `${name}: ${value}`)
      .join(', ')}`,
  );
  const report: Report = { machine, figures: figures.all };
  if (json !== undefined) writeFileSync(json, `${JSON.stringify(report, undefined, 1)}\n`);
  if (before !== undefined) {
    const worse = worseThan(before, report);
    print(`\nMore than 20 % worse than before: ${worse.length === 0 ? 'nothing' : ''}\n${worse.join('\n')}`);
  }
  clearTimeout(deadline);
}
