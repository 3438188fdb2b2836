/**
 * One session under random interleavings: messages, answers, deaths, slow and failing starts, idle time, token ends,
 * eviction, restarts of the broker, deletion. The children are in memory, so that thousands of lives cost seconds.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as settled } from 'node:timers/promises';
import fc from 'fast-check';
import type { Exchange } from '../../src/backend/calls.js';
import type { Launched, Link, LinkEvents } from '../../src/backend/children.js';
import * as failures from '../../src/backend/failures.js';
import { NO_OBSERVER } from '../../src/backend/observer.js';
import { Session } from '../../src/backend/session.js';
import type { SessionRecord } from '../../src/backend/session-store.js';
import type { GrantId, SessionId, UserId } from '../../src/base/ids.js';
import { createRecordingLog } from '../../src/base/log.js';
import { type RequestMessage, readMessage } from '../../src/mcp/message.js';
import type { RpcError } from '../../src/mcp/protocol.js';
import { initializeBody } from '../fixtures/client.js';

const TOKEN_MS = 60_000;
const REQUEST_MS = 150_000;

interface Asked {
  readonly id: number;
  readonly marker: string;
}

/** A child that answers `initialize` at once and anything else when it is told to. */
class MemoryChild implements Link {
  readonly owed: Asked[] = [];
  readonly #events: LinkEvents;
  isStopped: boolean = false;
  isDead: boolean = false;

  constructor(events: LinkEvents) {
    this.#events = events;
  }

  write(line: Buffer): 'written' | 'ended' {
    if (this.isDead || this.isStopped) return 'ended';
    const { id, method, params } = JSON.parse(line.toString());
    if (method === 'initialize') {
      const result = { protocolVersion: params.protocolVersion, capabilities: {}, serverInfo: {} };
      queueMicrotask(() => this.say({ id, result }));
    } else if (method === 'notifications/cancelled') {
      const at = this.owed.findIndex((asked) => asked.id === params.requestId);
      if (at >= 0) this.owed.splice(at, 1);
    } else if (id !== undefined) {
      this.owed.push({ id, marker: params.marker });
    }
    return 'written';
  }

  stop(): Promise<void> {
    this.isStopped = true;
    this.die();
    return Promise.resolve();
  }

  say(message: object): void {
    if (!this.isDead) void this.#events.onLine(Buffer.from(JSON.stringify({ jsonrpc: '2.0', ...message })));
  }

  die(): void {
    if (this.isDead) return;
    this.isDead = true;
    this.#events.onEnd(
      this.isStopped ? { how: 'closedByUs', why: 'stopped' } : { how: 'signalled', signal: 'SIGKILL' },
    );
  }
}

interface Waiting {
  readonly id: number;
  readonly marker: string;
  readonly leave: () => void;
  left: boolean;
  answers: (string | undefined)[];
}

class World {
  now = 1_000_000;
  record: SessionRecord | undefined;
  session: Session;
  readonly children: MemoryChild[] = [];
  readonly launches: { readonly events: LinkEvents; readonly resolve: (to: Launched | RpcError) => void }[] =
    [];
  readonly waiting: Waiting[] = [];
  #marker = 0;

  constructor() {
    this.session = this.#open();
  }

  get alive(): MemoryChild[] {
    return this.children.filter(({ isDead }) => !isDead);
  }

  #make(record?: SessionRecord): Session {
    const caller = { userId: 'us_1' as UserId, grantId: 'gr_1' as GrantId };
    const host = {
      now: () => this.now,
      log: createRecordingLog(() => undefined),
      observer: NO_OBSERVER,
      requestMs: REQUEST_MS,
      maxQueuedBytes: 1 << 20,
      launch: (_session: Session, _before: unknown, events: LinkEvents) =>
        new Promise<Launched | RpcError>((resolve) => this.launches.push({ events, resolve })),
      knownAnswer: () => undefined,
      greeted: () => undefined,
      greetingFailed: () => undefined,
      opened: (saved: SessionRecord) => {
        this.record = saved;
        return Promise.resolve(true);
      },
      changed: () => Promise.resolve(),
      closed: () => undefined,
    };
    return new Session('se_1' as SessionId, caller, 'main', host, record);
  }

  #open(): Session {
    this.record = undefined;
    const session = this.#make();
    const exchange = this.#expect(0, 'initialize', () => undefined);
    session.initialize(readMessage(Buffer.from(initializeBody())) as RequestMessage, exchange);
    return session;
  }

  #expect(id: number, marker: string, leave: () => void): Exchange {
    const waiting: Waiting = { id, marker, leave, left: false, answers: [] };
    this.waiting.push(waiting);
    return {
      streams: false,
      send: () => undefined,
      end: (answer) => void waiting.answers.push(answer?.toString()),
    };
  }

  /** Clients do use one id for several calls. */
  ask(id: number): void {
    if (this.session.state === 'closed' || this.record === undefined) return;
    this.#marker += 1;
    const marker = `m${this.#marker}`;
    const body = Buffer.from(JSON.stringify({ jsonrpc: '2.0', id, method: 'work', params: { marker } }));
    let leave: () => void = () => undefined;
    const exchange = this.#expect(id, marker, () => leave());
    leave = this.session.request(readMessage(body) as RequestMessage, exchange);
  }

  launch(at: number, succeeds: boolean): void {
    const launch = this.launches.splice(at % (this.launches.length || 1), 1)[0];
    if (launch === undefined) return;
    if (!succeeds) {
      launch.resolve(failures.allBusy);
      return;
    }
    const child = new MemoryChild(launch.events);
    this.children.push(child);
    launch.resolve({ child, tokenExpiresAt: this.now + TOKEN_MS, freshUntil: this.now + (TOKEN_MS * 2) / 3 });
  }

  restart(): void {
    this.session.close(failures.stopping);
    this.session = this.record === undefined ? this.#open() : this.#make(this.record);
  }

  remove(): void {
    this.session.close(failures.sessionClosed);
    this.session = this.#open();
  }

  /** Every child comes up and answers all that reached it. */
  async comeToRest(): Promise<void> {
    for (
      let round = 0;
      round < 100 && (this.launches.length > 0 || this.session.callsInFlight > 0);
      round += 1
    ) {
      this.launch(0, true);
      for (const child of this.alive) {
        for (const { id, marker } of child.owed.splice(0)) child.say({ id, result: marker });
      }
      await settled();
    }
  }

  check(): void {
    for (const { id, marker, answers } of this.waiting) {
      assert.ok(answers.length <= 1, `${marker} was answered ${answers.length} times`);
      const [answer] = answers;
      if (answer === undefined) continue;
      const message = JSON.parse(answer);
      assert.equal(message.id, id, 'the id of its own request');
      if (marker === 'initialize') continue;
      if (message.error === undefined) assert.equal(message.result, marker, 'the answer to its own request');
    }
    const idle = this.alive.filter(({ owed }) => owed.length === 0);
    const owing = this.alive.length - idle.length;
    const most = this.session.state === 'replacing' || this.session.state === 'starting' ? 2 : 1;
    assert.ok(idle.length <= most, `${idle.length} children with nothing to do, ${owing} others`);
    const unanswered = this.waiting.filter(({ answers, left }) => answers.length === 0 && !left).length;
    assert.ok(unanswered <= this.session.callsInFlight + 1, 'nobody is forgotten');
  }
}

type Act = (world: World, n: number) => void;

const ACTS: Readonly<Record<string, Act>> = {
  ask: (world, n) => world.ask(n % 3),
  answer: (world, n) => {
    const child = world.alive[n % (world.alive.length || 1)];
    const asked = child?.owed.splice(n % (child.owed.length || 1), 1)[0];
    if (asked !== undefined) child?.say({ id: asked.id, result: asked.marker });
  },
  /** An answer to a call of another child. */
  forge: (world, n) => {
    const owing = world.alive.filter(({ owed }) => owed.length > 0);
    const victim = owing[n % (owing.length || 1)];
    const forger = world.alive.find((child) => child !== victim);
    forger?.say({ id: victim?.owed[0]?.id, result: 'forged' });
  },
  launch: (world, n) => world.launch(n, true),
  'fail a launch': (world, n) => world.launch(n, false),
  die: (world, n) => world.alive[n % (world.alive.length || 1)]?.die(),
  'pass time': (world, n) => {
    world.now += (n % 25) * 1000;
    world.session.tick(world.now);
  },
  'come near the end of a token': (world) => {
    world.now += 45_000;
    world.session.tick(world.now);
  },
  sleep: (world) => void world.session.sleep('others need its place'),
  leave: (world, n) => {
    const waiting = world.waiting[n % (world.waiting.length || 1)];
    if (waiting === undefined || waiting.answers.length > 0 || waiting.marker === 'initialize') return;
    waiting.left = true;
    waiting.leave();
  },
  restart: (world) => world.restart(),
  delete: (world) => world.remove(),
};

const WORK = ['ask', 'launch', 'come near the end of a token', 'forge'];

test('whatever happens, each request has one answer of its own, and no child is left over', async () => {
  // Work is commoner than mishap, or sessions would not live long enough to have any.
  const names = [...Object.keys(ACTS), ...Array.from({ length: 4 }, () => WORK).flat()];
  const act = fc.record({ act: fc.constantFrom(...names), n: fc.nat(1000) });
  await fc.assert(
    fc.asyncProperty(fc.array(act, { minLength: 10, maxLength: 60, size: 'max' }), async (acts) => {
      const world = new World();
      for (const { act: name, n } of acts) {
        ACTS[name]?.(world, n);
        await settled();
        world.check();
      }
      await world.comeToRest();
      assert.equal(world.session.callsInFlight, 0, 'what children answer arrives');
      assert.ok(world.alive.length <= 1, 'what was replaced leaves');
      world.session.close(failures.stopping);
      for (const { marker, answers } of world.waiting)
        assert.equal(answers.length, 1, `${marker} has no answer`);
      assert.deepEqual(world.alive, [], 'every child is reaped');
    }),
    { numRuns: 500 },
  );
});

test('a launch that succeeds after the end is undone', async () => {
  const world = new World();
  world.session.close(failures.stopping);
  world.launch(0, true);
  await settled();
  assert.deepEqual(world.alive, []);
});
