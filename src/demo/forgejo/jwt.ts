/** Forgejo's OAuth tokens as the real thing: RS256 JWTs with its claims and with the words its JWT library fails in. */
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  sign,
  verify,
} from 'node:crypto';

/** Exactly these members: the tokens carry no sub, iss, aud, jti, scope or client id. */
export interface TokenClaims {
  /** Id of the grant. */
  readonly gnt: number;
  /** 0 is an access token, 1 a refresh token. */
  readonly tt: number;
  /** The grant's counter when a refresh token was made; left out when 0. */
  readonly cnt?: number;
  readonly exp: number;
  readonly iat: number;
}

export type ReadToken = { readonly claims: TokenClaims } | { readonly problem: string };

export interface SigningKey {
  sign(claims: object): string;
  /** The claims of a token this key signed, expired or not. */
  read(token: string): ReadToken;
  readonly jwk: Readonly<Record<string, unknown>>;
  /** The private key, to be kept: PKCS #8. */
  readonly pem: string;
}

export const EXPIRED = 'token has invalid claims: token is expired';
const WRONG_SEGMENTS = 'token is malformed: token contains an invalid number of segments';

/** A new key, or the one kept as `pem`. */
export function createSigningKey(pem?: string): SigningKey {
  const privateKey =
    pem === undefined
      ? generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey
      : createPrivateKey(pem);
  const publicKey = createPublicKey(privateKey);
  const kid = createHash('sha256')
    .update(publicKey.export({ type: 'spki', format: 'der' }))
    .digest('base64url');
  const { n, e } = publicKey.export({ format: 'jwk' });
  const header = encode({ alg: 'RS256', kid, typ: 'JWT' });
  return {
    pem: String(privateKey.export({ type: 'pkcs8', format: 'pem' })),
    jwk: { alg: 'RS256', e, kid, kty: 'RSA', n, use: 'sig' },
    sign(claims) {
      const signed = `${header}.${encode(claims)}`;
      return `${signed}.${sign('sha256', Buffer.from(signed), privateKey).toString('base64url')}`;
    },
    read(token) {
      const [head = '', body = '', signature, ...rest] = token.split('.');
      if (signature === undefined || rest.length > 0) return { problem: WRONG_SEGMENTS };
      const claims = decodeClaims(body);
      if (decode(head)?.alg !== 'RS256' || claims === undefined) {
        return { problem: 'token is malformed: could not JSON decode header' };
      }
      const genuine = verify(
        'sha256',
        Buffer.from(`${head}.${body}`),
        publicKey,
        Buffer.from(signature, 'base64url'),
      );
      if (!genuine) return { problem: 'token signature is invalid: crypto/rsa: verification error' };
      return { claims };
    },
  };
}

/** What a JWT library answers to text that is not a JWT at all, or undefined when it looks like one. */
export function shapeProblem(token: string): string | undefined {
  return token.split('.').length === 3 ? undefined : WRONG_SEGMENTS;
}

function encode(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url');
}

function decode(part: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(part, 'base64url').toString());
    return typeof value === 'object' && value !== null ? { ...value } : undefined;
  } catch {
    return undefined;
  }
}

function decodeClaims(part: string): TokenClaims | undefined {
  const { gnt, tt, cnt, exp, iat } = decode(part) ?? {};
  const numbers = [gnt, tt, exp, iat, cnt ?? 0].every((claim) => typeof claim === 'number');
  if (!numbers) return undefined;
  return {
    gnt: Number(gnt),
    tt: Number(tt),
    ...(cnt === undefined ? {} : { cnt: Number(cnt) }),
    exp: Number(exp),
    iat: Number(iat),
  };
}
