/** Two hours of work with upstream tokens that live a minute: children come and go all the time, and no call notices. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { MINUTE, SECOND } from '../../src/base/clock.js';
import { connect } from '../fixtures/client.js';
import type { TestBroker } from '../support/broker.js';
import { type Stage, startStage } from '../support/connection.js';
import { type Intervals, withIntervals } from '../support/intervals.js';
import { type SimulatedChildren, startSimulatedChildren, type Task } from '../support/simulated-children.js';

const HOURS = 2;
const TOKEN_SECONDS = 60;
/** A second waits this long for what is on its way; then it is over, as seconds are. */
const PATIENCE_MS = 2000;

/** What the broker's log told so far. */
class Told {
  readonly #log: TestBroker['log'];
  readonly #events = new Map<string, number>();
  readonly #children = new Map<unknown, number>();
  #read = 0;

  constructor(log: TestBroker['log']) {
    this.#log = log;
  }

  count(name: string): number {
    for (const { event, fields } of this.#log.slice(this.#read)) {
      this.#read += 1;
      this.#events.set(event, (this.#events.get(event) ?? 0) + 1);
      const change = event === 'child.started' ? 1 : /^child\.(?:stopped|ended)$/.test(event) ? -1 : 0;
      this.#children.set(fields.session, (this.#children.get(fields.session) ?? 0) + change);
    }
    return this.#events.get(name) ?? 0;
  }

  /** How many children the session has that has most. */
  get crowd(): number {
    return Math.max(...this.#children.values());
  }
}

class Work {
  readonly failed: string[] = [];
  sent = 0;
  answered = 0;
  isOver: boolean = false;
  /** The most children that a session had, not counting those that are merely slow to die. */
  mostChildren = 0;
  readonly told: Told;
  readonly #stage: Stage;
  readonly #children: SimulatedChildren;
  readonly #signIns: number;

  constructor(stage: Stage, children: SimulatedChildren) {
    this.told = new Told(stage.broker.log);
    this.#stage = stage;
    this.#children = children;
    this.#signIns = this.#tokenRequests;
  }

  get #tokenRequests(): number {
    return this.#stage.broker.forgejo.faults.count('/login/oauth/access_token');
  }

  /** A session with two calls in flight nearly all the time. */
  async session(bearer: string, beginsAfterSeconds: number): Promise<void> {
    await this.#children.later(beginsAfterSeconds);
    const client = await connect(this.#stage.broker.mcpUrl, bearer);
    const repeat = async (next: (n: number) => Task, restSeconds: number) => {
      for (let n = 0; !this.isOver; n += 1) {
        const task = next(n);
        this.sent += 1;
        const { error } = await client.call('tools/call', { name: 'work', arguments: task });
        this.answered += 1;
        if (error !== undefined) this.failed.push(`${JSON.stringify(task)}: ${error.message}`);
        await this.#children.later(restSeconds);
      }
    };
    await Promise.all([
      // Shorter than the third of its life that is left of a token when the next child is called for.
      repeat((n) => ({ seconds: 2 + (n % 7), asks: 'last' }), 8),
      repeat((n) => ({ seconds: 20 + (n % 17), asks: 'first' }), 1),
    ]);
  }

  /** Whether all that was sent is where only time can move it. */
  get isQuiet(): boolean {
    const { born, waiting, isBusy } = this.#children;
    return (
      !isBusy &&
      this.sent - this.answered === waiting &&
      this.told.count('child.started') === born &&
      this.told.count('credential.refreshed') === this.#tokenRequests - this.#signIns
    );
  }
}

async function passSecond(stage: Stage, children: SimulatedChildren, intervals: Intervals, work: Work) {
  stage.forward(SECOND);
  children.wake();
  await intervals.run(SECOND);
  if (stage.now() % MINUTE === 0) await intervals.run(MINUTE);
  const until = performance.now() + PATIENCE_MS;
  while (!(work.isQuiet && work.told.crowd <= 2) && performance.now() < until) await delay(1);
  work.mostChildren = Math.max(work.mostChildren, work.told.crowd);
}

test('two hours of calls with upstream tokens of a minute: none fails, and no session has three children', async (t) => {
  let now = () => 0;
  await using children = await startSimulatedChildren(() => now());
  const [stage, intervals] = await withIntervals(() =>
    startStage({
      env: {
        BROKER_MCP_COMMAND: children.command,
        // Each of its processes is counted: a sibling for a probe would be one that no session knows.
        BROKER_MCP_PROTOCOL: 'legacy',
        BROKER_SANDBOX: 'none',
        BROKER_ACCESS_TOKEN_SECONDS: `${(HOURS + 1) * 3600}`,
      },
      forgejo: { accessTokenSeconds: TOKEN_SECONDS },
    }),
  );
  await using _stage = stage;
  now = stage.now;
  const connections = [
    await stage.connect('alice'),
    await stage.connect('alice'),
    await stage.connect('bob'),
  ];
  const work = new Work(stage, children);
  // The second of alice begins with a token that the first has used for a while.
  const sessions = Promise.all(connections.map(({ access }, n) => work.session(access, n * 35)));
  const pass = async (seconds: number) => {
    for (let second = 0; second < seconds && work.failed.length === 0; second += 1)
      await passSecond(stage, children, intervals, work);
  };
  await pass(HOURS * 3600);
  work.isOver = true;
  await pass(TOKEN_SECONDS);
  assert.deepEqual(work.failed, []);
  await sessions;

  const started = work.told.count('child.started');
  const refreshes = work.told.count('credential.refreshed');
  t.diagnostic(`${work.answered} calls, ${started} children, ${refreshes} refreshes`);
  assert.deepEqual([...children.calls.keys()], [200], 'no call of Forgejo with a dead token');
  assert.ok(work.answered > HOURS * 1000, `${work.answered} calls`);
  assert.ok(started > HOURS * 3 * 80, `${started} children`);
  assert.equal(work.mostChildren, 2);
  assert.ok(refreshes >= HOURS * 2 * 60 && refreshes <= HOURS * 2 * 91, `${refreshes} refreshes`);
  assert.deepEqual(
    connections.map(({ visits }) => visits),
    [1, 1, 1],
  );
  assert.equal(stage.count('credential.dead'), 0);
});
