/**
 * Numbers for Prometheus; prom-client is known here alone. A label's values are a closed list, given when the metric is
 * made: nothing that a user or a client sends can become one.
 */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

/** The name of a label -> the values it may have. */
export type Labels = Readonly<Record<string, readonly string[]>>;
export type LabelValues<L extends Labels> = { readonly [Name in keyof L]: L[Name][number] };

/** One series of a counter, as a plain number: prom-client would build a key from the labels at each step. */
export class Tally {
  count = 0;

  add(n = 1): void {
    this.count += n;
  }
}

export interface Metrics {
  /** The series are asked for once and held where they are counted; one that was never asked for is not shown. */
  counter<const L extends Labels>(name: string, help: string, labels: L): (values: LabelValues<L>) => Tally;
  /** Read anew at each scrape: `read` adds to series that all begin at 0. */
  gauge<const L extends Labels>(
    name: string,
    help: string,
    labels: L,
    read: (add: (values: LabelValues<L>, n: number) => void) => void,
  ): void;
  histogram<const L extends Labels>(
    name: string,
    help: string,
    labels: L,
    buckets: readonly number[],
  ): (values: LabelValues<L>) => (value: number) => void;
  /** All of it, in Prometheus' text form. */
  text(): Promise<string>;
  readonly contentType: string;
}

export interface MetricsOptions {
  /** Memory, descriptors, event loop and garbage collection of this process too. Watching them costs a little. */
  readonly ofProcess: boolean;
}

export function createMetrics({ ofProcess }: MetricsOptions): Metrics {
  const register = new Registry();
  const registers = [register];
  if (ofProcess) collectDefaultMetrics({ register });

  return {
    contentType: register.contentType,
    text: () => register.metrics(),

    counter(name, help, labels) {
      const tallies = new Map<string, { readonly values: Record<string, string>; readonly tally: Tally }>();
      const counter = new Counter({
        name,
        help,
        registers,
        labelNames: Object.keys(labels),
        collect: () => {
          counter.reset();
          for (const { values, tally } of tallies.values()) counter.inc(values, tally.count);
        },
      });
      return (given) => {
        const values = checked(name, labels, given);
        const key = JSON.stringify(values);
        const { tally } = tallies.get(key) ?? { tally: new Tally() };
        tallies.set(key, { values, tally });
        return tally;
      };
    },

    gauge(name, help, labels, read) {
      const gauge = new Gauge({
        name,
        help,
        registers,
        labelNames: Object.keys(labels),
        collect: () => {
          for (const values of combinations(labels)) gauge.set(values, 0);
          read((values, n) => gauge.inc(checked(name, labels, values), n));
        },
      });
    },

    histogram(name, help, labels, buckets) {
      const histogram = new Histogram({
        name,
        help,
        registers,
        labelNames: Object.keys(labels),
        buckets: [...buckets],
      });
      return (given) => {
        const values = checked(name, labels, given);
        histogram.zero(values);
        return (value) => histogram.observe(values, value);
      };
    },
  };
}

/** `given` in the order of `labels`. A value outside its list is a mistake of ours. */
function checked(name: string, labels: Labels, given: Readonly<Record<string, string>>) {
  const values: Record<string, string> = {};
  for (const [label, allowed] of Object.entries(labels)) {
    const value = given[label];
    if (value === undefined || !allowed.includes(value))
      throw new Error(`${name} has no ${label} "${value}"`);
    values[label] = value;
  }
  return values;
}

function combinations(labels: Labels): Record<string, string>[] {
  return Object.entries(labels).reduce<Record<string, string>[]>(
    (rows, [label, values]) => rows.flatMap((row) => values.map((value) => ({ ...row, [label]: value }))),
    [{}],
  );
}
