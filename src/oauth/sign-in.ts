/**
 * Signing in: authorize, consent, callback. Each step returns what the browser should see next; nothing here
 * writes HTML or HTTP. The broker's own consent comes before the upstream, which asks a user only once per
 * application and afterwards answers silently: a stranger's client would ride on that old consent.
 */
import { type Randomness, randomId, type UserId } from '../base/ids.js';
import type { Log } from '../base/log.js';
import {
  type AuthorizationRequest,
  isRefusal,
  parseAuthorizationRequest,
  responseUrl,
  type ShownReason,
} from './authorization.js';
import { isFault } from './fault.js';
import {
  type CredentialSealer,
  type IdentityFault,
  type IdentityProvider,
  isIdentityFault,
  type UpstreamTokens,
} from './identity.js';
import { type Parameters, parseParameters } from './parameters.js';
import type { ConsentForm, PendingAuthorizations, PendingId } from './pending.js';
import type { OAuthStore, UpstreamIdentity } from './ports.js';
import type { Resources } from './resources.js';
import type { Tokens } from './tokens.js';

export type SignInStep =
  | { readonly next: 'consent'; readonly form: ConsentForm }
  | { readonly next: 'redirect'; readonly to: string }
  | {
      readonly next: 'explain';
      readonly problem: ShownReason | 'request_malformed' | 'expired' | 'scope_conflict';
    }
  /** The upstream failed; `form`, when still usable, lets the user try again. */
  | {
      readonly next: 'upstream_failed';
      readonly fault: IdentityFault;
      readonly form: ConsentForm | undefined;
    };

export interface SignInDeps {
  readonly issuer: string;
  readonly resources: Resources;
  readonly store: OAuthStore;
  readonly tokens: Tokens;
  readonly pending: PendingAuthorizations;
  readonly identity: IdentityProvider;
  readonly sealer: CredentialSealer;
  readonly random: Randomness;
  readonly log: Log;
}

export class SignIn {
  readonly #deps: SignInDeps;

  constructor(deps: SignInDeps) {
    this.#deps = deps;
  }

  /** `GET /oauth/authorize`, from the browser whose cookie value is `browser`. */
  async authorize(query: URLSearchParams, browser: string): Promise<SignInStep> {
    const { store, resources, pending, issuer, log } = this.#deps;
    const parameters = parseParameters(query);
    if (isFault(parameters)) return { next: 'explain', problem: 'request_malformed' };
    const clientId = parameters.get('client_id');
    const client = clientId === undefined ? undefined : await store.findClient(clientId);
    const request = parseAuthorizationRequest(parameters, client, resources);
    if (!isRefusal(request)) return { next: 'consent', form: pending.open(request, browser) };
    if (request.refuse === 'show') {
      log.info('authorization.refused', { reason: request.reason, client: client?.id });
      return { next: 'explain', problem: request.reason };
    }
    const { target, error, description } = request;
    log.info('authorization.refused', { reason: error, client: client?.id });
    return { next: 'redirect', to: responseUrl(target, issuer, { error, description }) };
  }

  /** `POST /oauth/consent`. */
  async consent(form: Parameters, browser: string | undefined): Promise<SignInStep> {
    const { pending, identity, log } = this.#deps;
    const asked = pending.consented(form.get('pending') ?? '', form.get('csrf') ?? '', browser);
    if (asked === undefined) return { next: 'explain', problem: 'expired' };
    if (form.get('decision') !== 'continue') {
      pending.close(asked.id);
      return this.#deny(asked.request, 'access_denied', 'The user did not allow it.');
    }
    const unfit = await identity.check();
    if (unfit !== undefined) {
      log.warn('upstream.failed', { step: 'check', kind: unfit.kind, detail: unfit.detail });
      return { next: 'upstream_failed', fault: unfit, form: asked };
    }
    const verifier = identity.createVerifier();
    const state = pending.awaitUpstream(asked.id, verifier);
    if (state === undefined) return { next: 'explain', problem: 'expired' };
    return { next: 'redirect', to: identity.authorizationUrl(state, verifier) };
  }

  /** `GET /oauth/callback`: the upstream's answer, carried by the browser. */
  async callback(query: URLSearchParams, browser: string | undefined): Promise<SignInStep> {
    const { pending, identity } = this.#deps;
    const parameters = parseParameters(query);
    if (isFault(parameters)) return { next: 'explain', problem: 'request_malformed' };
    const answered = pending.takeUpstreamAnswer(parameters.get('state') ?? '', browser);
    if (answered === undefined) return { next: 'explain', problem: 'expired' };
    const { id, request, verifier } = answered;
    const error = parameters.get('error');
    if (error !== undefined) {
      return this.#upstreamFailed(
        identity.explainError(error, parameters.get('error_description')),
        id,
        request,
      );
    }
    const tokens = await identity.redeemCode(parameters.get('code') ?? '', verifier);
    if (isIdentityFault(tokens)) return this.#upstreamFailed(tokens, id, request);
    const user = await identity.identify(tokens.access);
    if (isIdentityFault(user)) return this.#upstreamFailed(user, id, request);
    pending.close(id);
    return this.#complete(request, user, tokens);
  }

  async #complete(
    request: AuthorizationRequest,
    user: UpstreamIdentity,
    tokens: UpstreamTokens,
  ): Promise<SignInStep> {
    const { store, sealer, random, issuer, log } = this.#deps;
    const { grant, code, text } = this.#deps.tokens.issueCode(request);
    const userId = await store.recordSignIn({
      newUserId: randomId<UserId>(random, 'us_'),
      identity: user,
      credential: sealer.seal(user, tokens),
      grant,
      code,
    });
    log.info('grant.made', {
      user: userId,
      grant: grant.id,
      client: request.client.id,
      resource: request.resource,
    });
    return { next: 'redirect', to: responseUrl(request, issuer, { code: text }) };
  }

  #upstreamFailed(fault: IdentityFault, id: PendingId, request: AuthorizationRequest): SignInStep {
    const { pending, log } = this.#deps;
    log.warn('upstream.failed', { step: 'callback', kind: fault.kind, detail: fault.detail });
    switch (fault.kind) {
      case 'denied':
        pending.close(id);
        return this.#deny(request, 'access_denied', 'The user did not allow it at Forgejo.');
      case 'barred':
      case 'not_allowed':
        pending.close(id);
        return this.#deny(request, 'access_denied', 'This Forgejo account may not be used here.');
      case 'scope_conflict':
        pending.close(id);
        return { next: 'explain', problem: 'scope_conflict' };
      case 'signed_out':
      case 'unreachable':
      case 'misconfigured':
        return { next: 'upstream_failed', fault, form: pending.reopen(id) };
    }
  }

  #deny(request: AuthorizationRequest, error: string, description: string): SignInStep {
    const { issuer } = this.#deps;
    return { next: 'redirect', to: responseUrl(request, issuer, { error, description }) };
  }
}
