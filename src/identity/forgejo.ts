/**
 * Forgejo as the upstream identity provider. arctic builds the authorization request and reads token answers;
 * what it lacks is here: time and size limits, no redirects, and what Forgejo's errors mean.
 */
import { Gitea, generateCodeVerifier, OAuth2Tokens } from 'arctic';
import { z } from 'zod';
import { type Clock, SECOND } from '../base/clock.js';
import { type FetchFailure, type GuardedResponse, guardedFetch, parseJson } from '../base/fetch.js';
import type { Log } from '../base/log.js';
import { Secret } from '../base/secret.js';
import {
  type IdentityFault,
  type IdentityProvider,
  isIdentityFault,
  type UpstreamTokens,
} from '../oauth/identity.js';
import type { UpstreamIdentity } from '../oauth/ports.js';
import { judgeVersion, REQUIRED_VERSIONS } from './forgejo-version.js';

export interface ForgejoOptions {
  /** Base URL without a trailing slash; may have a path. */
  readonly url: string;
  readonly clientId: string;
  readonly clientSecret: Secret;
  readonly redirectUri: string;
  readonly scopes: readonly string[];
  /** Login names, lower case; empty means everybody. */
  readonly allowedUsers: readonly string[];
  /** Organisation names, lower case; empty means everybody. */
  readonly allowedOrgs: readonly string[];
  readonly now: Clock;
  readonly log: Log;
  readonly timeoutMs: number;
}

const MAX_ANSWER_BYTES = 1024 * 1024;
const ORGS_PER_PAGE = 50;
const MAX_ORG_PAGES = 100;

const versionBody = z.object({ version: z.string() });
const userBody = z.object({ id: z.number().int(), login: z.string().min(1) });
/** OpenID Connect Core 5.3.2, as Forgejo answers it. */
const userinfoBody = z.object({ sub: z.string().min(1), preferred_username: z.string() });
const orgsBody = z.array(z.object({ name: z.string() }));
const errorBody = z.object({ error: z.string(), error_description: z.string().optional() });

export function createForgejo(options: ForgejoOptions): IdentityProvider {
  const { url, clientId, clientSecret, redirectUri, scopes, now, log, timeoutMs } = options;
  const gitea = new Gitea(url, clientId, clientSecret.reveal(), redirectUri);

  const get = (path: string, token?: Secret) =>
    guardedFetch(`${url}/api/v1${path}`, {
      headers: { Accept: 'application/json', ...(token && { Authorization: `Bearer ${token.reveal()}` }) },
      timeoutMs,
      maxBytes: MAX_ANSWER_BYTES,
    });

  /** Of two pairs the later one lives, so no two are received at once, and none before an earlier one. */
  let latest = 0;
  const receivedAt = () => {
    latest = Math.max(now(), latest + 1);
    return latest;
  };

  async function requestTokens(form: Record<string, string>): Promise<UpstreamTokens | IdentityFault> {
    const askedAt = now();
    const basic = Buffer.from(`${clientId}:${clientSecret.reveal()}`).toString('base64');
    const answer = await guardedFetch(`${url}/login/oauth/access_token`, {
      method: 'POST',
      headers: {
        Accept: 'application/json',
        'Content-Type': 'application/x-www-form-urlencoded',
        Authorization: `Basic ${basic}`,
      },
      body: new URLSearchParams(form).toString(),
      timeoutMs,
      maxBytes: MAX_ANSWER_BYTES,
    });
    return isFailure(answer) ? unreachable(failed(answer)) : readTokens(answer, askedAt, receivedAt());
  }

  /** Whose account it is that the API refuses. From 16 on this endpoint answers for barred accounts too. */
  async function whoIs(token: Secret): Promise<UpstreamIdentity | undefined> {
    const answer = await guardedFetch(`${url}/login/oauth/userinfo`, {
      headers: { Accept: 'application/json', Authorization: `Bearer ${token.reveal()}` },
      timeoutMs,
      maxBytes: MAX_ANSWER_BYTES,
    });
    if (isFailure(answer)) return undefined;
    const user = userinfoBody.safeParse(answer.status === 200 ? parseJson(answer.text) : undefined);
    return user.success
      ? { issuer: url, subject: user.data.sub, login: user.data.preferred_username }
      : undefined;
  }

  async function organisationsOf(token: Secret): Promise<readonly string[] | IdentityFault> {
    const names: string[] = [];
    for (let page = 1; page <= MAX_ORG_PAGES; page += 1) {
      const answer = await get(`/user/orgs?page=${page}&limit=${ORGS_PER_PAGE}`, token);
      if (isFailure(answer)) return unreachable(failed(answer));
      const orgs = orgsBody.safeParse(answer.status === 200 ? parseJson(answer.text) : undefined);
      if (!orgs.success) return unreachable(`organisations: status ${answer.status}`);
      names.push(...orgs.data.map(({ name }) => name.toLowerCase()));
      // Not at the first short page: the instance may have a smaller limit than ours.
      if (orgs.data.length === 0) return names;
    }
    return names;
  }

  async function checkAllowed(login: string, token: Secret): Promise<IdentityFault | undefined> {
    const { allowedUsers, allowedOrgs } = options;
    if (allowedUsers.length === 0 && allowedOrgs.length === 0) return undefined;
    if (allowedUsers.includes(login.toLowerCase())) return undefined;
    if (allowedOrgs.length > 0) {
      const organisations = await organisationsOf(token);
      if (isIdentityFault(organisations)) return organisations;
      if (organisations.some((name) => allowedOrgs.includes(name))) return undefined;
    }
    return {
      kind: 'not_allowed',
      detail: 'named neither in BROKER_ALLOWED_USERS nor by BROKER_ALLOWED_ORGS',
    };
  }

  return {
    issuer: url,
    displayName: new URL(url).host,
    createVerifier: generateCodeVerifier,

    authorizationUrl: (state, verifier) => gitea.createAuthorizationURL(state, verifier, [...scopes]).href,

    async check(): Promise<IdentityFault | undefined> {
      const answer = await get('/version');
      if (isFailure(answer)) return unreachable(failed(answer));
      // REQUIRE_SIGNIN_VIEW hides the version from strangers; the instance is there all the same.
      if (answer.status === 401 || answer.status === 403) {
        log.warn('upstream.version_hidden', { required: REQUIRED_VERSIONS });
        return undefined;
      }
      const body = versionBody.safeParse(answer.status === 200 ? parseJson(answer.text) : undefined);
      if (!body.success) return unreachable(`/api/v1/version: status ${answer.status}`);
      const verdict = judgeVersion(body.data.version);
      if (verdict === 'not_forgejo') log.warn('upstream.not_forgejo', { version: body.data.version });
      if (verdict === 'too_old') {
        return {
          kind: 'misconfigured',
          detail: `Forgejo ${body.data.version} is too old: ${REQUIRED_VERSIONS}`,
        };
      }
      return undefined;
    },

    redeemCode: (code, verifier) =>
      requestTokens({
        grant_type: 'authorization_code',
        code,
        code_verifier: verifier,
        redirect_uri: redirectUri,
      }),

    refresh: (refreshToken) =>
      requestTokens({ grant_type: 'refresh_token', refresh_token: refreshToken.reveal() }),

    async identify(accessToken): Promise<UpstreamIdentity | IdentityFault> {
      const answer = await get('/user', accessToken);
      if (isFailure(answer)) return unreachable(failed(answer));
      // Classified by status alone: the texts are localised, differ by version, and repeat the token.
      if (answer.status === 401) return { kind: 'signed_out', detail: '/api/v1/user: status 401' };
      if (answer.status === 403) {
        return { kind: 'barred', detail: '/api/v1/user: status 403', user: await whoIs(accessToken) };
      }
      const user = userBody.safeParse(answer.status === 200 ? parseJson(answer.text) : undefined);
      if (!user.success) return unreachable(`/api/v1/user: status ${answer.status}`);
      const { id, login } = user.data;
      const identity = { issuer: url, subject: String(id), login };
      const refused = await checkAllowed(login, accessToken);
      return refused === undefined ? identity : { ...refused, user: identity };
    },

    explainError(error, description): IdentityFault {
      if (error === 'access_denied') return { kind: 'denied', detail: error };
      if (description?.includes('different scope')) return { kind: 'scope_conflict', detail: error };
      return { kind: error === 'server_error' ? 'unreachable' : 'misconfigured', detail: error.slice(0, 64) };
    },
  };
}

function isFailure(answer: GuardedResponse | FetchFailure): answer is FetchFailure {
  return 'failure' in answer;
}

function failed({ failure, code }: FetchFailure): string {
  return code === undefined ? failure : `${failure} (${code})`;
}

function unreachable(detail: string): IdentityFault {
  return { kind: 'unreachable', detail };
}

function readTokens(
  { status, text }: GuardedResponse,
  askedAt: number,
  issuedAt: number,
): UpstreamTokens | IdentityFault {
  const body = parseJson(text);
  if (status === 200 && typeof body === 'object' && body !== null)
    return tokensFrom(new OAuth2Tokens(body), askedAt, issuedAt);
  const refused = errorBody.safeParse(body);
  // Only a JSON 400 with a known code decides; a proxy's HTML, a 5xx, an install page do not.
  if (status !== 400 || !refused.success) return unreachable(`token endpoint: status ${status}`);
  return meaningOf(refused.data.error, refused.data.error_description ?? '');
}

function tokensFrom(tokens: OAuth2Tokens, askedAt: number, issuedAt: number): UpstreamTokens | IdentityFault {
  try {
    return {
      access: new Secret(tokens.accessToken()),
      refresh: tokens.hasRefreshToken() ? new Secret(tokens.refreshToken()) : undefined,
      issuedAt,
      // By our clock, as Forgejo's own may differ; and from our question on, as the answer may have been long on its way.
      expiresAt: askedAt + tokens.accessTokenExpiresInSeconds() * SECOND,
    };
  } catch {
    return unreachable('token endpoint: an answer without a token');
  }
}

/** Forgejo says "sign in again" in two codes, and one of them also means a wrong client secret. */
function meaningOf(error: string, description: string): IdentityFault {
  const detail = `token endpoint: ${error.slice(0, 64)}`;
  if (error === 'invalid_grant') return { kind: 'signed_out', detail };
  if (error === 'unauthorized_client') {
    if (!description.includes('client secret')) return { kind: 'signed_out', detail };
    return { kind: 'misconfigured', detail: `${detail}: check FORGEJO_CLIENT_SECRET` };
  }
  // Lost races inside Forgejo: nothing was decided.
  if (error === 'invalid_request') return { kind: 'unreachable', detail };
  return { kind: 'misconfigured', detail: `${detail}: check FORGEJO_CLIENT_ID and FORGEJO_CLIENT_SECRET` };
}
