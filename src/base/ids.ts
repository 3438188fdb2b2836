/**
 * Identifiers and hashes. Every id is branded, and its prefix tells its kind in a log;
 * every secret we mint is 256 bits from the injected randomness, and only its SHA-256 is ever stored.
 */
import { createHash, hash, timingSafeEqual } from 'node:crypto';

declare const brand: unique symbol;
export type Brand<T, Name extends string> = T & { readonly [brand]: Name };

export type ClientId = Brand<string, 'ClientId'>;
export type UserId = Brand<string, 'UserId'>;
export type GrantId = Brand<string, 'GrantId'>;
export type SessionId = Brand<string, 'SessionId'>;
/** Lower-case hex SHA-256 of a secret: what the store keeps instead of it. */
export type Sha256 = Brand<string, 'Sha256'>;

/** Who a request speaks for: the user, through the one grant its access token belongs to. */
export interface Caller {
  readonly userId: UserId;
  readonly grantId: GrantId;
}

/** Fills a buffer of `size` bytes from a cryptographically strong source. Injected so that tests can repeat a run. */
export type Randomness = (size: number) => Buffer;

/** `prefix` + 43 base64url characters (256 random bits). */
export function randomToken(random: Randomness, prefix: string): string {
  return prefix + random(32).toString('base64url');
}

/** `prefix` + 22 base64url characters (128 random bits): enough to be unguessable, short enough to read in a log. */
export function randomId<Id extends string>(random: Randomness, prefix: string): Id {
  return (prefix + random(16).toString('base64url')) as Id;
}

export function sha256(text: string): Sha256 {
  return hash('sha256', text, 'hex') as Sha256;
}

/** Compares two texts in constant time; differing lengths cost the same, because hashes are compared. */
export function sameText(a: string, b: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(a), digest(b));
}
