/** The figures of a chaos run: measured while it goes on, and printed at its end. */
import type { BrokerProcess } from './broker.js';
import { type Ledger, percentile } from './ledger.js';

const EVERY_MS = 250;
const WARM_UP_MS = 10_000;
const MEBIBYTE = 1024 * 1024;
/** What the broker must never have to say. */
const GRAVE = ['credential.dead', 'credential.lost', 'task.failed', 'child.remains', 'guardian.lost'];

/** Watches the broker from outside, whichever process it is at the time. */
export class Meter implements Disposable {
  readonly #broker: BrokerProcess;
  readonly #timer: NodeJS.Timeout;
  #life = 0;
  #lifeBeganAt = 0;
  maxMemory = 0;
  maxDescriptors = 0;
  /** The most that the present process needed in its first seconds under load. */
  warmMemory = 0;

  constructor(broker: BrokerProcess) {
    this.#broker = broker;
    this.#timer = setInterval(() => this.#read(), EVERY_MS);
  }

  #read(): void {
    try {
      const { memory, lives } = this.#broker;
      if (lives !== this.#life) [this.#life, this.#lifeBeganAt, this.warmMemory] = [lives, Date.now(), 0];
      if (Date.now() - this.#lifeBeganAt < WARM_UP_MS)
        this.warmMemory = Math.max(this.warmMemory, memory || 0);
      this.maxMemory = Math.max(this.maxMemory, memory || 0);
      this.maxDescriptors = Math.max(this.maxDescriptors, this.#broker.descriptors.length);
    } catch {
      // Between two brokers.
    }
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}

export interface Figures {
  readonly seed: number;
  readonly seconds: number;
  readonly ledger: Ledger;
  readonly broker: BrokerProcess;
  readonly meter: Meter;
  readonly log: string;
  readonly disk: string;
  readonly sessions: number;
  readonly modernClients: number;
  readonly descriptors: readonly [before: number, after: number];
  readonly memory: readonly [warm: number, after: number];
}

/** Prints them; true when something was not as it has to be. */
export function report(figures: Figures): boolean {
  const { seed, seconds, ledger, broker, meter, log, disk, sessions, modernClients, descriptors, memory } =
    figures;
  const events = countEvents(log);
  for (const event of GRAVE) {
    if (events.has(event)) ledger.breach('in the log', `${event} (${events.get(event)})`);
  }
  const megabytes = (bytes: number) => `${Math.round(bytes / MEBIBYTE)} MB`;
  const latency = (share: number) => `${percentile(ledger.latencies, share)} ms`;
  const total = [...ledger.outcomes.values()].reduce((sum, n) => sum + n, 0);
  const rows: readonly (readonly [string, unknown])[] = [
    ['seed', seed],
    ['seconds', seconds],
    ['disk filled by', disk],
    ['sessions', sessions],
    ['modern clients', modernClients],
    ['requests', total],
    ...sorted(ledger.outcomes, 'ended with: '),
    ...sorted(ledger.reasons, 'error: '),
    ...sorted(ledger.counts),
    ['lives of the broker', broker.lives],
    ...[
      'child.started',
      'child.ended',
      'child.stopped',
      'credential.refreshed',
      'credential.refresh_failed',
    ].map((name) => [`log: ${name}`, events.get(name) ?? 0] as const),
    ['children replaced', log.split('"why":"another one took over"').length - 1],
    ['latency of echo, p50', latency(0.5)],
    ['latency, p90', latency(0.9)],
    ['latency, p99', latency(0.99)],
    ['memory, most', megabytes(meter.maxMemory)],
    ['memory, warm -> at rest', memory.map(megabytes).join(' -> ')],
    ['descriptors, most', meter.maxDescriptors],
    ['descriptors, at the start -> at rest', descriptors.join(' -> ')],
  ];
  const width = Math.max(...rows.map(([name]) => name.length));
  process.stdout.write(`\n${rows.map(([name, value]) => `  ${name.padEnd(width)}  ${value}\n`).join('')}\n`);
  if (ledger.breaches.size === 0) {
    process.stdout.write('Everything held.\n');
    return false;
  }
  process.stdout.write(
    `BREACHES (again with --seconds ${seconds} --seed ${seed})\n${ledger.describeBreaches()}`,
  );
  return true;
}

const sorted = (counts: ReadonlyMap<string, number>, prefix = '') =>
  [...counts].toSorted(([a], [b]) => a.localeCompare(b)).map(([name, n]) => [`${prefix}${name}`, n] as const);

function countEvents(log: string): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const [, event = ''] of log.matchAll(/"event":"([^"]+)"/g))
    counts.set(event, (counts.get(event) ?? 0) + 1);
  return counts;
}
