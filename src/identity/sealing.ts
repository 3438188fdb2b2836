/** Credentials at rest: AES-256-GCM under the first key of the ring, bound to the user they belong to. */
import { createCipheriv, createDecipheriv } from 'node:crypto';
import { type Randomness, sha256 } from '../base/ids.js';
import { Secret } from '../base/secret.js';
import type { UpstreamTokens } from '../oauth/identity.js';
import type { Credential, SealedCredential, UpstreamIdentity } from '../oauth/ports.js';

const IV_BYTES = 12;
const TAG_BYTES = 16;

interface Payload {
  readonly access: string;
  readonly refresh?: string;
  readonly issuedAt: number;
  readonly expiresAt: number;
}

interface RingKey {
  readonly id: string;
  readonly key: Buffer;
}

export class KeyRing {
  readonly #keys: readonly RingKey[];
  readonly #random: Randomness;

  /** `keys`: 32 bytes each, at least one. The first encrypts, all decrypt. */
  constructor(keys: readonly Buffer[], random: Randomness) {
    this.#keys = keys.map((key) => ({ key, id: sha256(key.toString('base64')).slice(0, 12) }));
    this.#random = random;
  }

  knows(keyId: string): boolean {
    return this.#keys.some(({ id }) => id === keyId);
  }

  seal(identity: UpstreamIdentity, tokens: UpstreamTokens): SealedCredential {
    const [current] = this.#keys;
    if (current === undefined) throw new Error('the key ring is empty');
    const payload: Payload = {
      access: tokens.access.reveal(),
      ...(tokens.refresh === undefined ? {} : { refresh: tokens.refresh.reveal() }),
      issuedAt: tokens.issuedAt,
      expiresAt: tokens.expiresAt,
    };
    const iv = this.#random(IV_BYTES);
    const cipher = createCipheriv('aes-256-gcm', current.key, iv).setAAD(associatedData(identity));
    const text = Buffer.concat([cipher.update(JSON.stringify(payload), 'utf8'), cipher.final()]);
    return {
      sealed: Buffer.concat([iv, cipher.getAuthTag(), text]),
      keyId: current.id,
      issuedAt: tokens.issuedAt,
      expiresAt: tokens.expiresAt,
    };
  }

  /** The tokens inside, or nothing when no key of the ring opens it (lost key, altered or swapped row). */
  open({ sealed, keyId, identity }: Credential): UpstreamTokens | undefined {
    const key = this.#keys.find(({ id }) => id === keyId)?.key;
    if (key === undefined) return undefined;
    try {
      const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, IV_BYTES), {
        authTagLength: TAG_BYTES,
      })
        .setAAD(associatedData(identity))
        .setAuthTag(sealed.subarray(IV_BYTES, IV_BYTES + TAG_BYTES));
      const text = Buffer.concat([decipher.update(sealed.subarray(IV_BYTES + TAG_BYTES)), decipher.final()]);
      const payload = JSON.parse(text.toString('utf8')) as Payload;
      return {
        access: new Secret(payload.access),
        refresh: payload.refresh === undefined ? undefined : new Secret(payload.refresh),
        issuedAt: payload.issuedAt,
        expiresAt: payload.expiresAt,
      };
    } catch {
      return undefined;
    }
  }
}

/** Binds a ciphertext to its row: another user's row does not open. */
function associatedData({ issuer, subject }: UpstreamIdentity): Buffer {
  return Buffer.from(`credential\n${issuer}\n${subject}`);
}
