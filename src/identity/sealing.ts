/**
 * What is sealed with the keys of the ring, AES-256-GCM under the first: credentials at rest, bound to the user they belong
 * to, and texts that leave the broker and come back.
 */
import { createCipheriv, createDecipheriv, hkdfSync } from 'node:crypto';
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
    const sealed = encrypt(current.key, this.#random, JSON.stringify(payload), associatedData(identity));
    return {
      sealed,
      keyId: current.id,
      issuedAt: tokens.issuedAt,
      expiresAt: tokens.expiresAt,
    };
  }

  /** The tokens inside, or nothing when no key of the ring opens it (lost key, altered or swapped row). */
  open({ sealed, keyId, identity }: Credential): UpstreamTokens | undefined {
    const key = this.#keys.find(({ id }) => id === keyId)?.key;
    if (key === undefined) return undefined;
    const text = decrypt(key, sealed, associatedData(identity));
    if (text === undefined) return undefined;
    try {
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

  /** Seals texts for one purpose, with keys of its own: what is sealed for another does not open. */
  sealer(purpose: string): TextSealer {
    const keys = this.#keys.map(({ id, key }) => ({
      id,
      key: Buffer.from(hkdfSync('sha256', key, '', purpose, key.length)),
    }));
    return {
      seal: (bytes, context) => {
        const [current] = keys;
        if (current === undefined) throw new Error('the key ring is empty');
        const sealed = encrypt(current.key, this.#random, bytes, Buffer.from(context));
        return `${current.id}.${sealed.toString('base64url')}`;
      },
      open: (text, context) => {
        const [id, encoded = ''] = text.split('.', 2);
        const key = keys.find((known) => known.id === id)?.key;
        const sealed = Buffer.from(encoded, 'base64url');
        // Base64 can be written in more ways than one, and ours is the only one that we gave.
        if (key === undefined || `${id}.${sealed.toString('base64url')}` !== text) return undefined;
        return decrypt(key, sealed, Buffer.from(context));
      },
    };
  }
}

export interface TextSealer {
  seal(bytes: Buffer, context: string): string;
  /** Nothing when it was sealed for another context, or is not as it left. */
  open(text: string, context: string): Buffer | undefined;
}

function encrypt(key: Buffer, random: Randomness, text: string | Buffer, context: Buffer): Buffer {
  const iv = random(IV_BYTES);
  const cipher = createCipheriv('aes-256-gcm', key, iv).setAAD(context);
  const sealed = Buffer.concat([cipher.update(Buffer.from(text)), cipher.final()]);
  return Buffer.concat([iv, cipher.getAuthTag(), sealed]);
}

function decrypt(key: Buffer, sealed: Buffer, context: Buffer): Buffer | undefined {
  try {
    const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, IV_BYTES), {
      authTagLength: TAG_BYTES,
    })
      .setAAD(context)
      .setAuthTag(sealed.subarray(IV_BYTES, IV_BYTES + TAG_BYTES));
    return Buffer.concat([decipher.update(sealed.subarray(IV_BYTES + TAG_BYTES)), decipher.final()]);
  } catch {
    return undefined;
  }
}

/** Binds a ciphertext to its row: another user's row does not open. */
function associatedData({ issuer, subject }: UpstreamIdentity): Buffer {
  return Buffer.from(`credential\n${issuer}\n${subject}`);
}
