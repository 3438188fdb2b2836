/**
 * The authorization request. Two kinds of refusal that cannot be confused: until client and redirect URI are known
 * to be good, an error is *shown*; only then may it be *redirected* (RFC 6749 §4.1.2.1).
 */
import type { Client } from './clients.js';
import type { Parameters } from './parameters.js';
import { isChallenge } from './pkce.js';
import { matchesRedirectUri } from './redirect-uris.js';
import { type Resources, resolveResource } from './resources.js';
import { grantedScope } from './scopes.js';

export interface AuthorizationRequest {
  readonly client: Client;
  readonly redirectUri: string;
  readonly state: string | undefined;
  readonly scope: string;
  readonly resource: string;
  readonly codeChallenge: string;
}

export type ShownReason = 'client_unknown' | 'redirect_uri_missing' | 'redirect_uri_unregistered';

/** Where an authorization response goes, and what it must repeat. */
export interface ResponseTarget {
  readonly redirectUri: string;
  readonly state: string | undefined;
}

export type Refusal =
  | { readonly refuse: 'show'; readonly reason: ShownReason }
  | {
      readonly refuse: 'redirect';
      readonly target: ResponseTarget;
      readonly error: string;
      readonly description: string;
    };

/** It is kept in memory until the user comes back from Forgejo. */
const MAX_STATE_LENGTH = 4096;

export function parseAuthorizationRequest(
  parameters: Parameters,
  client: Client | undefined,
  resources: Resources,
): AuthorizationRequest | Refusal {
  if (client === undefined) return { refuse: 'show', reason: 'client_unknown' };
  const redirectUri = resolveRedirectUri(parameters.get('redirect_uri'), client);
  if (redirectUri === undefined) return { refuse: 'show', reason: 'redirect_uri_missing' };
  if (redirectUri === false) return { refuse: 'show', reason: 'redirect_uri_unregistered' };

  const target = { redirectUri, state: parameters.get('state') };
  const refuse = (error: string, description: string): Refusal => ({
    refuse: 'redirect',
    target,
    error,
    description,
  });

  if ((target.state?.length ?? 0) > MAX_STATE_LENGTH)
    return refuse('invalid_request', `state is longer than ${MAX_STATE_LENGTH} characters`);
  if (parameters.get('response_type') !== 'code') {
    return refuse('unsupported_response_type', 'response_type must be code');
  }
  if (parameters.get('request') !== undefined)
    return refuse('request_not_supported', 'request objects are not supported');
  if (parameters.get('request_uri') !== undefined) {
    return refuse('request_uri_not_supported', 'request objects are not supported');
  }
  const codeChallenge = parameters.get('code_challenge');
  if (codeChallenge === undefined) return refuse('invalid_request', 'code_challenge is required (PKCE)');
  // RFC 7636 §4.3: an omitted method means `plain`, which is not offered.
  if (parameters.get('code_challenge_method') !== 'S256') {
    return refuse('invalid_request', 'code_challenge_method must be S256');
  }
  if (!isChallenge(codeChallenge))
    return refuse('invalid_request', 'code_challenge is not an S256 challenge');
  const resource = resolveResource(parameters.resources, resources);
  if (typeof resource !== 'string') return refuse('invalid_target', 'this resource is not served here');
  return { client, ...target, scope: grantedScope(parameters.get('scope')), resource, codeChallenge };
}

/** RFC 6749 §3.1.2.3: it may be omitted when exactly one is registered. */
function resolveRedirectUri(asked: string | undefined, client: Client): string | undefined | false {
  if (asked === undefined) return client.redirectUris.length === 1 ? client.redirectUris[0] : undefined;
  return client.redirectUris.some((registered) => matchesRedirectUri(registered, asked)) ? asked : false;
}

/** The authorization response as a URL: RFC 6749 §4.1.2, with `iss` on every one (RFC 9207 §2). */
export function responseUrl(
  target: ResponseTarget,
  issuer: string,
  answer: { readonly code: string } | { readonly error: string; readonly description: string },
): string {
  const response = new URLSearchParams(
    'code' in answer ? { code: answer.code } : { error: answer.error, error_description: answer.description },
  );
  if (target.state !== undefined) response.set('state', target.state);
  response.set('iss', issuer);
  // Appended as text: parsing the URI anew could change what the client registered.
  return `${target.redirectUri}${target.redirectUri.includes('?') ? '&' : '?'}${response}`;
}

export function isRefusal(value: AuthorizationRequest | Refusal): value is Refusal {
  return 'refuse' in value;
}
