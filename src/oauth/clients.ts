/** OAuth clients: what may be registered (RFC 7591), and who may speak as one at the token endpoint. */
import { z } from 'zod';
import { parseJson } from '../base/fetch.js';
import {
  type ClientId,
  type Randomness,
  randomId,
  randomToken,
  type Sha256,
  sameText,
  sha256,
} from '../base/ids.js';
import { printable } from '../base/text.js';
import { fault, type OAuthFault } from './fault.js';
import type { Parameters } from './parameters.js';
import { refusalOfRedirectUris } from './redirect-uris.js';

/** RFC 7523 §2.2. */
export const ASSERTION_TYPE = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';

export const AUTH_METHODS = ['none', 'client_secret_post', 'client_secret_basic', 'private_key_jwt'] as const;
export type AuthMethod = (typeof AUTH_METHODS)[number];
export const GRANT_TYPES = ['authorization_code', 'refresh_token'] as const;
export type GrantType = (typeof GRANT_TYPES)[number];

/** Where a client comes from: registered itself, made by the operator, or described by a document at its own id. */
export type ClientKind = 'dynamic' | 'registered' | 'document';

export interface Client {
  readonly id: ClientId;
  readonly kind: ClientKind;
  /** As the client calls itself; unverified. */
  readonly name: string;
  readonly redirectUris: readonly string[];
  readonly authMethod: AuthMethod;
  readonly secretHash: Sha256 | undefined;
  /** Keys for `private_key_jwt`. With method `none` it may prove itself by them, but need not. */
  readonly jwksUri: string | undefined;
  readonly grantTypes: readonly GrantType[];
  /** The page the client names as its own; unverified, shown as text only. */
  readonly uri: string | undefined;
  /** Milliseconds since the epoch. */
  readonly createdAt: number;
  /** Described by our own copy of its document, because the original could not be had. */
  readonly pinned?: boolean;
}

/** RFC 7591 §2, the members that mean something here. Real clients send many others: they are ignored, not refused. */
const registration = z.object({
  redirect_uris: z.array(z.string()).min(1).max(20),
  client_name: z.string().nullish(),
  client_uri: z.string().max(2000).nullish(),
  token_endpoint_auth_method: z.string().nullish(),
  jwks_uri: z.string().max(2000).nullish(),
  grant_types: z.array(z.string()).max(20).nullish(),
  response_types: z.array(z.string()).max(20).nullish(),
});

export interface Registration {
  readonly client: Client;
  /** Leaves the process once, in the registration response; only its hash is kept. */
  readonly secret: string | undefined;
}

/** A new dynamic client from the body of a registration request. */
export function registerClient(body: unknown, now: number, random: Randomness): Registration | OAuthFault {
  const parsed = registration.safeParse(body);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    return fault(
      'metadata_refused',
      `${issue?.path.join('.') || 'body'}: ${issue?.message ?? 'not an object'}`,
    );
  }
  const metadata = parsed.data;
  const refusal = refusalOfRedirectUris(metadata.redirect_uris);
  if (refusal !== undefined) return fault('redirect_uri_refused', refusal);
  if (metadata.response_types?.includes('code') === false) {
    return fault('metadata_refused', 'response_types must include code');
  }
  const grantTypes = metadata.grant_types
    ? GRANT_TYPES.filter((type) => metadata.grant_types?.includes(type))
    : GRANT_TYPES;
  if (!grantTypes.includes('authorization_code')) {
    return fault('metadata_refused', 'grant_types must include authorization_code');
  }
  const authMethod = registeredAuthMethod(metadata.token_endpoint_auth_method);
  if (authMethod === undefined) {
    return fault('metadata_refused', `token_endpoint_auth_method must be one of ${AUTH_METHODS.join(', ')}`);
  }
  const jwksUri = authMethod === 'private_key_jwt' ? (metadata.jwks_uri ?? '') : undefined;
  if (jwksUri !== undefined && !jwksUri.startsWith('https://')) {
    return fault('metadata_refused', 'private_key_jwt needs an https jwks_uri');
  }
  const secret = authMethod.startsWith('client_secret_') ? randomToken(random, 'fjs_') : undefined;
  const client: Client = {
    id: randomId<ClientId>(random, 'cl_'),
    kind: 'dynamic',
    name: clientName(metadata.client_name) || 'an application without a name',
    redirectUris: metadata.redirect_uris,
    authMethod,
    secretHash: secret === undefined ? undefined : sha256(secret),
    jwksUri,
    grantTypes,
    uri: metadata.client_uri ?? undefined,
    createdAt: now,
  };
  return { client, secret };
}

const MAX_NAME_LENGTH = 200;

/** A name as it is kept. A longer one is cut, as RFC 7591 §3.2.1 lets us: no client should fail on its name. */
export function clientName(name: string | null | undefined): string {
  return [...printable(name ?? '')].slice(0, MAX_NAME_LENGTH).join('').trim();
}

/** RFC 7591 §2: an omitted method means `client_secret_basic`; Microsoft 365 Copilot relies on getting a secret then. */
function registeredAuthMethod(asked: string | null | undefined): AuthMethod | undefined {
  return asked === null || asked === undefined
    ? 'client_secret_basic'
    : AUTH_METHODS.find((method) => method === asked);
}

/** RFC 7591 §3.2.1. Members without a value are absent, never null: the SDKs' schemas refuse null. */
export function registrationResponse({ client, secret }: Registration): Record<string, unknown> {
  return {
    client_id: client.id,
    client_id_issued_at: Math.floor(client.createdAt / 1000),
    ...(secret === undefined ? {} : { client_secret: secret, client_secret_expires_at: 0 }),
    client_name: client.name,
    ...(client.uri === undefined ? {} : { client_uri: client.uri }),
    redirect_uris: client.redirectUris,
    grant_types: client.grantTypes,
    response_types: ['code'],
    token_endpoint_auth_method: client.authMethod,
    ...(client.jwksUri === undefined ? {} : { jwks_uri: client.jwksUri }),
  };
}

export interface ClientCredentials {
  readonly id: string;
  readonly proof:
    | { readonly by: 'nothing' }
    | { readonly by: 'secret'; readonly secret: string }
    | { readonly by: 'assertion'; readonly assertion: string };
}

/** The client's claim about itself: from HTTP Basic, a body secret, or an assertion, never from two (RFC 6749 §2.3). */
export function parseClientCredentials(
  form: Parameters,
  authorization: string | undefined,
): ClientCredentials | OAuthFault {
  const basic = authorization === undefined ? null : /^basic +([A-Za-z0-9+/=_-]+)$/i.exec(authorization);
  // Also two headers in one: whoever tries Basic and fails does not pass for a client without a secret.
  if (basic === null && /^basic\b/i.test(authorization ?? ''))
    return fault('client_unauthenticated', 'Basic cannot be read');
  const secret = form.get('client_secret');
  const assertion = form.get('client_assertion');
  const ways = [basic ?? undefined, secret, assertion].filter((way) => way !== undefined);
  if (ways.length > 1) return fault('request_malformed', 'several ways of client authentication');
  if (basic !== null) return parseBasic(basic[1] ?? '', form.get('client_id'));
  if (assertion !== undefined) return parseAssertion(form, assertion);
  const id = form.get('client_id');
  if (id === undefined) return fault('parameter_missing', 'client_id');
  return { id, proof: secret === undefined ? { by: 'nothing' } : { by: 'secret', secret } };
}

function parseBasic(text: string, named: string | undefined): ClientCredentials | OAuthFault {
  const decoded = Buffer.from(text, 'base64').toString('utf8');
  const colon = decoded.indexOf(':');
  if (colon < 0) return fault('client_unauthenticated', 'Basic without a colon');
  const id = formDecoded(decoded.slice(0, colon));
  if (named !== undefined && named !== id) return fault('request_malformed', 'client_id differs from Basic');
  return { id, proof: { by: 'secret', secret: formDecoded(decoded.slice(colon + 1)) } };
}

/** RFC 7521 §4.2: `client_id` may be left out; the assertion's subject names the client, and is checked later. */
function parseAssertion(form: Parameters, assertion: string): ClientCredentials | OAuthFault {
  if (form.get('client_assertion_type') !== ASSERTION_TYPE) {
    return fault('request_malformed', 'client_assertion_type is not jwt-bearer');
  }
  const claims = parseJson(Buffer.from(assertion.split('.')[1] ?? '', 'base64url').toString('utf8'));
  const subject = subjectOf.safeParse(claims);
  const id = form.get('client_id') ?? (subject.success ? subject.data.sub : undefined);
  return id === undefined
    ? fault('parameter_missing', 'client_id')
    : { id, proof: { by: 'assertion', assertion } };
}

const subjectOf = z.object({ sub: z.string() });

/** RFC 6749 §2.3.1 asks for form-encoding inside Basic; the SDKs do not do it. Our ids and secrets are the same both ways. */
function formDecoded(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '));
  } catch {
    return text;
  }
}

/** Checks a client that proves itself by a secret, in either way, or by nothing. */
export function checkClientSecret(client: Client, secret: string | undefined): OAuthFault | undefined {
  if (client.authMethod === 'private_key_jwt') return fault('client_unauthenticated', 'no assertion');
  if (client.secretHash === undefined) return undefined;
  if (secret === undefined) return fault('client_unauthenticated', 'no secret');
  return sameText(sha256(secret), client.secretHash)
    ? undefined
    : fault('client_unauthenticated', 'wrong secret');
}
