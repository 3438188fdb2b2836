/** The token endpoint's decisions: who asks, what is exchanged, and each refusal in Forgejo's own words. Every refusal is a 400. */
import { createHash } from 'node:crypto';
import { parseBasic } from './basic.js';
import type { Instance } from './instance.js';
import { isRegistered } from './redirects.js';
import type { Application, AuthorizationCode, Grant } from './rows.js';
import { issueTokens, readUnexpired, type TokenAnswer } from './tokens.js';

export interface TokenRequest {
  readonly grantType: string;
  readonly clientId: string;
  readonly clientSecret: string;
  readonly redirectUri: string;
  readonly code: string;
  readonly codeVerifier: string;
  readonly refreshToken: string;
}

export interface TokenFault {
  readonly error: string;
  readonly error_description: string;
}

export function exchange(
  instance: Instance,
  body: TokenRequest,
  authorization: string | undefined,
): TokenAnswer | TokenFault {
  const request = withBasic(body, authorization);
  if ('error' in request) return request;
  if (request.grantType === 'authorization_code') return redeemCode(instance, request);
  if (request.grantType === 'refresh_token') return refresh(instance, request);
  return fault('unsupported_grant_type', 'Only refresh_token or authorization_code grant type is supported');
}

/** The header is looked at only if the body lacks id or secret; a scheme other than Basic is ignored. */
function withBasic(body: TokenRequest, authorization: string | undefined): TokenRequest | TokenFault {
  if (body.clientId !== '' && body.clientSecret !== '') return body;
  const basic = parseBasic(authorization);
  if (basic === 'absent') return body;
  if (basic === 'unreadable') return fault('invalid_request', 'cannot parse basic auth header');
  const inconsistent = (field: string) =>
    fault('invalid_request', `${field} in request body inconsistent with Authorization header`);
  if (body.clientId !== '' && body.clientId !== basic.user) return inconsistent('client_id');
  if (body.clientSecret !== '' && body.clientSecret !== basic.password) return inconsistent('client_secret');
  return { ...body, clientId: basic.user, clientSecret: basic.password };
}

function redeemCode(instance: Instance, request: TokenRequest): TokenAnswer | TokenFault {
  const application = instance.application(request.clientId);
  if (application === undefined) {
    return fault('invalid_client', `cannot load client with client id: '${request.clientId}'`);
  }
  const secretProblem = checkSecret(application, request.clientSecret);
  if (secretProblem !== undefined) return fault('unauthorized_client', secretProblem);
  if (request.redirectUri !== '' && !isRegistered(application, request.redirectUri)) {
    return fault('unauthorized_client', 'unexpected redirect URI');
  }
  const code = instance.codes.get(request.code);
  const grant = code && instance.grants.get(code.grantId);
  if (code === undefined || grant === undefined) {
    return fault('unauthorized_client', 'client is not authorized');
  }
  // A refusal from here to the deletion does not burn the code.
  if (!verifies(code, request.codeVerifier)) {
    return fault('unauthorized_client', 'failed PKCE code challenge');
  }
  if (code.redirectUri !== request.redirectUri) {
    return fault('unauthorized_client', 'redirect_uri does not match the authorization request');
  }
  if (grant.applicationId !== application.id) return fault('invalid_grant', 'invalid grant');
  instance.codes.delete(code.code);
  if (instance.racesToLose.delete('code')) return fault('invalid_request', 'cannot proceed your request');
  return issue(instance, application, grant);
}

function refresh(instance: Instance, request: TokenRequest): TokenAnswer | TokenFault {
  const application = instance.application(request.clientId);
  if (application === undefined) {
    return fault('invalid_client', `cannot load client with client id: ${JSON.stringify(request.clientId)}`);
  }
  const secretProblem = checkSecret(application, request.clientSecret);
  if (secretProblem !== undefined) return fault('invalid_client', secretProblem);
  const token = readUnexpired(instance, request.refreshToken);
  if ('problem' in token) return fault('unauthorized_client', 'unable to parse refresh token');
  const { gnt, tt, cnt = 0 } = token.claims;
  if (instance.variant.checksRefreshType && tt !== 1) {
    return fault('unauthorized_client', 'token is not a refresh token');
  }
  const grant = instance.grants.get(gnt);
  if (grant === undefined) return fault('invalid_grant', 'grant does not exist');
  if (grant.applicationId !== application.id) {
    return fault('invalid_grant', 'refresh token was not issued to this client');
  }
  // The account itself is not looked at: a barred user goes on refreshing.
  if (instance.settings.invalidateRefreshTokens && (cnt !== grant.counter || cnt === 0)) {
    return fault('unauthorized_client', 'token was already used');
  }
  return issue(instance, application, grant);
}

function issue(instance: Instance, application: Application, grant: Grant): TokenAnswer | TokenFault {
  if (instance.settings.invalidateRefreshTokens) {
    grant.counter += 1;
    if (instance.racesToLose.delete('counter')) {
      return fault('invalid_grant', 'cannot increase the grant counter');
    }
  }
  return issueTokens(instance, application, grant) ?? fault('invalid_request', 'cannot find user');
}

function checkSecret(application: Application, secret: string): string | undefined {
  if (!application.confidential || application.clientSecret === secret) return undefined;
  return secret === '' ? 'invalid empty client secret' : 'invalid client secret';
}

function verifies({ codeChallenge, codeChallengeMethod }: AuthorizationCode, verifier: string): boolean {
  if (codeChallengeMethod === 'S256') {
    return createHash('sha256').update(verifier).digest('base64url') === codeChallenge;
  }
  if (codeChallengeMethod === 'plain') return verifier === codeChallenge;
  // A challenge that came without a method can never be met.
  return codeChallenge === '';
}

function fault(error: string, description: string): TokenFault {
  return { error, error_description: description };
}
