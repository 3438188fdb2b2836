/**
 * Signing in: authorize, consent, callback. Each step returns what the browser should see next; nothing here
 * writes HTML or HTTP. The broker's own consent comes before the upstream, which asks a user only once per
 * application and afterwards answers silently: a stranger's client would ride on that old consent.
 */
import { type Randomness, randomId, type UserId } from '../base/ids.js';
import type { Log } from '../base/log.js';
import type { Audit, AuditId } from './audit.js';
import {
  type AuthorizationRequest,
  isRefusal,
  parseAuthorizationRequest,
  responseUrl,
  type ShownReason,
} from './authorization.js';
import type { ClientRegistry } from './client-registry.js';
import type { Client } from './clients.js';
import { isFault } from './fault.js';
import {
  type CredentialSealer,
  type IdentityFault,
  type IdentityProvider,
  isIdentityFault,
  type UpstreamTokens,
} from './identity.js';
import { type Parameters, parseParameters } from './parameters.js';
import { type ConsentForm, type PendingAuthorizations, type PendingId, pendingIdOf } from './pending.js';
import { PINNED_DOCUMENTS } from './pinned-documents.js';
import type { OAuthStore, UpstreamIdentity } from './ports.js';
import { isLoopback } from './redirect-uris.js';
import type { Resources } from './resources.js';
import type { Tokens } from './tokens.js';
import { Turns } from './turns.js';

export type SignInStep =
  | { readonly next: 'consent'; readonly form: ConsentForm }
  | { readonly next: 'redirect'; readonly to: string }
  /** A refusal for a client that nobody vouches for: the user decides whether to go where it wants the answer. */
  | { readonly next: 'offer_return'; readonly to: string; readonly description: string }
  | {
      readonly next: 'explain';
      readonly problem:
        | ShownReason
        | 'client_document_unavailable'
        | 'request_malformed'
        | 'expired'
        | 'answered'
        | 'scope_conflict';
      /** For the user to quote to the operator. */
      readonly audit?: AuditId;
    }
  /** The upstream failed; `form`, when still usable, lets the user try again. */
  | {
      readonly next: 'upstream_failed';
      readonly fault: IdentityFault;
      readonly form: ConsentForm | undefined;
    };

const IDENTIFY_ATTEMPTS = 3;

export interface SignInDeps {
  readonly issuer: string;
  readonly resources: Resources;
  readonly store: OAuthStore;
  readonly clients: ClientRegistry;
  readonly tokens: Tokens;
  readonly audit: Audit;
  readonly pending: PendingAuthorizations;
  readonly identity: IdentityProvider;
  readonly sealer: CredentialSealer;
  readonly random: Randomness;
  readonly log: Log;
}

export class SignIn {
  readonly #deps: SignInDeps;
  readonly #turns = new Turns();

  constructor(deps: SignInDeps) {
    this.#deps = deps;
  }

  /** `GET /oauth/authorize`, from the browser whose cookie value is `browser`, in the network of that name. */
  async authorize(query: URLSearchParams, browser: string, network: string): Promise<SignInStep> {
    const { clients, resources, pending, issuer, audit } = this.#deps;
    const parameters = parseParameters(query);
    if (isFault(parameters)) return { next: 'explain', problem: 'request_malformed' };
    const clientId = parameters.get('client_id');
    const client = clientId === undefined ? undefined : await clients.find(clientId, network);
    if (client === 'no_place') return { next: 'explain', problem: 'client_document_unavailable' };
    const request = parseAuthorizationRequest(parameters, client, resources);
    if (!isRefusal(request)) return { next: 'consent', form: pending.open(request, browser) };
    if (request.refuse === 'show') {
      const { reason } = request;
      return {
        next: 'explain',
        problem: reason,
        audit: await audit('authorization.refused', { reason, client: clientId?.slice(0, 200) }),
      };
    }
    const { target, error, description } = request;
    await audit('authorization.refused', { reason: error, client: client?.id });
    const to = responseUrl(target, issuer, { error, description });
    // RFC 9700 §4.11.2: sent on at once, a stranger's client would make us an open redirector.
    return client !== undefined && (isVouchedFor(client) || isLoopback(target.redirectUri))
      ? { next: 'redirect', to }
      : { next: 'offer_return', to, description };
  }

  /** `POST /oauth/consent`. */
  async consent(form: Parameters, browser: string | undefined): Promise<SignInStep> {
    const { pending, identity, log } = this.#deps;
    const id = form.get('pending') ?? '';
    const asked = pending.consented(id, form.get('csrf') ?? '', browser);
    if (asked === undefined) return this.#over(id, browser);
    if (form.get('decision') !== 'continue') {
      pending.close(asked.id);
      return this.#deny(asked.request, 'cancelled', 'The user did not allow it.');
    }
    const unfit = await identity.check();
    if (unfit !== undefined) {
      log.warn('upstream.failed', { step: 'check', kind: unfit.kind, detail: unfit.detail });
      return {
        next: 'upstream_failed',
        fault: unfit,
        form: unfit.kind === 'misconfigured' ? undefined : asked,
      };
    }
    const verifier = identity.createVerifier();
    const state = pending.awaitUpstream(asked.id, verifier);
    if (state === undefined) return this.#over(id, browser);
    return { next: 'redirect', to: identity.authorizationUrl(state, verifier) };
  }

  /** `GET /oauth/callback`: the upstream's answer, carried by the browser. */
  async callback(query: URLSearchParams, browser: string | undefined): Promise<SignInStep> {
    const { pending } = this.#deps;
    const parameters = parseParameters(query);
    if (isFault(parameters)) return { next: 'explain', problem: 'request_malformed' };
    const state = parameters.get('state') ?? '';
    const answered = pending.takeUpstreamAnswer(state, browser);
    if (answered === undefined) return this.#over(pendingIdOf(state), browser);
    const { id, request, verifier } = answered;
    // The newest tokens must be stored last: Forgejo has killed all older ones of this user.
    return this.#turns.take(browser ?? '', async () => {
      const signedIn = await this.#askUpstream(parameters, verifier);
      if (!pending.isCurrent(state)) {
        // The answer is void, but its tokens are the only living ones now.
        if (!isIdentityFault(signedIn)) await this.#keep(signedIn.user, signedIn.tokens);
        return this.#over(id, browser);
      }
      if (isIdentityFault(signedIn)) return this.#upstreamFailed(signedIn, id, request);
      pending.close(id);
      return this.#complete(request, signedIn.user, signedIn.tokens);
    });
  }

  async #askUpstream(
    parameters: Parameters,
    verifier: string,
  ): Promise<{ readonly user: UpstreamIdentity; readonly tokens: UpstreamTokens } | IdentityFault> {
    const { identity } = this.#deps;
    const error = parameters.get('error');
    if (error !== undefined) return identity.explainError(error, parameters.get('error_description'));
    const tokens = await identity.redeemCode(parameters.get('code') ?? '', verifier);
    if (isIdentityFault(tokens)) return tokens;
    // The code is used up and older tokens are dead: a hiccup here must not cost the user all other sign-ins.
    for (let attempt = 1; ; attempt += 1) {
      const user = await identity.identify(tokens.access);
      if (!isIdentityFault(user)) return { user, tokens };
      if (user.kind !== 'unreachable' || attempt === IDENTIFY_ATTEMPTS) return user;
    }
  }

  /** Nothing can be done with it any more: it was answered, or its time is over. */
  #over(id: string, browser: string | undefined): SignInStep {
    const answered = this.#deps.pending.isAnswered(id, browser);
    return { next: 'explain', problem: answered ? 'answered' : 'expired' };
  }

  #keep(user: UpstreamIdentity, tokens: UpstreamTokens): Promise<void> {
    const { store, sealer } = this.#deps;
    return store.keepCredential(user, sealer.seal(user, tokens));
  }

  async #complete(
    request: AuthorizationRequest,
    user: UpstreamIdentity,
    tokens: UpstreamTokens,
  ): Promise<SignInStep> {
    const { store, sealer, random, issuer, audit } = this.#deps;
    const { grant, code, text } = this.#deps.tokens.issueCode(request);
    const userId = await store.recordSignIn({
      newUserId: randomId<UserId>(random, 'us_'),
      identity: user,
      client: request.client,
      credential: sealer.seal(user, tokens),
      grant,
      code,
    });
    if (userId === undefined) return { next: 'explain', problem: 'client_unknown' };
    await audit('grant.made', { user: userId, client: request.client.id, grant: grant.id });
    return { next: 'redirect', to: responseUrl(request, issuer, { code: text }) };
  }

  async #upstreamFailed(
    fault: IdentityFault,
    id: PendingId,
    request: AuthorizationRequest,
  ): Promise<SignInStep> {
    const { pending, log } = this.#deps;
    log.warn('upstream.failed', { step: 'callback', kind: fault.kind, detail: fault.detail });
    switch (fault.kind) {
      case 'denied':
        pending.close(id);
        return this.#deny(request, fault.kind, 'The user did not allow it at Forgejo.');
      case 'barred':
      case 'not_allowed':
        pending.close(id);
        return this.#deny(request, fault.kind, 'This Forgejo account may not be used here.');
      case 'scope_conflict':
        pending.close(id);
        return {
          next: 'explain',
          problem: 'scope_conflict',
          audit: await this.#deps.audit('sign_in.refused', { reason: fault.kind, client: request.client.id }),
        };
      case 'misconfigured':
        // Trying again cannot help before the operator has acted.
        pending.close(id);
        return { next: 'upstream_failed', fault, form: undefined };
      case 'signed_out':
      case 'unreachable':
        return { next: 'upstream_failed', fault, form: pending.reopen(id) };
    }
  }

  async #deny(request: AuthorizationRequest, reason: string, description: string): Promise<SignInStep> {
    const { issuer, audit } = this.#deps;
    await audit('sign_in.refused', { reason, client: request.client.id });
    return { next: 'redirect', to: responseUrl(request, issuer, { error: 'access_denied', description }) };
  }
}

/** Whether the operator made this client, or we know it by name. Anybody can register one, or publish a document. */
function isVouchedFor({ id, kind }: Client): boolean {
  return kind === 'registered' || (kind === 'document' && PINNED_DOCUMENTS.has(id));
}
