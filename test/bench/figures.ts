/** Figures: collected round by round, printed as tables, and held against those of another day. */

export type Unit = 'requests/s' | 'µs' | 'ms' | 'KB' | 'MB/s';

export interface Figure {
  /** What was measured, such as `small, 32 connections: throughput`. */
  readonly name: string;
  /** What it was measured of. */
  readonly target: string;
  readonly unit: Unit;
  readonly rounds: readonly number[];
  readonly median: number;
}

/** What a run writes. */
export interface Report {
  readonly machine: Readonly<Record<string, string | number>>;
  readonly figures: readonly Figure[];
}

const WORSE_FROM = 0.2;

export class Figures {
  readonly #rounds = new Map<string, { name: string; target: string; unit: Unit; rounds: number[] }>();

  add(name: string, target: string, unit: Unit, value: number): void {
    const key = `${name}\n${target}`;
    const known = this.#rounds.get(key) ?? { name, target, unit, rounds: [] };
    known.rounds.push(value);
    this.#rounds.set(key, known);
  }

  get all(): readonly Figure[] {
    return [...this.#rounds.values()].map((figure) => ({ ...figure, median: medianOf(figure.rounds) }));
  }
}

export function medianOf(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? 0;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? 0) + upper) / 2;
}

/** A Markdown table: a row for each name, a column for each target, and how the first compares with the others. */
export function tableOf(figures: readonly Figure[], targets: readonly string[]): string {
  const [first = '', ...others] = targets;
  const figureOf = (name: string, target: string) =>
    figures.find((figure) => figure.name === name && figure.target === target);
  const header = ['', ...targets, ...others.map((other) => `${first} / ${other}`)];
  const rows = [...new Set(figures.map(({ name }) => name))].map((name) => {
    const own = figureOf(name, first);
    const cells = targets.map((target) => show(figureOf(name, target)));
    const ratios = others.map((other) => ratio(own?.median, figureOf(name, other)?.median));
    return [`${name} (${figureOf(name, first)?.unit ?? figures[0]?.unit})`, ...cells, ...ratios];
  });
  return [header, header.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n');
}

function show(figure: Figure | undefined): string {
  if (figure === undefined) return '';
  const { median } = figure;
  const digits = median >= 100 ? 0 : median >= 10 ? 1 : 2;
  return median.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

function ratio(own: number | undefined, other: number | undefined): string {
  return own === undefined || other === undefined || other === 0 ? '' : (own / other).toFixed(2);
}

export interface Comparison {
  /** What is worse than before by more than a fifth, one line each. */
  readonly worse: readonly string[];
  readonly compared: number;
  /** What one of the runs measured and the other did not. */
  readonly missing: readonly string[];
}

export function compare(before: Report, now: Report): Comparison {
  const nameOf = ({ name, target }: Figure) => `${target}: ${name}`;
  const old = new Map(before.figures.map((figure) => [nameOf(figure), figure]));
  const both = now.figures.filter((figure) => old.has(nameOf(figure)));
  const names = new Set(both.map(nameOf));
  return {
    worse: both.flatMap((figure) => {
      const was = old.get(nameOf(figure))?.median ?? 0;
      const { unit, median } = figure;
      const isMoreBetter = unit === 'requests/s' || unit === 'MB/s';
      const loss = isMoreBetter ? was / median - 1 : median / was - 1;
      if (!(loss > WORSE_FROM)) return [];
      const percent = Number.isFinite(loss) ? `${Math.round(loss * 100)} % worse` : 'worse beyond measure';
      return [`${nameOf(figure)}: ${was.toFixed(2)} -> ${median.toFixed(2)} ${unit} (${percent})`];
    }),
    compared: both.length,
    missing: [...before.figures, ...now.figures].map(nameOf).filter((name) => !names.has(name)),
  };
}
