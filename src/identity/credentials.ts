/**
 * A user's upstream token, always fresh: refreshed once at a time, the new pair stored before it is used.
 * Forgejo keeps exactly one refresh token alive per user and application, so a refresh must never be repeated, and a pair
 * that was received must never be lost: what the store cannot take, and whose user is not known yet, is remembered here.
 */
import { type Clock, DAY, MINUTE } from '../base/clock.js';
import { ExpiringMap } from '../base/expiring-map.js';
import type { UserId } from '../base/ids.js';
import { describeError, type Log } from '../base/log.js';
import type { LabelValues, Metrics, Tally } from '../base/metrics.js';
import { Secret } from '../base/secret.js';
import {
  type CredentialKeeper,
  IDENTITY_FAULTS,
  type IdentityFault,
  type IdentityProvider,
  isIdentityFault,
  type UpstreamTokens,
} from '../oauth/identity.js';
import type { Credential, CredentialStore, SealedCredential, UpstreamIdentity } from '../oauth/ports.js';
import type { KeyRing } from './sealing.js';

export interface FreshCredential {
  readonly tokens: UpstreamTokens;
  readonly identity: UpstreamIdentity;
}

export interface CredentialsDeps {
  readonly store: CredentialStore;
  readonly identity: IdentityProvider;
  readonly keys: KeyRing;
  /** Told when a user's credential died, so that the user's sessions end. */
  readonly onSignedOut: (userId: UserId) => void;
  readonly metrics: Metrics;
  readonly now: Clock;
  readonly log: Log;
}

/** A token this close to its end is refreshed first; short-lived ones when two thirds of their life are over. */
const REFRESH_MARGIN_MS = 5 * MINUTE;

/** `superseded`: the user signed in meanwhile. `unsaved`: the store could not take the new pair yet. */
const REFRESH = { outcome: ['refreshed', 'superseded', 'unsaved', ...IDENTITY_FAULTS] } as const;

/** Sign-ins of one user that are tried when the upstream refuses the stored pair. */
const MAX_SIGN_INS = 3;
const MAX_REMEMBERED = 2000;

export class Credentials implements CredentialKeeper, AsyncDisposable {
  readonly #deps: CredentialsDeps;
  readonly #refreshes: (values: LabelValues<typeof REFRESH>) => Tally;
  /** Refreshed pairs that the store could not take yet. */
  readonly #unsaved = new Map<UserId, { readonly version: number; readonly sealed: SealedCredential }>();
  /** The same of sign-ins, by whose they are. */
  readonly #unkept = new Map<string, { readonly of: UpstreamIdentity; readonly tokens: UpstreamTokens }>();
  /** Pairs of sign-ins that are not, or could not be, identified yet, and when to give them up. */
  readonly #unidentified = new Map<UpstreamTokens, number>();
  /**
   * Two sign-ins of one user at once may reach Forgejo in one order and come back in the other. Then the pair that lives
   * is not the one that was stored, and nothing but Forgejo's answer to it can tell.
   */
  readonly #signIns: ExpiringMap<string, readonly UpstreamTokens[]>;
  /** Codes at Forgejo: it may have killed the pair of any user for one that is on its way here. */
  #redeeming = 0;
  #settling: Promise<void> | undefined;
  readonly #refreshing = new Map<UserId, Promise<FreshCredential | IdentityFault>>();

  constructor(deps: CredentialsDeps) {
    this.#deps = deps;
    const help = 'Refreshes of upstream tokens, by how they ended.';
    this.#refreshes = deps.metrics.counter('fjmcp_upstream_refreshes_total', help, REFRESH);
    for (const outcome of REFRESH.outcome) this.#refreshes({ outcome });
    this.#signIns = new ExpiringMap({ now: deps.now, ttlMs: DAY, capacity: MAX_REMEMBERED });
  }

  async redeem(code: string, verifier: string): Promise<UpstreamTokens | IdentityFault> {
    this.#redeeming += 1;
    try {
      const tokens = await this.#deps.identity.redeemCode(code, verifier);
      if (!isIdentityFault(tokens)) this.#rememberUnidentified(tokens);
      return tokens;
    } finally {
      this.#redeeming -= 1;
    }
  }

  receive(identity: UpstreamIdentity, tokens: UpstreamTokens): SealedCredential {
    this.#unidentified.delete(tokens);
    const key = keyOf(identity);
    const others = (this.#signIns.get(key) ?? []).filter((other) => other !== tokens);
    this.#signIns.set(key, [tokens, ...others].slice(0, MAX_SIGN_INS));
    return this.#deps.keys.seal(identity, tokens);
  }

  remember(identity: UpstreamIdentity, tokens: UpstreamTokens): void {
    this.#unidentified.delete(tokens);
    const key = keyOf(identity);
    const known = this.#unkept.get(key);
    if (known === undefined || known.tokens.issuedAt < tokens.issuedAt)
      this.#unkept.set(key, { of: identity, tokens });
  }

  async keep(identity: UpstreamIdentity, tokens: UpstreamTokens): Promise<void> {
    this.remember(identity, tokens);
    try {
      await this.#keepRemembered(identity);
    } catch (error) {
      this.#deps.log.error('credential.unsaved', { error: describeError(error) });
    }
  }

  #rememberUnidentified(tokens: UpstreamTokens): void {
    for (const oldest of this.#unidentified.keys()) {
      if (this.#unidentified.size < MAX_REMEMBERED) break;
      this.#unidentified.delete(oldest);
    }
    this.#unidentified.set(tokens, this.#deps.now() + DAY);
  }

  /** Tries again whatever is remembered here; the broker calls it every minute. */
  settle(): Promise<void> {
    this.#settling ??= this.#settle().finally(() => {
      this.#settling = undefined;
    });
    return this.#settling;
  }

  async #settle(): Promise<void> {
    this.#signIns.sweep();
    for (const [tokens, until] of [...this.#unidentified]) {
      this.#unidentified.delete(tokens);
      if (until <= this.#deps.now()) continue;
      const left = await this.#identify(tokens);
      if (left === undefined) continue;
      // Behind the others: one that nothing can be learnt of must not stand in their way.
      this.#unidentified.set(left, until);
      break;
    }
    await this.#storeAll();
  }

  async #storeAll(): Promise<void> {
    for (const { of } of [...this.#unkept.values()]) await this.#keepRemembered(of);
    for (const userId of [...this.#unsaved.keys()]) await this.#save(userId);
  }

  /** The last chance of what the store could not take. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#storeAll().catch((error: unknown) =>
      this.#deps.log.error('credential.lost', { error: describeError(error) }),
    );
  }

  /** What is still to be identified, if the upstream does not say. */
  async #identify(received: UpstreamTokens): Promise<UpstreamTokens | undefined> {
    const { identity, now, log } = this.#deps;
    const { refresh, expiresAt } = received;
    const tokens = refresh && expiresAt <= now() ? await identity.refresh(refresh) : received;
    const user = isIdentityFault(tokens) ? tokens : await identity.identify(tokens.access);
    if (!isIdentityFault(tokens) && !isIdentityFault(user)) {
      this.receive(user, tokens);
      await this.keep(user, tokens);
      log.info('credential.identified');
      return undefined;
    }
    if (isIdentityFault(user) && ['unreachable', 'misconfigured'].includes(user.kind))
      return isIdentityFault(tokens) ? received : tokens;
    log.warn(
      'credential.unidentified',
      isIdentityFault(user) ? { kind: user.kind, detail: user.detail } : {},
    );
    return undefined;
  }

  /** A token good for a while. Callers that come together share one refresh. */
  async fresh(userId: UserId): Promise<FreshCredential | IdentityFault> {
    const running = this.#refreshing.get(userId);
    if (running !== undefined) return running;
    const current = await this.#read(userId);
    if (isIdentityFault(current) || this.#isFresh(current.tokens)) return current;
    // Asked again: while the store answered, another caller may have begun.
    const begun = this.#refreshing.get(userId);
    if (begun !== undefined) return begun;
    const refresh = this.#refresh(userId).finally(() => this.#refreshing.delete(userId));
    this.#refreshing.set(userId, refresh);
    return refresh;
  }

  async #refresh(userId: UserId): Promise<FreshCredential | IdentityFault> {
    const { identity, keys, now, log } = this.#deps;
    const current = await this.#read(userId);
    if (isIdentityFault(current) || this.#isFresh(current.tokens)) return current;
    const { tokens, credential } = current;
    const next = await this.#renew(tokens, credential);
    if (isIdentityFault(next)) {
      this.#refreshes({ outcome: next.kind }).add();
      if (next.kind === 'signed_out') {
        // Forgejo may have killed this pair for one that is only remembered.
        await this.settle();
        if (this.#unidentified.size + this.#redeeming > 0)
          return { kind: 'unreachable', detail: `${next.detail}; a sign-in is not identified yet` };
        const dead = await this.#retire(credential, next.detail);
        // Not retired: someone signed in meanwhile, and that credential lives.
        return dead ?? this.#read(userId);
      }
      log.warn('credential.refresh_failed', { user: userId, kind: next.kind, detail: next.detail });
      return tokens.expiresAt > now() ? current : next;
    }
    // Forgejo has burned the old pair by now: if the store fails, the new one must not be lost with it.
    this.#unsaved.set(userId, { version: credential.version, sealed: keys.seal(credential.identity, next) });
    const stored = await this.#save(userId).catch((error: unknown) => {
      this.#refreshes({ outcome: 'unsaved' }).add();
      throw error;
    });
    if (!stored) {
      // Someone signed in meanwhile: theirs is the living one.
      this.#refreshes({ outcome: 'superseded' }).add();
      return this.#read(userId);
    }
    // Forgejo refreshes for barred accounts too; only /api/v1/user tells.
    const user = await identity.identify(next.access);
    if (isIdentityFault(user) && (user.kind === 'barred' || user.kind === 'not_allowed')) {
      this.#refreshes({ outcome: user.kind }).add();
      await this.#retire({ ...credential, version: credential.version + 1 }, user.detail);
      return user;
    }
    this.#refreshes({ outcome: 'refreshed' }).add();
    log.info('credential.refreshed', { user: userId });
    return { tokens: next, identity: credential.identity };
  }

  /** With the stored pair or, when Forgejo refuses it, that of another late sign-in. Refused ones do no harm. */
  async #renew(
    { refresh }: UpstreamTokens,
    { identity }: Credential,
  ): Promise<UpstreamTokens | IdentityFault> {
    const key = keyOf(identity);
    const others = (this.#signIns.get(key) ?? []).map((tokens) => tokens.refresh?.reveal());
    let answer: UpstreamTokens | IdentityFault = { kind: 'signed_out', detail: 'no refresh token was given' };
    for (const text of new Set([refresh?.reveal(), ...others])) {
      if (text === undefined) continue;
      const next = await this.#deps.identity.refresh(new Secret(text));
      if (isIdentityFault(next) && next.kind === 'signed_out') {
        answer = next;
        continue;
      }
      // It is the only one alive now.
      if (!isIdentityFault(next)) this.#signIns.delete(key);
      return next;
    }
    return answer;
  }

  /** Whether there was something to be stored. */
  async #keepRemembered(identity: UpstreamIdentity): Promise<boolean> {
    const { store, keys } = this.#deps;
    const key = keyOf(identity);
    const remembered = this.#unkept.get(key);
    if (remembered === undefined) return false;
    await store.keepCredential(remembered.of, keys.seal(remembered.of, remembered.tokens));
    if (this.#unkept.get(key) === remembered) this.#unkept.delete(key);
    return true;
  }

  async #save(userId: UserId): Promise<boolean> {
    const unsaved = this.#unsaved.get(userId);
    if (unsaved === undefined) return false;
    const stored = await this.#deps.store.replaceCredential(userId, unsaved.version, unsaved.sealed);
    this.#unsaved.delete(userId);
    return stored;
  }

  async #read(
    userId: UserId,
  ): Promise<(FreshCredential & { readonly credential: Credential }) | IdentityFault> {
    const { store, keys, log } = this.#deps;
    await this.#save(userId);
    let credential = await store.findCredential(userId);
    if (credential !== undefined && (await this.#keepRemembered(credential.identity)))
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

  #isFresh({ issuedAt, expiresAt }: UpstreamTokens): boolean {
    return expiresAt - this.#deps.now() > Math.min(REFRESH_MARGIN_MS, (expiresAt - issuedAt) / 3);
  }

  /**
   * From now on the user's grants answer 401, until the user signs in again with any client.
   * Nothing, when the credential was replaced meanwhile.
   */
  async #retire(
    { userId, version, identity }: Credential,
    detail: string,
  ): Promise<IdentityFault | undefined> {
    if (!(await this.#deps.store.retireCredential(userId, version))) return undefined;
    this.#signIns.delete(keyOf(identity));
    this.#deps.log.warn('credential.dead', { user: userId, detail });
    this.#deps.onSignedOut(userId);
    return { kind: 'signed_out', detail };
  }
}

function keyOf({ issuer, subject }: UpstreamIdentity): string {
  return `${issuer}\n${subject}`;
}
