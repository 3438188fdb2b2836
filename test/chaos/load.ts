/**
 * Users with clients as they really are: each keeps its session ids and tokens, refreshes when it is told 401, calls in
 * parallel, and never begins a session anew unless it is told 404, which must never happen. One client of each user is of
 * the modern era and has no session.
 */
import type { IncomingMessage, OutgoingHttpHeaders } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Person } from '../support/browser.js';
import type { Discovery, RegisteredClient, Tokens } from '../support/oauth-client.js';
import { authorize, register } from '../support/oauth-client.js';
import type { Chance } from './chance.js';
import { Conversation } from './conversation.js';
import type { Ledger } from './ledger.js';
import { ModernClient } from './modern.js';
import { HungUp, textOf, Wire } from './wire.js';

export interface UserOptions {
  readonly discovery: Discovery;
  readonly person: Person;
  readonly address: string;
  readonly chance: Chance;
  readonly ledger: Ledger;
  /** Whether `login` may hear from Forgejo that a token has expired, because we said so. */
  readonly isExpired: (login: string) => boolean;
}

const RETRY_MS = 500;
const MAX_TRIES = 120;
const MAX_REFUSALS = 5;
const SESSIONS = { least: 1, most: 2 };
/** How likely a user begins another session for one call, and ends it. */
const VISIT = 0.02;
/** A pause that is longer than children may be idle. */
const NAP = { probability: 0.04, least: 2500, most: 4000 };

export class User implements Disposable {
  readonly wire: Wire;
  readonly options: UserOptions;
  readonly sessions: Conversation[] = [];
  readonly modern: ModernClient;
  /** Half of the applications refresh in parallel with themselves, without a lock. */
  readonly #refreshesAlone: boolean;
  readonly #client: RegisteredClient;
  #tokens: Tokens;
  #refreshing: Promise<boolean> | undefined;
  #isSignedOut: boolean = false;

  private constructor(options: UserOptions, client: RegisteredClient, tokens: Tokens) {
    this.options = options;
    this.#client = client;
    this.#tokens = tokens;
    this.#refreshesAlone = options.chance.is(0.5);
    this.wire = new Wire(new URL(options.discovery.resource.resource).origin, options.address);
    this.modern = new ModernClient(this, `${this.login}/modern`);
  }

  static async signIn(options: UserOptions): Promise<User> {
    const client = await register(options.discovery);
    const user = new User(options, client, await authorize(options.discovery, client, options.person));
    const count = options.chance.between(SESSIONS.least, SESSIONS.most);
    for (let n = 1; n <= count; n += 1)
      user.sessions.push(await Conversation.open(user, `${user.login}/${n}`));
    return user;
  }

  get login(): string {
    return this.options.person.login;
  }

  get access(): string {
    return this.#tokens.access_token;
  }

  /** After a 401 with `refused`. False when only a person at a browser could help. */
  async refresh(refused: string): Promise<boolean> {
    if (this.#isSignedOut) return false;
    if (refused !== this.access) return true;
    if (!this.#refreshesAlone) return this.#refresh();
    this.#refreshing ??= this.#refresh().finally(() => {
      this.#refreshing = undefined;
    });
    return this.#refreshing;
  }

  async #refresh(): Promise<boolean> {
    const { ledger } = this.options;
    const startedAt = Date.now();
    const form = {
      grant_type: 'refresh_token',
      refresh_token: this.#tokens.refresh_token ?? '',
      client_id: this.#client.clientId,
    };
    const headers = { 'Content-Type': 'application/x-www-form-urlencoded' };
    for (let attempt = 1; attempt <= MAX_TRIES; attempt += 1) {
      try {
        const response = await this.wire.send(
          'POST',
          '/oauth/token',
          headers,
          `${new URLSearchParams(form)}`,
        );
        const text = await textOf(response);
        if (response.statusCode === 200) {
          ledger.count('tokens refreshed by clients');
          this.#tokens = JSON.parse(text) as Tokens;
          return true;
        }
        if (response.statusCode !== 503 || !ledger.had(['disk'], startedAt)) {
          this.#isSignedOut = true;
          ledger.breach(
            'a user would have to sign in again',
            `${this.login}: ${response.statusCode} ${text}`,
          );
          return false;
        }
        ledger.count('refreshes put off by a full disk');
      } catch (error) {
        const raced = error instanceof HungUp && ledger.had(['restart'], startedAt);
        if (!raced && !ledger.had(['kill9'], startedAt))
          ledger.breach('a refresh without a connection', `${this.login}: ${error}`);
      }
      await sleep(RETRY_MS);
    }
    ledger.breach('a refresh that never came through', this.login);
    return false;
  }

  /** To the MCP endpoint, with a fresh token when the one it has is refused. */
  async send(
    method: string,
    headers: OutgoingHttpHeaders,
    body?: string,
    signal?: AbortSignal,
  ): Promise<IncomingMessage> {
    const { pathname } = new URL(this.options.discovery.resource.resource);
    for (let attempt = 1; ; attempt += 1) {
      const { access } = this;
      const own = { ...headers, Authorization: `Bearer ${access}` };
      const response = await this.wire.send(method, pathname, own, body, signal);
      if (response.statusCode !== 401 || attempt === MAX_REFUSALS) return response;
      response.resume();
      if (!(await this.refresh(access))) return response;
    }
  }

  /** Uses its sessions, and its client without one, until `stop`. */
  async live(stop: AbortSignal): Promise<void> {
    await Promise.all([...this.sessions, this.modern].map((client) => this.#use(client, stop)));
  }

  async #use(client: Conversation | ModernClient, stop: AbortSignal): Promise<void> {
    const { chance } = this.options;
    const streaming = client === this.modern || chance.is(0.5) ? client.keepListening(stop) : undefined;
    while (!stop.aborted) {
      await Promise.all(Array.from({ length: chance.between(1, 3) }, () => client.callAnything(chance)));
      if (chance.is(VISIT)) await this.#visit();
      if (chance.is(VISIT)) await this.refresh(this.access);
      const pause = chance.is(NAP.probability)
        ? chance.between(NAP.least, NAP.most)
        : chance.between(30, 500);
      await sleep(pause, undefined, { signal: stop }).catch(() => undefined);
    }
    await streaming;
  }

  async #visit(): Promise<void> {
    const session = await Conversation.tryToOpen(this, `${this.login}/visit`);
    if (session === undefined) return;
    await session.call('echo', {});
    await session.end();
  }

  [Symbol.dispose](): void {
    this.wire[Symbol.dispose]();
  }
}
