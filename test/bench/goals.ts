/** What the figures of a run have to reach. Ratios are taken round by round, for a machine has faster and slower minutes. */
import { type Figure, medianOf } from './figures.js';

/** The wires of the broker, each held against the same goals; and what does nothing but relay, as the most there could be. */
const WIRES = ['broker', 'broker, modern'] as const;
const COLUMNS = [...WIRES, 'relay'] as const;
type Column = (typeof COLUMNS)[number];

interface Goal {
  readonly what: string;
  readonly wanted: string;
  readonly isMet: (value: number) => boolean;
  /** Undefined when it was not measured. */
  readonly of: (figures: readonly Figure[], column: Column) => number | undefined;
}

const PEERS = ['supergateway', 'mcp-proxy'];

const GOALS: readonly Goal[] = [
  ...[8, 32].flatMap((connections): Goal[] => {
    const name = `small, ${connections} connections: throughput`;
    return [
      {
        what: `${connections} connections: throughput, of the better peer's`,
        wanted: 'at least 6 times',
        isMet: (value) => value >= 6,
        of: ratioTo(name, PEERS),
      },
      {
        what: `${connections} connections: throughput, of the bare relay's`,
        wanted: 'at least 0.60',
        isMet: (value) => value >= 0.6,
        of: ratioTo(name, ['relay']),
      },
    ];
  }),
  {
    what: '1 connection: p50 over the bare relay',
    wanted: 'under 150 µs',
    isMet: (value) => value < 150,
    of: (figures, column) => {
      const [own, relay] = [column, 'relay'].map((target) =>
        find(figures, 'small, 1 connections: p50', target),
      );
      return perRound(own, [relay], (mine, theirs) => mine - theirs);
    },
  },
  atMost('bearer check, from memory', 'under 20 µs', 20),
  atMost('initialize, known handshake', 'under 2 ms', 2),
  atMost('memory of a sleeping session', 'at most 100 KB', 100),
  atMost('memory of a live child', 'at most 300 KB', 300),
];

/** A Markdown table. Goals that a run did not measure are left out. */
export function goalsTable(figures: readonly Figure[]): string | undefined {
  const rows = GOALS.flatMap(({ what, wanted, isMet, of }) => {
    const values = WIRES.map((wire) => of(figures, wire));
    if (values.every((value) => value === undefined)) return [];
    const cells = values.map((value) =>
      value === undefined ? '' : `${value.toFixed(2)}${isMet(value) ? '' : ' (not met)'}`,
    );
    return [[what, wanted, ...cells, of(figures, 'relay')?.toFixed(2) ?? '']];
  });
  if (rows.length === 0) return undefined;
  const header = ['goal', 'wanted', ...COLUMNS];
  return [header, header.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n');
}

function ratioTo(name: string, others: readonly string[]): Goal['of'] {
  return (figures, column) =>
    perRound(
      find(figures, name, column),
      others.map((other) => find(figures, name, other)),
      (mine, theirs) => mine / theirs,
    );
}

/** Of one measure, or of the worst of several such as `bearer check, from memory, 10 sessions`. */
function atMost(name: string, wanted: string, limit: number): Goal {
  return {
    what: name,
    wanted,
    isMet: (value) => (wanted.startsWith('under') ? value < limit : value <= limit),
    of: (figures, column) => {
      const medians = figures
        .filter(
          (figure) => column === 'broker' && figure.name.startsWith(name) && !PEERS.includes(figure.target),
        )
        .filter(({ target }) => target !== 'relay')
        .map(({ median }) => median);
      return medians.length === 0 ? undefined : Math.max(...medians);
    },
  };
}

const find = (figures: readonly Figure[], name: string, target: string) =>
  figures.find((figure) => figure.name === name && figure.target === target);

/** The median over the rounds of what comes of ours and the greatest of theirs. */
function perRound(
  own: Figure | undefined,
  others: readonly (Figure | undefined)[],
  compare: (mine: number, theirs: number) => number,
): number | undefined {
  const known = others.filter((other) => other !== undefined);
  if (own === undefined || known.length === 0) return undefined;
  return medianOf(
    own.rounds.map((mine, round) =>
      compare(mine, Math.max(...known.map(({ rounds }) => rounds[round] ?? 0))),
    ),
  );
}
