/** The upstream as the authorization server sees it: a port. Who implements it, and how, is the identity room's business. */
import type { Secret } from '../base/secret.js';
import type { SealedCredential, UpstreamIdentity } from './ports.js';

/** One user's tokens at the upstream. Times are milliseconds since the epoch. */
export interface UpstreamTokens {
  readonly access: Secret;
  readonly refresh: Secret | undefined;
  readonly issuedAt: number;
  readonly expiresAt: number;
}

/**
 * - `signed_out`: only a new sign-in of this user helps
 * - `barred`: the upstream knows the user and refuses the account
 * - `not_allowed`: the operator's lists do not name this user
 * - `denied`: the user said no at the upstream
 * - `scope_conflict`: an older consent at the upstream has another scope; only the user can remove it there
 * - `unreachable`: no answer, or none that an upstream in order would give; trying again may help
 * - `misconfigured`: the upstream refuses the broker itself, or is too old; the operator must act
 */
export const IDENTITY_FAULTS = [
  'signed_out',
  'barred',
  'not_allowed',
  'denied',
  'scope_conflict',
  'unreachable',
  'misconfigured',
] as const;
export type IdentityFaultKind = (typeof IDENTITY_FAULTS)[number];

export interface IdentityFault {
  readonly kind: IdentityFaultKind;
  /** For the operator's log. Never holds a token. */
  readonly detail: string;
  /** Whom it is about, when the upstream refuses the account and says whose it is. */
  readonly user?: UpstreamIdentity | undefined;
  /** When trying again may help, if that is known. Until then the upstream is not asked. */
  readonly retryAfterMs?: number | undefined;
}

export function isIdentityFault<T extends object>(value: T | IdentityFault): value is IdentityFault {
  return 'kind' in value && 'detail' in value;
}

export interface IdentityProvider {
  /** The part of a user's identity that names this upstream. */
  readonly issuer: string;
  /** A short name for pages, e.g. the host. */
  readonly displayName: string;
  createVerifier(): string;
  authorizationUrl(state: string, verifier: string): string;
  /** Whether the upstream answers and is fit to be trusted; nothing when it is. */
  check(): Promise<IdentityFault | undefined>;
  redeemCode(code: string, verifier: string): Promise<UpstreamTokens | IdentityFault>;
  refresh(refreshToken: Secret): Promise<UpstreamTokens | IdentityFault>;
  /** Who the token speaks for, and whether that account may be used: the go or no-go. */
  identify(accessToken: Secret): Promise<UpstreamIdentity | IdentityFault>;
  /** What an `error` in the upstream's answer to the browser means. */
  explainError(error: string, description: string | undefined): IdentityFault;
}

/**
 * Who has the tokens of a sign-in from the moment they are received, whatever fails next. The upstream killed all older
 * ones of that user and application, so that losing them would log out every client of the user.
 */
export interface CredentialKeeper {
  /** Redeems the upstream's code. Until whose tokens they are is known, they are kept in mind. */
  redeem(code: string, verifier: string): Promise<UpstreamTokens | IdentityFault>;
  /** For the store, sealed. */
  receive(identity: UpstreamIdentity, tokens: UpstreamTokens): SealedCredential;
  /** Stores them, if the user is known; what the store cannot take now is remembered. Never throws. */
  keep(identity: UpstreamIdentity, tokens: UpstreamTokens): Promise<void>;
  /** Remembers what the store could not take: it is stored before the user's next use of any token. */
  remember(identity: UpstreamIdentity, tokens: UpstreamTokens): void;
}
