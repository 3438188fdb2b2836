/**
 * Upstream pairs that were received and are not stored yet: the store could not take them, or whose they are is not
 * known. Forgejo killed the older ones of that user, so that losing one of these would log out every client of the user.
 */
import { type Clock, DAY } from '../base/clock.js';
import { ExpiringMap } from '../base/expiring-map.js';
import type { UserId } from '../base/ids.js';
import { describeError, type Log } from '../base/log.js';
import {
  type CredentialKeeper,
  type IdentityFault,
  type IdentityProvider,
  isIdentityFault,
  type UpstreamTokens,
} from '../oauth/identity.js';
import type { Credential, CredentialStore, SealedCredential, UpstreamIdentity } from '../oauth/ports.js';
import type { KeyRing } from './sealing.js';

export interface UnsavedDeps {
  readonly store: CredentialStore;
  readonly identity: IdentityProvider;
  readonly keys: KeyRing;
  readonly now: Clock;
  readonly log: Log;
}

/** Sign-ins of one user that are tried when the upstream refuses the stored pair. */
const MAX_SIGN_INS = 3;
const MAX_REMEMBERED = 2000;

export class Unsaved implements CredentialKeeper, AsyncDisposable {
  readonly #deps: UnsavedDeps;
  /** Refreshed pairs that the store could not take yet. */
  readonly #refreshed = new Map<UserId, { readonly version: number; readonly sealed: SealedCredential }>();
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
  readonly #redeeming = new Set<Promise<unknown>>();
  #settling: Promise<void> | undefined;

  constructor(deps: UnsavedDeps) {
    this.#deps = deps;
    this.#signIns = new ExpiringMap({ now: deps.now, ttlMs: DAY, capacity: MAX_REMEMBERED });
  }

  /** Whether the living pair of any user may be among those whose owner is not known yet. */
  get holdsStrangers(): boolean {
    return this.#unidentified.size > 0;
  }

  /**
   * Ends when the codes that are at Forgejo by now are answered. Later ones do not matter to who waits, and anybody can send
   * made-up ones without end.
   */
  async redeemed(): Promise<void> {
    await Promise.allSettled(this.#redeeming);
  }

  async redeem(code: string, verifier: string): Promise<UpstreamTokens | IdentityFault> {
    const redeeming = this.#redeem(code, verifier);
    this.#redeeming.add(redeeming);
    try {
      return await redeeming;
    } finally {
      this.#redeeming.delete(redeeming);
    }
  }

  async #redeem(code: string, verifier: string): Promise<UpstreamTokens | IdentityFault> {
    const tokens = await this.#deps.identity.redeemCode(code, verifier);
    if (!isIdentityFault(tokens)) this.#rememberUnidentified(tokens);
    return tokens;
  }

  receive(identity: UpstreamIdentity, tokens: UpstreamTokens): SealedCredential {
    this.#unidentified.delete(tokens);
    const key = keyOf(identity);
    const others = this.signInsOf(identity).filter((other) => other !== tokens);
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
      await this.saveSignIn(identity);
    } catch (error) {
      this.#deps.log.error('credential.unsaved', { error: describeError(error) });
    }
  }

  /** The pairs of late sign-ins of this user, the newest first. */
  signInsOf(identity: UpstreamIdentity): readonly UpstreamTokens[] {
    return this.#signIns.get(keyOf(identity)) ?? [];
  }

  /** None of them is alive any more. */
  forgetSignIns(identity: UpstreamIdentity): void {
    this.#signIns.delete(keyOf(identity));
  }

  /** Stores the pair that a refresh brought; false when the user signed in meanwhile. If the store fails, it stays here. */
  saveRefreshed({ userId, version, identity }: Credential, tokens: UpstreamTokens): Promise<boolean> {
    this.#refreshed.set(userId, { version, sealed: this.#deps.keys.seal(identity, tokens) });
    return this.save(userId);
  }

  /** Whether the pair of a refresh was there, and stored. */
  async save(userId: UserId): Promise<boolean> {
    const unsaved = this.#refreshed.get(userId);
    if (unsaved === undefined) return false;
    const stored = await this.#deps.store.replaceCredential(userId, unsaved.version, unsaved.sealed);
    this.#refreshed.delete(userId);
    return stored;
  }

  /** Whether the pair of a sign-in was there, and stored. */
  async saveSignIn(identity: UpstreamIdentity): Promise<boolean> {
    const { store, keys } = this.#deps;
    const key = keyOf(identity);
    const remembered = this.#unkept.get(key);
    if (remembered === undefined) return false;
    await store.keepCredential(remembered.of, keys.seal(remembered.of, remembered.tokens));
    if (this.#unkept.get(key) === remembered) this.#unkept.delete(key);
    return true;
  }

  /** Tries again whatever is remembered here; the broker calls it every minute. */
  settle(): Promise<void> {
    this.#settling ??= this.#settle().finally(() => {
      this.#settling = undefined;
    });
    return this.#settling;
  }

  /** The last chance of what the store could not take. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#storeAll().catch((error: unknown) =>
      this.#deps.log.error('credential.lost', { error: describeError(error) }),
    );
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
    for (const { of } of [...this.#unkept.values()]) await this.saveSignIn(of);
    for (const userId of [...this.#refreshed.keys()]) await this.save(userId);
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

  #rememberUnidentified(tokens: UpstreamTokens): void {
    for (const oldest of this.#unidentified.keys()) {
      if (this.#unidentified.size < MAX_REMEMBERED) break;
      this.#unidentified.delete(oldest);
    }
    this.#unidentified.set(tokens, this.#deps.now() + DAY);
  }
}

function keyOf({ issuer, subject }: UpstreamIdentity): string {
  return `${issuer}\n${subject}`;
}
