/**
 * A user's upstream token, always fresh: refreshed once at a time, the new pair stored before it is used.
 * Forgejo keeps exactly one refresh token alive per user and application, so an answer to a refresh must never be lost: it
 * is waited for longer than its callers wait, also at the broker's end, and what the store cannot take is remembered.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { type Clock, MINUTE, SECOND } from '../base/clock.js';
import type { Randomness, UserId } from '../base/ids.js';
import { describeError, type Log } from '../base/log.js';
import type { LabelValues, Metrics, Tally } from '../base/metrics.js';
import { Secret } from '../base/secret.js';
import type { Audit } from '../oauth/audit.js';
import {
  IDENTITY_FAULTS,
  type IdentityFault,
  type IdentityProvider,
  isIdentityFault,
  type UpstreamTokens,
} from '../oauth/identity.js';
import type { Credential, CredentialStore, UpstreamIdentity } from '../oauth/ports.js';
import { Backoff } from './backoff.js';
import type { KeyRing } from './sealing.js';
import type { Unsaved } from './unsaved.js';

export interface FreshCredential {
  readonly tokens: UpstreamTokens;
  readonly identity: UpstreamIdentity;
}

/** Real time: what is waited for happens outside. */
export interface CredentialTiming {
  /** How long a caller waits for a refresh, which goes on without it. */
  readonly patienceMs: number;
  /** How long another broker on this database may need to store the pair that it received. */
  readonly othersMs: number;
}

export interface CredentialsDeps {
  readonly store: CredentialStore;
  readonly identity: IdentityProvider;
  readonly keys: KeyRing;
  readonly unsaved: Unsaved;
  /** Told when a user's credential died, and why, so that the user's sessions end. */
  readonly onSignedOut: (userId: UserId, fault: IdentityFault) => void;
  readonly audit: Audit;
  readonly metrics: Metrics;
  readonly now: Clock;
  readonly random: Randomness;
  readonly log: Log;
  readonly timing?: CredentialTiming;
}

const TIMING: CredentialTiming = { patienceMs: 10 * SECOND, othersMs: SECOND / 2 };

/** A token this close to its end is refreshed first; short-lived ones when two thirds of their life are over. */
const REFRESH_MARGIN_MS = 5 * MINUTE;

/** `superseded`: the user signed in meanwhile. `unsaved`: the store could not take the new pair yet. */
const REFRESH = { outcome: ['refreshed', 'superseded', 'unsaved', ...IDENTITY_FAULTS] } as const;

type Stored = FreshCredential & { readonly credential: Credential };

interface Refresh {
  readonly outcome: Promise<FreshCredential | IdentityFault>;
  /** Settles when callers have waited long enough. */
  readonly patience: Promise<undefined>;
  readonly before: FreshCredential;
}

/** When a token should make room for the next one: a child that begins with it now may work until its end. */
export function freshUntil({ issuedAt, expiresAt }: UpstreamTokens): number {
  return expiresAt - Math.min(REFRESH_MARGIN_MS, (expiresAt - issuedAt) / 3);
}

export class Credentials implements AsyncDisposable {
  readonly #deps: CredentialsDeps;
  readonly #timing: CredentialTiming;
  readonly #refreshes: (values: LabelValues<typeof REFRESH>) => Tally;
  readonly #backoff: Backoff;
  readonly #refreshing = new Map<UserId, Refresh>();
  /** Those of whom Forgejo did not say, after a refresh, whether the account may still be used. */
  readonly #unchecked = new Set<UserId>();

  constructor(deps: CredentialsDeps) {
    this.#deps = deps;
    this.#timing = deps.timing ?? TIMING;
    this.#backoff = new Backoff(deps.now, deps.random);
    const help = 'Refreshes of upstream tokens, by how they ended.';
    this.#refreshes = deps.metrics.counter('fjmcp_upstream_refreshes_total', help, REFRESH);
    for (const outcome of REFRESH.outcome) this.#refreshes({ outcome });
  }

  /** A token good for a while. Callers that come together share one refresh. */
  async fresh(userId: UserId): Promise<FreshCredential | IdentityFault> {
    const running = this.#refreshing.get(userId);
    if (running !== undefined) return this.#inTime(running);
    const current = await this.#read(userId);
    if (isIdentityFault(current) || this.#isGood(current)) return current;
    // Asked again: while the store answered, another caller may have begun.
    const begun = this.#refreshing.get(userId);
    if (begun !== undefined) return this.#inTime(begun);
    const early = this.#backoff.holdsBack(userId);
    return early === undefined
      ? this.#inTime(this.#begin(userId, current))
      : this.#unlessAlive(current, early);
  }

  /** The answers on their way are waited for: with them the users' tokens would be lost. */
  async [Symbol.asyncDispose](): Promise<void> {
    const running = [...this.#refreshing.values()];
    await Promise.allSettled(running.map(({ outcome, patience }) => Promise.race([outcome, patience])));
  }

  #begin(userId: UserId, before: FreshCredential): Refresh {
    const { log } = this.#deps;
    const outcome = this.#refresh(userId).finally(() => this.#refreshing.delete(userId));
    const patience = new Promise<undefined>((resolve) => {
      const timer = setTimeout(() => {
        log.warn('credential.refresh_slow', { user: userId });
        outcome.catch((error: unknown) =>
          log.error('credential.unsaved', { user: userId, error: describeError(error) }),
        );
        resolve(undefined);
      }, this.#timing.patienceMs);
      const settled = () => clearTimeout(timer);
      outcome.then(settled, settled);
    });
    const refresh = { outcome, patience, before };
    this.#refreshing.set(userId, refresh);
    return refresh;
  }

  async #inTime({ outcome, patience, before }: Refresh): Promise<FreshCredential | IdentityFault> {
    const answer = await Promise.race([outcome, patience]);
    const detail = 'the refresh is not answered yet';
    return answer ?? this.#unlessAlive(before, { kind: 'unreachable', detail, retryAfterMs: SECOND });
  }

  async #refresh(userId: UserId): Promise<FreshCredential | IdentityFault> {
    const current = await this.#read(userId);
    if (isIdentityFault(current) || this.#isGood(current)) return current;
    if (this.#isFresh(current)) return this.#check(current);
    const next = await this.#backoff.ask(userId, () => this.#renew(current));
    if (!isIdentityFault(next)) return this.#take(current, next);
    return next.kind === 'signed_out' ? this.#lose(current, next) : this.#unlessAlive(current, next);
  }

  /** With the stored pair or, when Forgejo refuses it, that of another late sign-in. Refused ones do no harm. */
  async #renew({ tokens, credential }: Stored): Promise<UpstreamTokens | IdentityFault> {
    const { identity, unsaved, log } = this.#deps;
    const others = unsaved.signInsOf(credential.identity).map(({ refresh }) => refresh?.reveal());
    let answer: IdentityFault = { kind: 'signed_out', detail: 'no refresh token was given' };
    for (const text of new Set([tokens.refresh?.reveal(), ...others])) {
      if (text === undefined) continue;
      const next = await identity.refresh(new Secret(text));
      if (!isIdentityFault(next)) {
        // It is the only one alive now.
        unsaved.forgetSignIns(credential.identity);
        return next;
      }
      answer = next;
      if (next.kind !== 'signed_out') break;
    }
    const { kind, detail } = answer;
    this.#refreshes({ outcome: kind }).add();
    if (kind !== 'signed_out')
      log.warn('credential.refresh_failed', { user: credential.userId, kind, detail });
    return answer;
  }

  /** Forgejo has burned the old pair by now: if the store fails, the new one must not be lost with it. */
  async #take({ credential }: Stored, tokens: UpstreamTokens): Promise<FreshCredential | IdentityFault> {
    const { unsaved, log } = this.#deps;
    const { userId, identity, version } = credential;
    const stored = await unsaved.saveRefreshed(credential, tokens).catch((error: unknown) => {
      this.#refreshes({ outcome: 'unsaved' }).add();
      throw error;
    });
    if (!stored) {
      // Someone signed in meanwhile: theirs is the living one.
      this.#refreshes({ outcome: 'superseded' }).add();
      return this.#read(userId);
    }
    this.#unchecked.add(userId);
    const checked = await this.#check({
      tokens,
      identity,
      credential: { ...credential, version: version + 1 },
    });
    if (isIdentityFault(checked)) return checked;
    this.#refreshes({ outcome: 'refreshed' }).add();
    log.info('credential.refreshed', { user: userId });
    return checked;
  }

  /** Forgejo refreshes for barred accounts too; only /api/v1/user tells. */
  async #check(current: Stored): Promise<FreshCredential | IdentityFault> {
    const { userId } = current.credential;
    const user = await this.#deps.identity.identify(current.tokens.access);
    if (isIdentityFault(user) && (user.kind === 'barred' || user.kind === 'not_allowed')) {
      return this.#bar(current.credential, user);
    }
    if (isIdentityFault(user) && user.kind === 'unreachable') this.#backoff.failed(userId, user);
    else this.#unchecked.delete(userId);
    return current;
  }

  /** Forgejo says that the pair is dead. It may have killed it for one that is on its way to the store. */
  async #lose(current: Stored, fault: IdentityFault): Promise<FreshCredential | IdentityFault> {
    const { unsaved, store } = this.#deps;
    const { credential } = current;
    const { userId, version } = credential;
    await unsaved.redeemed();
    await unsaved.settle();
    if (unsaved.holdsStrangers) {
      const detail = `${fault.detail}; a sign-in is not identified yet`;
      return this.#unlessAlive(current, this.#backoff.failed(userId, { kind: 'unreachable', detail }));
    }
    if ((await store.findCredential(userId))?.version === version) await delay(this.#timing.othersMs);
    const dead = await this.#retire(credential, fault);
    // Not retired: someone signed in meanwhile, and that credential lives.
    return dead ?? this.#read(userId);
  }

  async #read(userId: UserId): Promise<Stored | IdentityFault> {
    const { store, keys, unsaved, log } = this.#deps;
    await unsaved.save(userId);
    let credential = await store.findCredential(userId);
    if (credential !== undefined && (await unsaved.saveSignIn(credential.identity)))
      credential = await store.findCredential(userId);
    if (credential === undefined || credential.state === 'dead') {
      return { kind: 'signed_out', detail: 'no living credential' };
    }
    const tokens = keys.open(credential);
    if (tokens === undefined) {
      // Left as it is: the operator may bring the key back. Until then the user has to sign in again.
      log.error('credential.sealed', {
        user: userId,
        key: credential.keyId,
        remedy: 'BROKER_ENCRYPTION_KEY',
      });
      return { kind: 'signed_out', detail: 'no key of the ring opens the credential' };
    }
    return { tokens, identity: credential.identity, credential };
  }

  #isGood(current: Stored): boolean {
    return this.#isFresh(current) && !this.#unchecked.has(current.credential.userId);
  }

  #isFresh({ tokens }: FreshCredential): boolean {
    return this.#deps.now() < freshUntil(tokens);
  }

  /** A token in its last minutes is better than none. */
  #unlessAlive(current: FreshCredential, fault: IdentityFault): FreshCredential | IdentityFault {
    return current.tokens.expiresAt > this.#deps.now() ? current : fault;
  }

  /**
   * From now on the user's grants answer 401, until the user signs in again with any client.
   * Nothing, when the credential was replaced meanwhile.
   */
  async #retire(
    { userId, version, identity }: Credential,
    fault: IdentityFault,
  ): Promise<IdentityFault | undefined> {
    const { store, unsaved, log, onSignedOut } = this.#deps;
    if (!(await store.retireCredential(userId, version))) return undefined;
    unsaved.forgetSignIns(identity);
    log.warn('credential.dead', { user: userId, detail: fault.detail });
    onSignedOut(userId, fault);
    return fault;
  }

  /** The account may not be used here any more: all that its user allowed ends, and only a new sign-in brings it back. */
  async #bar(
    { userId, version, identity }: Credential,
    fault: IdentityFault,
  ): Promise<FreshCredential | IdentityFault> {
    const { store, unsaved, audit, log, onSignedOut } = this.#deps;
    this.#refreshes({ outcome: fault.kind }).add();
    const ended = await store.barUser(userId, version);
    this.#unchecked.delete(userId);
    if (ended === undefined) return this.#read(userId);
    unsaved.forgetSignIns(identity);
    log.warn('credential.dead', { user: userId, detail: fault.detail });
    onSignedOut(userId, fault);
    const reason = fault.kind;
    await audit('user.revoked', { user: userId, reason });
    for (const { id, clientId } of ended) {
      await audit('grant.revoked', { user: userId, client: clientId, grant: id, reason });
    }
    return fault;
  }
}
