/**
 * Signing in: authorize, consent, callback. Each step returns what the browser should see next; nothing here
 * writes HTML or HTTP. The broker's own consent comes before the upstream, which asks a user only once per
 * application and afterwards answers silently: a stranger's client would ride on that old consent.
 */
import { type Randomness, randomId, type UserId } from '../base/ids.js';
import type { Log } from '../base/log.js';
import type { Audit, AuditId, AuditKind, AuditSubject } from './audit.js';
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
  type CredentialKeeper,
  type IdentityFault,
  type IdentityProvider,
  isIdentityFault,
  type UpstreamTokens,
} from './identity.js';
import { type Parameters, parseParameters } from './parameters.js';
import {
  type ConsentForm,
  isMisstep,
  type Misstep,
  type Origin,
  type PendingAuthorizations,
  type UpstreamAnswer,
} from './pending.js';
import { PINNED_DOCUMENTS } from './pinned-documents.js';
import type { OAuthStore, UpstreamIdentity } from './ports.js';
import { isLoopback } from './redirect-uris.js';
import type { Resources } from './resources.js';
import type { Tokens } from './tokens.js';
import { Turns } from './turns.js';

type Problem =
  | ShownReason
  | 'client_document_unavailable'
  | 'client_document_unreadable'
  | 'request_malformed'
  | 'expired'
  | 'answered'
  | 'scope_conflict';

export type SignInStep =
  | { readonly next: 'consent'; readonly form: ConsentForm }
  | { readonly next: 'redirect'; readonly to: string }
  /** A refusal for a client that nobody vouches for: the user decides whether to go where it wants the answer. */
  | {
      readonly next: 'offer_return';
      readonly to: string;
      readonly description: string;
      readonly audit: AuditId;
    }
  | {
      readonly next: 'explain';
      readonly problem: Problem;
      /** For the user to quote to the operator. */
      readonly audit?: AuditId;
      /** Where the client describes itself. */
      readonly host?: string;
    }
  /** The upstream failed; `form`, when still usable, lets the user try again. */
  | {
      readonly next: 'upstream_failed';
      readonly fault: IdentityFault;
      readonly form: ConsentForm | undefined;
    };

/** A consent that is refused before anything in it is looked at. */
export type FormProblem = 'form_malformed' | 'form_too_large' | 'form_foreign';

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
  readonly credentials: CredentialKeeper;
  readonly random: Randomness;
  readonly log: Log;
}

export class SignIn {
  readonly #deps: SignInDeps;
  readonly #turns = new Turns();

  constructor(deps: SignInDeps) {
    this.#deps = deps;
  }

  /** `GET /oauth/authorize`. */
  async authorize(query: URLSearchParams, origin: Origin): Promise<SignInStep> {
    const { clients, resources, pending, issuer, audit } = this.#deps;
    const parameters = parseParameters(query);
    if (isFault(parameters)) {
      const { reason } = parameters;
      return this.#explain('request_malformed', { reason }, 'authorization.refused');
    }
    const clientId = parameters.get('client_id');
    const client = clientId === undefined ? undefined : await clients.find(clientId, origin.network);
    if (client === 'no_place') return { next: 'explain', problem: 'client_document_unavailable' };
    const request = parseAuthorizationRequest(parameters, client, resources);
    if (!isRefusal(request)) return { next: 'consent', form: pending.open(request, origin) };
    if (request.refuse === 'show') {
      const { reason } = request;
      if (reason === 'client_unknown' && clientId !== undefined && clients.mayDescribe(clientId)) {
        const problem = 'client_document_unreadable';
        const subject = { reason, client: clientId.slice(0, 200) };
        const shown = await this.#explain(problem, subject, 'authorization.refused');
        return { ...shown, host: new URL(clientId).host };
      }
      const subject = { reason, client: clientId?.slice(0, 200) };
      return this.#explain(reason, subject, 'authorization.refused');
    }
    const { target, error, description } = request;
    const id = await audit('authorization.refused', { reason: error, client: client?.id });
    const to = responseUrl(target, issuer, { error, description });
    // RFC 9700 §4.11.2: sent on at once, a stranger's client would make us an open redirector.
    return client !== undefined && (isVouchedFor(client) || isLoopback(target.redirectUri))
      ? { next: 'redirect', to }
      : { next: 'offer_return', to, description, audit: id };
  }

  /** `POST /oauth/consent`. */
  async consent(form: Parameters, browser: string | undefined): Promise<SignInStep> {
    const { pending, identity, log } = this.#deps;
    const id = form.get('pending') ?? '';
    const asked = pending.consented(id, form.get('csrf') ?? '', browser);
    if (isMisstep(asked)) return this.#explainMisstep(asked);
    if (form.get('decision') !== 'continue') {
      pending.close(asked.id);
      return this.#deny(asked.request, 'cancelled', 'The user did not allow it.');
    }
    const resumed = pending.resume(asked.id);
    if (resumed !== undefined) return this.#finish(resumed, browser);
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
    if (state === undefined) return this.#explainMisstep({ misstep: 'expired' });
    return { next: 'redirect', to: identity.authorizationUrl(state, verifier) };
  }

  refuseForm(reason: FormProblem): Promise<SignInStep> {
    return this.#explain('request_malformed', { reason });
  }

  /** `GET /oauth/callback`: the upstream's answer, carried by the browser. */
  async callback(query: URLSearchParams, browser: string | undefined): Promise<SignInStep> {
    const parameters = parseParameters(query);
    if (isFault(parameters)) return this.#explain('request_malformed', { reason: 'callback_malformed' });
    const answer = this.#deps.pending.takeUpstreamAnswer(parameters.get('state') ?? '', browser);
    return isMisstep(answer) ? this.#explainMisstep(answer) : this.#finish(answer, browser, parameters);
  }

  /** From the upstream's answer to the client's. One at a time for each browser: the newest tokens come last. */
  #finish(answer: UpstreamAnswer, browser: string | undefined, parameters?: Parameters): Promise<SignInStep> {
    const { pending, credentials } = this.#deps;
    return this.#turns.take(browser ?? '', async () => {
      const tokens = await this.#tokensOf(answer, parameters);
      const user = isIdentityFault(tokens) ? tokens : await this.#identify(tokens);
      if (!pending.isCurrent(answer.state)) {
        if (!isIdentityFault(tokens) && !isIdentityFault(user)) await credentials.keep(user, tokens);
        return this.#explain('expired', { reason: 'superseded', client: answer.request.client.id });
      }
      if (isIdentityFault(tokens)) return this.#upstreamFailed(tokens, answer);
      return isIdentityFault(user)
        ? this.#upstreamFailed(user, answer, tokens)
        : this.#complete(answer, user, tokens);
    });
  }

  async #tokensOf(
    { brings }: UpstreamAnswer,
    parameters: Parameters | undefined,
  ): Promise<UpstreamTokens | IdentityFault> {
    const { identity, credentials } = this.#deps;
    if ('tokens' in brings) return brings.tokens;
    const error = parameters?.get('error');
    if (error !== undefined) return identity.explainError(error, parameters?.get('error_description'));
    return credentials.redeem(parameters?.get('code') ?? '', brings.verifier);
  }

  /** The code is used up and older tokens are dead: a hiccup here must not cost the user all other sign-ins. */
  async #identify(tokens: UpstreamTokens): Promise<UpstreamIdentity | IdentityFault> {
    for (let attempt = 1; ; attempt += 1) {
      const user = await this.#deps.identity.identify(tokens.access);
      if (!isIdentityFault(user) || user.kind !== 'unreachable' || attempt === IDENTIFY_ATTEMPTS) return user;
    }
  }

  async #complete(
    { id, state, request }: UpstreamAnswer,
    user: UpstreamIdentity,
    tokens: UpstreamTokens,
  ): Promise<SignInStep> {
    const { store, pending, credentials, random, issuer, audit } = this.#deps;
    const { grant, code, text } = this.#deps.tokens.issueCode(request);
    let userId: UserId | undefined;
    try {
      userId = await store.recordSignIn({
        newUserId: randomId<UserId>(random, 'us_'),
        identity: user,
        client: request.client,
        credential: credentials.receive(user, tokens),
        grant,
        code,
      });
    } catch (error) {
      // The store's failure, not the user's: the same page asked for again goes on from here.
      credentials.remember(user, tokens);
      pending.hold(state, tokens);
      throw error;
    }
    pending.close(id);
    const client = request.client.id;
    if (userId === undefined) return this.#explain('client_unknown', { reason: 'client_unknown', client });
    await audit('grant.made', { user: userId, client, grant: grant.id });
    return { next: 'redirect', to: responseUrl(request, issuer, { code: text }) };
  }

  async #upstreamFailed(
    fault: IdentityFault,
    { id, state, request }: UpstreamAnswer,
    tokens?: UpstreamTokens,
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
        return this.#deny(request, fault.kind, 'This Forgejo account may not be used here.', fault.user);
      case 'scope_conflict':
        pending.close(id);
        return this.#explain('scope_conflict', { reason: fault.kind, client: request.client.id });
      case 'misconfigured':
        // Trying again cannot help before the operator has acted.
        pending.close(id);
        return { next: 'upstream_failed', fault, form: undefined };
      case 'signed_out':
        return { next: 'upstream_failed', fault, form: pending.reopen(state) };
      case 'unreachable': {
        const form = tokens === undefined ? pending.reopen(state) : pending.hold(state, tokens);
        return { next: 'upstream_failed', fault, form };
      }
    }
  }

  async #explainMisstep({ misstep, client }: Misstep): Promise<SignInStep> {
    // No refusal: what was asked for has been done.
    if (misstep === 'answered') return { next: 'explain', problem: 'answered' };
    return this.#explain('expired', { reason: misstep, client });
  }

  async #explain(
    problem: Problem,
    subject: AuditSubject,
    kind: AuditKind = 'sign_in.refused',
  ): Promise<Extract<SignInStep, { next: 'explain' }>> {
    return { next: 'explain', problem, audit: await this.#deps.audit(kind, subject) };
  }

  async #deny(
    request: AuthorizationRequest,
    reason: string,
    description: string,
    account?: UpstreamIdentity,
  ): Promise<SignInStep> {
    const { issuer, audit, store } = this.#deps;
    const client = request.client.id;
    const id = await audit('sign_in.refused', {
      reason: account === undefined ? reason : `${reason}: ${nameOf(account)}`,
      client,
      user: account && (await store.findUser(account)),
    });
    const error = { error: 'access_denied', description: `${description} (${id})` };
    return { next: 'redirect', to: responseUrl(request, issuer, error) };
  }
}

/** For the audit trail. Only the number is for good; a login name that is none is left out. */
function nameOf({ subject, login }: UpstreamIdentity): string {
  return `Forgejo user ${subject}${/^[\w.-]{1,100}$/.test(login) ? ` (${login})` : ''}`;
}

/** Whether the operator made this client, or we know it by name. Anybody can register one, or publish a document. */
export function isVouchedFor({ id, kind }: Client): boolean {
  return kind === 'registered' || (kind === 'document' && PINNED_DOCUMENTS.has(id));
}
