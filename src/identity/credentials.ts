/**
 * A user's upstream token, always fresh: refreshed once at a time, the new pair stored before it is used.
 * Forgejo keeps exactly one refresh token alive per user and application, so a refresh must never be repeated.
 */
import { type Clock, MINUTE } from '../base/clock.js';
import type { UserId } from '../base/ids.js';
import type { Log } from '../base/log.js';
import type { LabelValues, Metrics, Tally } from '../base/metrics.js';
import {
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

export class Credentials {
  readonly #deps: CredentialsDeps;
  readonly #refreshes: (values: LabelValues<typeof REFRESH>) => Tally;
  /** Refreshed pairs that the store could not take yet. */
  readonly #unsaved = new Map<UserId, { readonly version: number; readonly sealed: SealedCredential }>();
  readonly #refreshing = new Map<UserId, Promise<FreshCredential | IdentityFault>>();

  constructor(deps: CredentialsDeps) {
    this.#deps = deps;
    const help = 'Refreshes of upstream tokens, by how they ended.';
    this.#refreshes = deps.metrics.counter('fjmcp_upstream_refreshes_total', help, REFRESH);
    for (const outcome of REFRESH.outcome) this.#refreshes({ outcome });
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
    if (tokens.refresh === undefined) {
      return (await this.#retire(credential, 'no refresh token was given')) ?? this.#read(userId);
    }
    const next = await identity.refresh(tokens.refresh);
    if (isIdentityFault(next)) {
      this.#refreshes({ outcome: next.kind }).add();
      if (next.kind === 'signed_out') {
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
    const credential = await store.findCredential(userId);
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
  async #retire({ userId, version }: Credential, detail: string): Promise<IdentityFault | undefined> {
    if (!(await this.#deps.store.retireCredential(userId, version))) return undefined;
    this.#deps.log.warn('credential.dead', { user: userId, detail });
    this.#deps.onSignedOut(userId);
    return { kind: 'signed_out', detail };
  }
}
