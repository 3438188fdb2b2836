/** When `npm run conformance` is content. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Demands, judge, type Outcome, summarise } from './judge.js';

const passing = (scenario: string): Outcome => ({ scenario, passed: 2, failures: [], warnings: [] });
const failing = (scenario: string, ...ids: string[]): Outcome => ({
  scenario,
  passed: 2,
  failures: ids.map((id) => ({ id, message: 'it does not' })),
  warnings: [],
});
const exceptions = [{ check: 'a-1', reason: 'it cannot' }];

interface Row {
  readonly rule: string;
  readonly outcomes: readonly Outcome[];
  readonly demands: Demands;
  readonly holds: boolean;
  readonly says: string;
}

const rows: readonly Row[] = [
  {
    rule: 'a cell holds when all that is demanded passes',
    outcomes: [passing('a'), passing('b')],
    demands: { scored: ['a'], alsoDemanded: ['b'] },
    holds: true,
    says: '1 of 1',
  },
  {
    rule: 'a scored scenario that fails breaks the cell',
    outcomes: [passing('a'), failing('b', 'b-1')],
    demands: { scored: ['a', 'b'] },
    holds: false,
    says: '1 of 2',
  },
  {
    rule: 'so does one that we demand although the suite does not',
    outcomes: [passing('a'), failing('b', 'b-1')],
    demands: { scored: ['a'], alsoDemanded: ['b'] },
    holds: false,
    says: '1 of 1',
  },
  {
    rule: 'what is only shown may fail',
    outcomes: [passing('a'), failing('b', 'b-1')],
    demands: { scored: ['a'] },
    holds: true,
    says: '1 of 1',
  },
  {
    rule: 'a scenario that did not run has failed',
    outcomes: [passing('a')],
    demands: { scored: ['a', 'b'] },
    holds: false,
    says: '1 of 2',
  },
  {
    rule: 'a scenario that checked nothing has failed',
    outcomes: [{ scenario: 'a', passed: 0, failures: [], warnings: [{ id: 'a-1', message: 'better not' }] }],
    demands: { scored: ['a'] },
    holds: false,
    says: '0 of 1',
  },
  {
    rule: 'a check may fail for a reason that stands, and is counted apart',
    outcomes: [failing('a', 'a-1'), passing('b')],
    demands: { scored: ['a', 'b'], exceptions },
    holds: true,
    says: '1 of 2 (1 excepted)',
  },
  {
    rule: 'another check of the same scenario may not',
    outcomes: [failing('a', 'a-1', 'a-2')],
    demands: { scored: ['a'], exceptions },
    holds: false,
    says: '0 of 1',
  },
  {
    rule: 'an exception that nothing needs any more has to go',
    outcomes: [passing('a')],
    demands: { scored: ['a'], exceptions },
    holds: false,
    says: '1 of 1',
  },
];

for (const { rule, outcomes, demands, holds, says } of rows) {
  test(rule, () => {
    const judgement = judge(outcomes, demands);
    assert.equal(judgement.holds, holds);
    assert.equal(summarise(judgement), says);
  });
}
