/** What is done to the broker and to what it lives on, in three lanes at once and to single children all the time. */
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { StandInForgejo } from '../../src/demo/forgejo/forgejo.js';
import { descendantsOf } from '../support/processes.js';
import { type BrokerProcess, processesMarked } from './broker.js';
import type { Chance } from './chance.js';
import type { Disk } from './disk.js';
import type { Ledger } from './ledger.js';
import type { User } from './load.js';
import { type Upstream, WEATHER } from './upstream.js';
import { HungUp, textOf, Wire } from './wire.js';
import { leaveAlone, newMarker } from './words.js';

export interface Stage {
  readonly broker: BrokerProcess;
  readonly forgejo: StandInForgejo;
  readonly upstream: Upstream;
  readonly disk: Disk;
  readonly ledger: Ledger;
  readonly users: readonly User[];
  readonly mcpUrl: string;
  /** In the command line of every child. */
  readonly mark: string;
  /** Until when Forgejo may refuse the token of a user's children. */
  readonly expired: Map<string, number>;
  readonly accessTokenSeconds: number;
  readonly say: (what: string) => void;
}

const LONGEST_CALL_MS = 10_000;
const RESTARTS = ['restart', 'kill9', 'hasty'] as const;
const HARMS = ['burst', 'flood', 'sloth', 'expiry'] as const;
/** By then the last process has begun whose memory is measured, and nothing more is done to it. */
const SHARE = { lives: 0.6, weather: 0.75, harms: 0.8, kills: 0.85 };

export class Chaos {
  readonly #stage: Stage;
  readonly #chance: Chance;
  /** The disk was full, and a refreshed token may still be in the memory of the broker alone. */
  #isUnsaved: boolean = false;

  constructor(stage: Stage, chance: Chance) {
    this.#stage = stage;
    this.#chance = chance;
  }

  async run(seconds: number): Promise<void> {
    const ms = (share: number) => seconds * share * 1000;
    await Promise.all([
      this.#lane(ms(SHARE.lives), 3000, ['disk', ...RESTARTS], (what) => this.#disturb(what)),
      this.#lane(ms(SHARE.weather), 2500, WEATHER, async (weather) => {
        const end = this.#stage.ledger.begin('forgejo');
        this.#stage.upstream.set(weather);
        await sleep(this.#chance.between(2500, 5000));
        this.#stage.upstream.set(undefined);
        this.#stage.forgejo.faults.hangUp();
        end();
      }),
      this.#lane(ms(SHARE.harms), 2500, HARMS, (harm) => this[harm]()),
      this.#killChildren(ms(SHARE.kills)),
    ]);
  }

  /** One after the other, each as often as the others, in an order of chance. */
  async #lane<Act extends string>(
    ms: number,
    pauseMs: number,
    acts: readonly Act[],
    perform: (act: Act) => Promise<void>,
  ): Promise<void> {
    const chance = this.#chance.fork();
    const end = Date.now() + ms;
    for (;;) {
      for (const act of chance.shuffled(acts)) {
        await sleep(chance.between(pauseMs / 2, pauseMs));
        if (Date.now() >= end) return;
        this.#stage.say(act);
        this.#stage.ledger.count(`event: ${act}`);
        await perform(act);
      }
    }
  }

  async #disturb(what: 'disk' | (typeof RESTARTS)[number]): Promise<void> {
    if (what === 'disk') return this.#fillDisk();
    if (what === 'kill9') {
      if (this.#isUnsaved) await this.#restart();
      return this.#kill9();
    }
    await this.#restart();
    if (what === 'hasty') await this.#restart(this.#chance.between(0, 600));
  }

  /** A graceful one; with `afterMs` of a broker that is still starting. */
  async #restart(afterMs?: number): Promise<void> {
    const { broker, ledger, upstream, say } = this.#stage;
    const end = ledger.begin('restart');
    if (afterMs !== undefined) {
      await broker.end('SIGTERM').then((ended) => this.#checkEnd(ended, [0]));
      upstream.beginLife();
      await broker.launch();
      await sleep(afterMs);
    }
    const ended = await broker.end('SIGTERM');
    // Before Node is up, nobody listens to signals.
    this.#checkEnd(ended, afterMs === undefined ? [0] : [0, 143]);
    say(`stopped after ${ended.tookMs} ms`);
    upstream.beginLife();
    await broker.start();
    this.#isUnsaved = false;
    end();
  }

  async #kill9(): Promise<void> {
    const { broker, ledger, upstream } = this.#stage;
    await upstream.shut(broker);
    const end = ledger.begin('kill9');
    this.#checkEnd(await broker.end('SIGKILL'), [137]);
    upstream.beginLife();
    await broker.start();
    upstream.open();
    end();
  }

  #checkEnd({ code, survivors }: { code: number; survivors: number }, expected: readonly number[]): void {
    const { ledger } = this.#stage;
    if (!expected.includes(code)) ledger.breach('an end with another exit code', `${code}, not ${expected}`);
    if (survivors > 0) ledger.breach('processes that outlived their broker', `${survivors}`);
  }

  async #fillDisk(): Promise<void> {
    const { broker, disk, ledger } = this.#stage;
    const end = ledger.begin('disk');
    this.#isUnsaved = true;
    disk.fill(broker.pid);
    await sleep(this.#chance.between(2000, 4000));
    disk.free(broker.pid);
    end();
  }

  async #killChildren(ms: number): Promise<void> {
    const chance = this.#chance.fork();
    const end = Date.now() + ms;
    const done = this.#stage.ledger.begin('kill');
    while (Date.now() < end) {
      await sleep(chance.between(400, 1200));
      this.#killChild(chance);
    }
    done();
  }

  #killChild(chance: Chance): void {
    const { broker, mark, ledger } = this.#stage;
    if (!broker.isUp) return;
    const family = new Set(descendantsOf(broker.pid).map(({ pid }) => pid));
    const children = processesMarked(mark).filter(
      ({ pid, command }) => family.has(pid) && command.includes(mark),
    );
    const victim = chance.pick(children.filter(({ command }) => !command.includes('fjmcp-guardian')));
    if (victim === undefined) return;
    try {
      process.kill(victim.pid, 'SIGKILL');
      ledger.count('children killed');
    } catch {
      // It has just ended by itself.
    }
  }

  async burst(): Promise<void> {
    for (let n = 0; n < 6; n += 1) this.#killChild(this.#chance);
  }

  /** Forgejo forgets the access tokens of some users, and nobody is told. */
  async expiry(): Promise<void> {
    const { forgejo, users, expired, accessTokenSeconds } = this.#stage;
    for (const { login } of this.#chance.shuffled(users).slice(0, 5)) {
      forgejo.control.expireAccessTokens(login);
      expired.set(login, Date.now() + accessTokenSeconds * 1000 + LONGEST_CALL_MS);
    }
  }

  /** Strangers with tokens that nobody issued, from many addresses. */
  async flood(): Promise<void> {
    const { mcpUrl, ledger } = this.#stage;
    const { origin, pathname } = new URL(mcpUrl);
    const strangers = Array.from({ length: 20 }, (_, n) => new Wire(origin, `198.51.100.${n}`));
    const guess = async (wire: Wire, n: number) => {
      const startedAt = Date.now();
      const token = ['fja_', 'fjr_', 'eyJ', ''][n % 4] + 'x'.repeat(n % 97);
      const tries = n % 5 === 0 ? 'token' : 'mcp';
      const form = `grant_type=refresh_token&client_id=${token}&refresh_token=fjr_${token}`;
      try {
        const response =
          tries === 'mcp'
            ? await wire.send('POST', pathname, { Authorization: `Bearer ${token}` }, '{}')
            : await wire.send(
                'POST',
                '/oauth/token',
                { 'Content-Type': 'application/x-www-form-urlencoded' },
                form,
              );
        await textOf(response);
        ledger.count('strangers refused');
        // 503: the refusal could not be noted in the trail.
        const expected = ledger.had(['disk'], startedAt) ? [401, 400, 429, 500, 503] : [401, 400, 429];
        if (!expected.includes(response.statusCode ?? 0))
          ledger.breach('a stranger who was not refused', `${tries}: ${response.statusCode}`);
      } catch (error) {
        const raced = error instanceof HungUp && ledger.had(['restart'], startedAt);
        if (!raced && !ledger.had(['kill9'], startedAt))
          ledger.breach('a stranger without an answer', String(error));
      }
    };
    await Promise.all(
      strangers.map(async (wire) => {
        for (let n = 0; n < 30; n += 1) await guess(wire, n);
        wire[Symbol.dispose]();
      }),
    );
  }

  /** A client that asks for much and reads nothing. */
  async sloth(): Promise<void> {
    const { users, mcpUrl } = this.#stage;
    const user = this.#chance.pick(users);
    const session = this.#chance.pick(user?.sessions ?? []);
    if (user === undefined || session === undefined) return;
    const { hostname, port, pathname, host } = new URL(mcpUrl);
    const sockets = Array.from({ length: 8 }, (_, n) => {
      const marker = newMarker('sloth');
      leaveAlone(marker);
      const params = { name: 'large', arguments: { marker, bytes: 3_000_000 } };
      const body = JSON.stringify({ jsonrpc: '2.0', id: n, method: 'tools/call', params });
      const head = [
        `POST ${pathname} HTTP/1.1`,
        `Host: ${host}`,
        `Authorization: Bearer ${user.access}`,
        `Mcp-Session-Id: ${session.id}`,
        'Content-Type: application/json',
        'Accept: application/json, text/event-stream',
        `Content-Length: ${Buffer.byteLength(body)}`,
      ];
      const socket = connect(Number(port), hostname);
      socket.on('error', () => undefined).pause();
      socket.write(`${head.join('\r\n')}\r\n\r\n${body}`);
      return socket;
    });
    await sleep(this.#chance.between(3000, 5000));
    for (const socket of sockets) socket.destroy();
  }
}
