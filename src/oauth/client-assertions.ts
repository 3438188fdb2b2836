/** RFC 7523 §3: a client proves itself with a signed assertion. Keys come from its metadata's `jwks_uri`, through the guard. */
import { errors, type JWTPayload, type JWTVerifyGetKey, type JWTVerifyOptions, jwtVerify } from 'jose';
import { type Clock, MINUTE, SECOND } from '../base/clock.js';
import { ExpiringMap } from '../base/expiring-map.js';
import { sha256 } from '../base/ids.js';
import type { Client } from './clients.js';
import { fault, type OAuthFault } from './fault.js';
import type { FetchPlaces } from './fetch-places.js';
import { KeySets, KeySetUnavailable } from './key-sets.js';

export interface ClientAssertionsDeps {
  /** RFC 7523 §3: the token endpoint; clients also use the issuer. */
  readonly audiences: readonly string[];
  readonly places: FetchPlaces;
  readonly now: Clock;
}

const LEEWAY_SECONDS = 60;
/** An assertion that lives longer would have to be remembered longer. */
const LONGEST_LIFE_MS = 60 * MINUTE;
/** Anybody can publish a set of a hundred keys, and make us try them. */
const MOST_TRIED_KEYS = 10;
/** Signatures only: an HMAC key is no secret when it stands at a public address. */
export const ASSERTION_ALGORITHMS = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
  'Ed25519',
];

export class ClientAssertions {
  readonly #deps: ClientAssertionsDeps;
  readonly #keySets: KeySets;
  readonly #seen: ExpiringMap<string, true>;

  constructor(deps: ClientAssertionsDeps) {
    this.#deps = deps;
    const { places, now } = deps;
    this.#keySets = new KeySets(places, now);
    this.#seen = new ExpiringMap({ now, ttlMs: LONGEST_LIFE_MS + 2 * MINUTE, capacity: 100_000 });
  }

  /** Drops assertions that could not be replayed any more. */
  sweep(): void {
    this.#seen.sweep();
  }

  /** Nothing, when `assertion` proves that its sender, who asks from `network`, is `client`. */
  async check(client: Client, assertion: string, network: string): Promise<OAuthFault | undefined> {
    if (client.jwksUri === undefined)
      return fault('client_unauthenticated', 'no keys are known for this client');
    const { audiences } = this.#deps;
    const now = this.#deps.now();
    try {
      const payload = await verify(assertion, this.#keySets.at(client.jwksUri, network), {
        issuer: client.id,
        subject: client.id,
        audience: [...audiences],
        algorithms: ASSERTION_ALGORITHMS,
        clockTolerance: LEEWAY_SECONDS,
        currentDate: new Date(now),
        requiredClaims: ['exp', 'jti'],
      });
      if ((payload.exp ?? 0) * SECOND > now + LONGEST_LIFE_MS)
        return fault('client_unauthenticated', 'too long-lived');
      // Addressed to others too, it could come from one of them.
      if (![payload.aud].flat().every((to) => to !== undefined && audiences.includes(to)))
        return fault('client_unauthenticated', 'addressed to others too');
      const use = sha256(`${client.id}\n${payload.jti}`);
      if (this.#seen.get(use)) return fault('client_unauthenticated', 'assertion used before');
      this.#seen.set(use, true);
      return undefined;
    } catch (error) {
      if (error instanceof KeySetUnavailable) return fault('client_keys_unavailable');
      // jose throws plain errors too, at keys that nobody could use.
      const detail = error instanceof errors.JOSEError ? error.code : 'the key cannot be used';
      return fault('client_unauthenticated', detail);
    }
  }
}

/** RFC 7515 §4.1.4: `kid` is a hint, and optional. Where it leaves several keys, any of them may be the one. */
async function verify(
  assertion: string,
  find: JWTVerifyGetKey,
  options: JWTVerifyOptions,
): Promise<JWTPayload> {
  try {
    return (await jwtVerify(assertion, find, options)).payload;
  } catch (error) {
    if (!(error instanceof errors.JWKSMultipleMatchingKeys)) throw error;
    let tried = 0;
    for await (const key of error) {
      if (tried === MOST_TRIED_KEYS) break;
      tried += 1;
      try {
        return (await jwtVerify(assertion, key, options)).payload;
      } catch (refused) {
        if (!(refused instanceof errors.JWSSignatureVerificationFailed)) throw refused;
      }
    }
    throw new errors.JWSSignatureVerificationFailed();
  }
}
