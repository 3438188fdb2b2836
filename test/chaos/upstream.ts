/** What is wrong with Forgejo at the moment, and a gate before its token endpoint for moments when no token may be on its way. */
import type { StandInForgejo } from '../../src/demo/forgejo/forgejo.js';
import { until } from '../fixtures/until.js';
import type { BrokerProcess } from './broker.js';

export const WEATHER = ['slow', 'late', 'badGateway', 'reset', 'hang', 'garble'] as const;
export type Weather = (typeof WEATHER)[number];

const TOKEN_PATH = '/login/oauth/access_token';
/** Less than the broker is willing to wait: a lost answer to a refresh costs the user the sign-in, by Forgejo's rules. */
const SLOW_MS = 2500;
/** A refresh that hangs is given up before. */
const QUIET_MS = 15_000;

export class Upstream {
  readonly #forgejo: StandInForgejo;
  #weather: Weather | undefined;
  #isShut: boolean = false;
  /** Token requests that came before the present life of the broker. */
  #before = 0;

  constructor(forgejo: StandInForgejo) {
    this.#forgejo = forgejo;
  }

  set(weather: Weather | undefined): void {
    this.#weather = weather;
    this.#apply();
  }

  /** The broker that begins now has asked for no token yet. */
  beginLife(): void {
    this.#before = this.#forgejo.faults.count(TOKEN_PATH);
  }

  /**
   * Until it is opened again no token is refreshed, and none is under way: a broker that were killed between Forgejo's
   * answer and the store would leave a user who has to sign in again, and nobody can prevent that.
   */
  async shut(broker: BrokerProcess): Promise<void> {
    this.#isShut = true;
    this.#apply();
    await until('a moment without a refresh', async () => (await this.#refreshesOf(broker)) === 0, QUIET_MS);
  }

  open(): void {
    this.#isShut = false;
    this.#apply();
  }

  async #refreshesOf(broker: BrokerProcess): Promise<number> {
    const asked = this.#forgejo.faults.count(TOKEN_PATH) - this.#before;
    const ended = [...(await broker.scrape())]
      .filter(([name]) => name.startsWith('fjmcp_upstream_refreshes_total'))
      .reduce((sum, [, value]) => sum + value, 0);
    return asked - ended;
  }

  #apply(): void {
    const { faults } = this.#forgejo;
    faults.clear();
    if (this.#weather === 'slow' || this.#weather === 'late') faults[this.#weather](SLOW_MS);
    else if (this.#weather !== undefined) faults[this.#weather]();
    if (this.#isShut) faults.reset(TOKEN_PATH);
  }
}
