/**
 * From what the suite's checks said to whether a cell of the table holds. Pure: it runs nothing and prints nothing.
 */

export interface Check {
  readonly id: string;
  readonly message: string;
}

/** What one scenario said. */
export interface Outcome {
  readonly scenario: string;
  readonly passed: number;
  readonly failures: readonly Check[];
  /** What the suite would like better but does not count. */
  readonly warnings: readonly Check[];
}

/** A check that fails for a reason that stands. */
export interface Exception {
  readonly check: string;
  readonly reason: string;
}

export interface Demands {
  /** What the revision requires. */
  readonly scored: readonly string[];
  /** What the suite runs without counting it, and we count. */
  readonly alsoDemanded?: readonly string[];
  readonly exceptions?: readonly Exception[];
}

export type Weight = 'scored' | 'also demanded' | 'shown';
export type Mark = 'passed' | 'excepted' | 'failed';

export interface Verdict extends Outcome {
  readonly weight: Weight;
  readonly mark: Mark;
}

export interface Judgement {
  readonly verdicts: readonly Verdict[];
  /** Exceptions that nothing needs any more. */
  readonly stale: readonly Exception[];
  readonly holds: boolean;
}

export function judge(outcomes: readonly Outcome[], demands: Demands): Judgement {
  const { scored, alsoDemanded = [], exceptions = [] } = demands;
  const excepted = new Set(exceptions.map(({ check }) => check));
  const failing = new Set(outcomes.flatMap(({ failures }) => failures.map(({ id }) => id)));
  const missing = [...scored, ...alsoDemanded].filter(
    (name) => !outcomes.some(({ scenario }) => scenario === name),
  );
  const verdicts = [...outcomes, ...missing.map(unheard)].map(
    (outcome): Verdict => ({
      ...outcome,
      weight: weigh(outcome.scenario),
      mark: markOf(outcome, excepted),
    }),
  );
  const stale = exceptions.filter(({ check }) => !failing.has(check));
  const fails = verdicts.some(({ weight, mark }) => weight !== 'shown' && mark === 'failed');
  return { verdicts, stale, holds: !fails && stale.length === 0 };

  function weigh(scenario: string): Weight {
    if (scored.includes(scenario)) return 'scored';
    return alsoDemanded.includes(scenario) ? 'also demanded' : 'shown';
  }
}

/** Of the scored scenarios, in the fewest words. */
export function summarise({ verdicts }: Judgement): string {
  const scored = verdicts.filter(({ weight }) => weight === 'scored');
  const count = (mark: Mark) => scored.filter((verdict) => verdict.mark === mark).length;
  const excepted = count('excepted');
  return `${count('passed')} of ${scored.length}${excepted > 0 ? ` (${excepted} excepted)` : ''}`;
}

function unheard(scenario: string): Outcome {
  return { scenario, passed: 0, failures: [{ id: 'no-result', message: 'it did not run' }], warnings: [] };
}

/** A scenario that checked nothing proves nothing. */
function markOf({ passed, failures }: Outcome, excepted: ReadonlySet<string>): Mark {
  if (failures.length === 0) return passed > 0 ? 'passed' : 'failed';
  return failures.every(({ id }) => excepted.has(id)) ? 'excepted' : 'failed';
}
