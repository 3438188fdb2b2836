/** Minting and exchanging: codes, access tokens, refresh tokens. Plaintext leaves here once; the store sees hashes. */

import type { Clock } from '../base/clock.js';
import {
  type Caller,
  type GrantId,
  type Randomness,
  randomId,
  randomToken,
  type Sha256,
  sha256,
} from '../base/ids.js';
import { after, type Maybe } from '../base/maybe.js';
import type { Audit, AuditKind } from './audit.js';
import type { AuthorizationRequest } from './authorization.js';
import type { Client } from './clients.js';
import { fault, type OAuthFault } from './fault.js';
import type { Parameters } from './parameters.js';
import { verifierMatches } from './pkce.js';
import type { Code, Grant, NewCode, NewGrant, OAuthStore, TokenHashes, TokenRecord } from './ports.js';
import { judgeRefresh, REFRESH_POLICY } from './refresh-policy.js';
import { coversResource, type Resources, resolveResource } from './resources.js';

const ACCESS_PREFIX = 'fja_';

export interface Lifetimes {
  readonly accessTokenSeconds: number;
  readonly refreshTokenSeconds: number;
  readonly codeSeconds: number;
}

export interface TokensDeps {
  readonly store: OAuthStore;
  readonly audit: Audit;
  /** Whether credentials sealed under this key can be opened: a lost key means that the user must sign in again. */
  readonly knowsKey: (keyId: string) => boolean;
  /** Told when a replay or a reuse revoked a grant, so that its sessions end with it. */
  readonly onGrantRevoked: (grant: GrantId) => void;
  readonly resources: Resources;
  readonly lifetimes: Lifetimes;
  readonly now: Clock;
  readonly random: Randomness;
}

/** RFC 6749 §5.1. `scope` is always there: SDK v2 takes its absence for the empty set. */
export interface TokenResponse {
  readonly access_token: string;
  readonly token_type: 'Bearer';
  readonly expires_in: number;
  readonly refresh_token?: string;
  readonly scope: string;
}

export type BearerFault = 'token_unknown' | 'token_expired' | 'token_of_another_resource' | 'user_signed_out';

/** An access token that speaks for nobody here; its grant, if it ever had one. */
export interface RefusedBearer {
  readonly fault: BearerFault;
  readonly grant: Grant | undefined;
}

export class Tokens {
  readonly #deps: TokensDeps;

  constructor(deps: TokensDeps) {
    this.#deps = deps;
  }

  /** A new grant and its code. The code itself goes into the redirect and nowhere else. */
  issueCode(request: AuthorizationRequest): {
    readonly grant: NewGrant;
    readonly code: NewCode;
    readonly text: string;
  } {
    const { now, random, lifetimes } = this.#deps;
    const text = randomToken(random, 'fjc_');
    return {
      text,
      grant: {
        id: randomId<GrantId>(random, 'gr_'),
        clientId: request.client.id,
        resource: request.resource,
        scope: request.scope,
        createdAt: now(),
      },
      code: {
        hash: sha256(text),
        redirectUri: request.redirectUri,
        codeChallenge: request.codeChallenge,
        expiresAt: now() + lifetimes.codeSeconds * 1000,
      },
    };
  }

  /** The token endpoint for an authenticated client. */
  exchange(client: Client, form: Parameters): Promise<TokenResponse | OAuthFault> {
    switch (form.get('grant_type')) {
      case 'authorization_code':
        return this.#redeem(client, form);
      case 'refresh_token':
        return this.#refresh(client, form);
      case undefined:
        return Promise.resolve(fault('parameter_missing', 'grant_type'));
      default:
        return Promise.resolve(fault('grant_type_unsupported'));
    }
  }

  async #redeem(client: Client, form: Parameters): Promise<TokenResponse | OAuthFault> {
    const { store, now } = this.#deps;
    const text = form.get('code');
    if (text === undefined) return fault('parameter_missing', 'code');
    const code = await store.findCode(sha256(text));
    if (code === undefined) return fault('code_unknown');
    const refused = this.#checkCode(code, client, form);
    if (refused !== undefined) return refused;
    const { response, hashes } = this.#mint(code.grant, client.grantTypes.includes('refresh_token'));
    const outcome = await store.redeemCode(code.hash, hashes, now());
    if (outcome === 'redeemed') return response;
    if (outcome === 'gone') return fault('code_unknown');
    await this.#auditGrant('code.replayed', code.grant);
    return fault('code_replayed');
  }

  #checkCode(code: Code, client: Client, form: Parameters): OAuthFault | undefined {
    const { now } = this.#deps;
    if (code.grant.clientId !== client.id) return fault('code_of_another_client');
    // A used code is a replay however late it comes; without its verifier nobody can revoke anything by it.
    if (code.expiresAt <= now() && !code.redeemed) return fault('code_expired');
    // OAuth 2.1 dropped redirect_uri here, RFC 6749 §4.1.3 wants it: check it when it is sent.
    const redirectUri = form.get('redirect_uri');
    if (redirectUri !== undefined && redirectUri !== code.redirectUri) return fault('redirect_uri_differs');
    const verifier = form.get('code_verifier');
    if (verifier === undefined) return fault('parameter_missing', 'code_verifier');
    if (!verifierMatches(verifier, code.codeChallenge)) return fault('verifier_differs');
    return this.#checkResource(code.grant, form);
  }

  async #refresh(client: Client, form: Parameters): Promise<TokenResponse | OAuthFault> {
    const { store, now } = this.#deps;
    if (!client.grantTypes.includes('refresh_token')) return fault('grant_type_not_registered');
    const text = form.get('refresh_token');
    if (text === undefined) return fault('parameter_missing', 'refresh_token');
    const hash = sha256(text);
    const token = await store.findRefreshToken(hash);
    if (token === undefined) return fault('refresh_unknown');
    if (token.grant.clientId !== client.id) return fault('refresh_of_another_client');
    if (token.expiresAt <= now()) return fault('refresh_expired');
    if (!this.#isSignedIn(token)) return fault('user_signed_out');
    const refused = this.#checkResource(token.grant, form);
    if (refused !== undefined) return refused;
    const { response, hashes } = this.#mint(token.grant, true);
    switch (await store.rotateRefreshToken(hash, hashes, now(), REFRESH_POLICY)) {
      case 'rotated':
        return response;
      case 'over_cap':
        return fault('refresh_over_cap');
      case 'reused':
        await this.#auditGrant('refresh.reused', token.grant);
        return fault('refresh_reused');
      case 'gone':
        return fault('refresh_unknown');
    }
  }

  /** RFC 8707 §2.2: a resource named here must be one the grant covers. `scope` is not read: it could only narrow. */
  #checkResource(grant: Grant, form: Parameters): OAuthFault | undefined {
    const { resources } = this.#deps;
    if (form.resources.length === 0) return undefined;
    const asked = resolveResource(form.resources, resources);
    if (typeof asked !== 'string') return asked;
    return asked === resources.origin || coversResource(grant.resource, asked, resources)
      ? undefined
      : fault('resource_unknown', 'not the resource of this grant');
  }

  async #auditGrant(kind: AuditKind, { id, userId, clientId }: Grant): Promise<void> {
    this.#deps.onGrantRevoked(id);
    await this.#deps.audit(kind, { user: userId, client: clientId, grant: id });
  }

  #isSignedIn({ credential, keyId }: TokenRecord): boolean {
    return credential === 'alive' && this.#deps.knowsKey(keyId);
  }

  #mint(grant: Grant, withRefresh: boolean): { response: TokenResponse; hashes: TokenHashes } {
    const { now, random, lifetimes } = this.#deps;
    const access = randomToken(random, ACCESS_PREFIX);
    const refresh = withRefresh ? randomToken(random, 'fjr_') : undefined;
    return {
      response: {
        access_token: access,
        token_type: 'Bearer',
        expires_in: lifetimes.accessTokenSeconds,
        ...(refresh === undefined ? {} : { refresh_token: refresh }),
        scope: grant.scope,
      },
      hashes: {
        access: { hash: sha256(access), expiresAt: now() + lifetimes.accessTokenSeconds * 1000 },
        refresh:
          refresh === undefined
            ? undefined
            : { hash: sha256(refresh), expiresAt: now() + lifetimes.refreshTokenSeconds * 1000 },
      },
    };
  }

  /** RFC 7662 §2.2: what a resource server of the operator may learn of a token. Active is what would be accepted here. */
  async introspect(token: string): Promise<Record<string, unknown>> {
    const { store, now, resources } = this.#deps;
    const hash = sha256(token);
    const isAccess = token.startsWith(ACCESS_PREFIX);
    const record = await (isAccess ? store.findAccessToken(hash) : this.#findUsableRefreshToken(hash));
    if (record === undefined || record.expiresAt <= now() || !this.#isSignedIn(record))
      return { active: false };
    const { grant, expiresAt } = record;
    return {
      active: true,
      iss: resources.origin,
      sub: grant.userId,
      aud: grant.resource,
      client_id: grant.clientId,
      scope: grant.scope,
      exp: Math.floor(expiresAt / 1000),
      ...(isAccess ? { token_type: 'Bearer' } : {}),
    };
  }

  async #findUsableRefreshToken(hash: Sha256): Promise<TokenRecord | undefined> {
    const token = await this.#deps.store.findRefreshToken(hash);
    const usable = token !== undefined && judgeRefresh(token, this.#deps.now(), REFRESH_POLICY) === 'good';
    return usable ? token : undefined;
  }

  /** Who an access token speaks for at `endpoint`, or why it does not. */
  authenticate(token: string, endpoint: string): Maybe<Caller | RefusedBearer> {
    if (!token.startsWith(ACCESS_PREFIX)) return { fault: 'token_unknown', grant: undefined };
    return after(this.#deps.store.findAccessToken(sha256(token)), (record) => this.#judge(record, endpoint));
  }

  #judge(record: TokenRecord | undefined, endpoint: string): Caller | RefusedBearer {
    const { now, resources } = this.#deps;
    if (record === undefined) return { fault: 'token_unknown', grant: undefined };
    const { grant } = record;
    if (record.expiresAt <= now()) return { fault: 'token_expired', grant };
    if (!coversResource(grant.resource, endpoint, resources))
      return { fault: 'token_of_another_resource', grant };
    if (!this.#isSignedIn(record)) return { fault: 'user_signed_out', grant };
    return { userId: grant.userId, grantId: grant.id };
  }
}
