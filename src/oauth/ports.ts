/**
 * What the authorization server needs from a store. Verbs are whole and atomic: a driver runs each in one
 * transaction, so no caller can stand between a check and the write that depends on it.
 */

import { MINUTE } from '../base/clock.js';
import type { ClientId, GrantId, Sha256, UserId } from '../base/ids.js';
import type { Maybe } from '../base/maybe.js';
import type { Client } from './clients.js';
import type { Rotation } from './refresh-policy.js';

/** The upstream's name for a person: never the login name, which can change hands. */
export interface UpstreamIdentity {
  readonly issuer: string;
  readonly subject: string;
  readonly login: string;
}

/** All times are milliseconds since the epoch. */
export interface NewGrant {
  readonly id: GrantId;
  readonly clientId: ClientId;
  readonly resource: string;
  readonly scope: string;
  readonly createdAt: number;
}

export interface Grant extends NewGrant {
  readonly userId: UserId;
}

export interface NewCode {
  readonly hash: Sha256;
  readonly redirectUri: string;
  readonly codeChallenge: string;
  readonly expiresAt: number;
}

export interface Code extends NewCode {
  readonly grant: Grant;
  readonly redeemed: boolean;
}

export interface TokenHashes {
  readonly access: { readonly hash: Sha256; readonly expiresAt: number };
  readonly refresh: { readonly hash: Sha256; readonly expiresAt: number } | undefined;
}

/** A sealed upstream token pair: ciphertext and what may be known without the key. */
export interface SealedCredential {
  readonly sealed: Buffer;
  readonly keyId: string;
  /** When the access token inside dies. */
  readonly expiresAt: number;
  /** When the pair was received. Of two, the later one is the living one: Forgejo killed the other. */
  readonly issuedAt: number;
}

export interface Credential extends SealedCredential {
  readonly userId: UserId;
  readonly identity: UpstreamIdentity;
  readonly version: number;
  readonly state: 'alive' | 'dead';
}

export interface SignIn {
  /** Used when this person was never here; otherwise the stored id stays. */
  readonly newUserId: UserId;
  readonly identity: UpstreamIdentity;
  /** A client that is a document is saved along: its copy serves when the original cannot be had. */
  readonly client: Client;
  readonly credential: SealedCredential;
  readonly grant: NewGrant;
  readonly code: NewCode;
}

export interface RefreshPolicy {
  /** A rotated token works again for this long, or until its successor is used. */
  readonly graceMs: number;
  /** How often one token may be rotated in all. */
  readonly maxRotations: number;
}

export type RedeemOutcome = 'redeemed' | 'replayed' | 'gone';
export type RotateOutcome = 'rotated' | 'over_cap' | 'reused' | 'gone';

/** What a client gave back; with a refresh token its grant ended. */
export interface RevokedToken {
  readonly kind: 'access' | 'refresh';
  readonly grant: GrantId;
}

export interface TokenRecord {
  readonly grant: Grant;
  readonly expiresAt: number;
  /** State of the user's credential, and the key that seals it. */
  readonly credential: 'alive' | 'dead';
  readonly keyId: string;
}

/** How many clients that registered themselves are kept before anybody signs in with them. */
export interface UnusedClients {
  readonly most: number;
  /** Younger ones stay all the same: their user may be about to sign in. */
  readonly spareMs: number;
}

export const UNUSED_CLIENTS: UnusedClients = { most: 20_000, spareMs: 60 * MINUTE };

export interface OAuthStore {
  /** One too many that nobody uses takes the place of the oldest one of these. */
  addClient(client: Client, unused?: UnusedClients): Promise<void>;
  findClient(id: string): Promise<Client | undefined>;

  /** Saves user, credential (replacing an older one: Forgejo killed it), grant and code together. Nothing but user and
   *  credential, when the client is gone. */
  recordSignIn(signIn: SignIn): Promise<UserId | undefined>;

  /** Who this is here, if anybody. */
  findUser(identity: UpstreamIdentity): Promise<UserId | undefined>;

  findCode(hash: Sha256): Promise<Code | undefined>;
  /** Uses the code up and saves its tokens. A code used before revokes everything it gave (RFC 6749 §4.1.2). */
  redeemCode(hash: Sha256, tokens: TokenHashes, now: number): Promise<RedeemOutcome>;

  findRefreshToken(hash: Sha256): Promise<(TokenRecord & Rotation) | undefined>;
  /** Replaces a refresh token. Reuse outside the policy revokes the grant (RFC 9700 §4.14.2). */
  rotateRefreshToken(
    hash: Sha256,
    tokens: TokenHashes,
    now: number,
    policy: RefreshPolicy,
  ): Promise<RotateOutcome>;

  /** Asked with every MCP request. */
  findAccessToken(hash: Sha256): Maybe<TokenRecord | undefined>;
  /** Revokes a token if it is this client's: an access token alone, a refresh token with its whole grant (RFC 7009 §2.1). */
  revokeToken(hash: Sha256, clientId: ClientId): Promise<RevokedToken | undefined>;

  /** Which of these grants are no more, whoever ended them: another process may have. */
  missingGrants(ids: readonly GrantId[]): Promise<readonly GrantId[]>;

  /** Deletes what is expired or abandoned; returns how many rows went. */
  sweep(now: number): Promise<number>;
}

/** Whether the store can be written to, asked for the sake of asking. */
export interface ProbedStore {
  /** Writes for real, and waits until it is on the disk. Throws when that fails, or a lock is in the way for long. */
  probe(): Promise<void>;
}

export interface CredentialStore {
  /** Keeps the upstream pair of a sign-in that came to nothing: of a known user it is now the only living one. */
  keepCredential(identity: UpstreamIdentity, credential: SealedCredential): Promise<void>;
  /** How many living credentials are sealed under each key. */
  countCredentialsByKey(): Promise<ReadonlyMap<string, number>>;
  findCredential(userId: UserId): Promise<Credential | undefined>;
  /** Replaces the credential if it is still at `version`; from then on it lives. */
  replaceCredential(userId: UserId, version: number, next: SealedCredential): Promise<boolean>;
  /** Marks the credential dead if it is still at `version`. */
  retireCredential(userId: UserId, version: number): Promise<boolean>;
  /** Ends the user's grants, which are returned, and forgets the credential; nothing if that is not at `version` any more. */
  barUser(userId: UserId, version: number): Promise<readonly Grant[] | undefined>;
}
