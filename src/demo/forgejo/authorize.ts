/** What a signed-in user's browser gets at the authorize and grant endpoints. The order of the checks is Forgejo's. */

import type { Instance } from './instance.js';
import { isRegistered, withQuery } from './redirects.js';
import type { Application, BrowserSession, Grant, User } from './rows.js';

export interface AuthorizeRequest {
  readonly clientId: string;
  readonly redirectUri: string;
  readonly responseType: string;
  readonly state: string;
  readonly scope: string;
  readonly nonce: string;
  readonly codeChallenge: string;
  readonly codeChallengeMethod: string;
}

export type AuthorizeAnswer =
  | { readonly refuse: 'Client ID not registered' | 'Unregistered Redirect URI' }
  | { readonly redirect: string }
  | { readonly consent: Application };

export interface GrantForm {
  readonly clientId: string;
  readonly redirectUri: string;
  readonly state: string;
  readonly scope: string;
  readonly nonce: string;
  readonly granted: boolean;
}

export type GrantAnswer = { readonly redirect: string } | 'not the form last shown' | 'application is gone';

export function authorize(
  instance: Instance,
  user: User,
  session: BrowserSession,
  request: AuthorizeRequest,
): AuthorizeAnswer {
  const application = instance.application(request.clientId);
  if (application === undefined) return { refuse: 'Client ID not registered' };
  if (!isRegistered(application, request.redirectUri)) return { refuse: 'Unregistered Redirect URI' };
  if (request.responseType !== 'code') {
    return fail(request, 'unsupported_response_type', 'Only code response type is supported.');
  }
  const pkceProblem = rememberChallenge(application, session, request);
  if (pkceProblem !== undefined) return fail(request, 'invalid_request', pkceProblem);

  const grant = instance.grantOf(user.id, application.id);
  if (application.confidential && grant !== undefined) {
    // The old grant's scope stays; `request.scope` is not even looked at.
    if (request.nonce !== '') grant.nonce = request.nonce;
    return succeed(instance, grant, request, request);
  }
  const { clientId, redirectUri, state } = request;
  session.asked = { clientId, redirectUri, state };
  return { consent: application };
}

export function decideGrant(
  instance: Instance,
  user: User,
  session: BrowserSession,
  form: GrantForm,
): GrantAnswer {
  const { asked } = session;
  const isSame =
    asked?.clientId === form.clientId && asked.redirectUri === form.redirectUri && asked.state === form.state;
  if (!isSame) return 'not the form last shown';
  if (!form.granted) return fail(form, 'access_denied', 'the request is denied');
  const application = instance.application(form.clientId);
  if (application === undefined) return 'application is gone';

  const existing = instance.grantOf(user.id, application.id);
  if (existing !== undefined && existing.scope !== form.scope) {
    return fail(form, 'server_error', 'a grant exists with different scope');
  }
  const grant = existing ?? instance.addGrant(user.id, application.id, form.scope, form.nonce);
  if (form.nonce !== '') grant.nonce = form.nonce;
  return succeed(instance, grant, form, session);
}

/** Keeps the challenge in the browser session, or says what is wrong with it. */
function rememberChallenge(
  application: Application,
  session: BrowserSession,
  { codeChallenge, codeChallengeMethod: method }: AuthorizeRequest,
): string | undefined {
  if (method === 'S256' || method === 'plain') {
    session.codeChallenge = codeChallenge;
    session.codeChallengeMethod = method;
    return undefined;
  }
  if (method !== '') return 'unsupported code challenge method';
  return application.confidential ? undefined : 'PKCE is required for public clients';
}

function succeed(
  instance: Instance,
  grant: Grant,
  { redirectUri, state }: { readonly redirectUri: string; readonly state: string },
  {
    codeChallenge,
    codeChallengeMethod,
  }: { readonly codeChallenge: string; readonly codeChallengeMethod: string },
): { readonly redirect: string } {
  const { code } = instance.addCode({ grantId: grant.id, redirectUri, codeChallenge, codeChallengeMethod });
  return { redirect: withQuery(redirectUri, state === '' ? { code } : { code, state }) };
}

/** An error carries `state` even when it is empty. */
function fail(
  { redirectUri, state }: { readonly redirectUri: string; readonly state: string },
  error: string,
  description: string,
): { readonly redirect: string } {
  return { redirect: withQuery(redirectUri, { error, error_description: description, state }) };
}
