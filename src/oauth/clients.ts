/** OAuth clients: what may be registered (RFC 7591), and who may speak as one at the token endpoint. */
import { z } from 'zod';
import {
  type ClientId,
  type Randomness,
  randomId,
  randomToken,
  type Sha256,
  sameText,
  sha256,
} from '../base/ids.js';
import { fault, type OAuthFault } from './fault.js';
import type { Parameters } from './parameters.js';
import { refusalOfRedirectUri } from './redirect-uris.js';

export const AUTH_METHODS = ['none', 'client_secret_post', 'client_secret_basic'] as const;
export type AuthMethod = (typeof AUTH_METHODS)[number];
export const GRANT_TYPES = ['authorization_code', 'refresh_token'] as const;
export type GrantType = (typeof GRANT_TYPES)[number];

export interface Client {
  readonly id: ClientId;
  /** As the client calls itself; unverified. */
  readonly name: string;
  readonly redirectUris: readonly string[];
  readonly authMethod: AuthMethod;
  readonly secretHash: Sha256 | undefined;
  readonly grantTypes: readonly GrantType[];
  /** The page the client names as its own; unverified, shown as text only. */
  readonly uri: string | undefined;
  /** Milliseconds since the epoch. */
  readonly createdAt: number;
}

/** RFC 7591 §2, the members that mean something here. Real clients send many others: they are ignored, not refused. */
const registration = z.object({
  redirect_uris: z.array(z.string()).min(1).max(20),
  client_name: z.string().max(200).nullish(),
  client_uri: z.string().max(2000).nullish(),
  token_endpoint_auth_method: z.string().nullish(),
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
  for (const uri of metadata.redirect_uris) {
    const refusal = refusalOfRedirectUri(uri);
    if (refusal !== undefined) return fault('redirect_uri_refused', refusal);
  }
  if (metadata.response_types?.includes('code') === false) {
    return fault('metadata_refused', 'response_types must include "code"');
  }
  const grantTypes = metadata.grant_types
    ? GRANT_TYPES.filter((type) => metadata.grant_types?.includes(type))
    : GRANT_TYPES;
  if (!grantTypes.includes('authorization_code')) {
    return fault('metadata_refused', 'grant_types must include "authorization_code"');
  }
  const authMethod = registeredAuthMethod(metadata.token_endpoint_auth_method);
  if (authMethod === undefined) {
    return fault('metadata_refused', `token_endpoint_auth_method must be one of ${AUTH_METHODS.join(', ')}`);
  }
  const secret = authMethod === 'none' ? undefined : randomToken(random, 'fjs_');
  const client: Client = {
    id: randomId<ClientId>(random, 'cl_'),
    name: metadata.client_name?.trim() || 'unnamed client',
    redirectUris: metadata.redirect_uris,
    authMethod,
    secretHash: secret === undefined ? undefined : sha256(secret),
    grantTypes,
    uri: metadata.client_uri ?? undefined,
    createdAt: now,
  };
  return { client, secret };
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
  };
}

export interface ClientCredentials {
  readonly id: string;
  readonly secret: string | undefined;
}

/** The client's claim about itself: from HTTP Basic or from the body, never from both (RFC 6749 §2.3). */
export function parseClientCredentials(
  form: Parameters,
  authorization: string | undefined,
): ClientCredentials | OAuthFault {
  const basic = authorization === undefined ? null : /^basic +([A-Za-z0-9+/=_-]+)$/i.exec(authorization);
  if (basic === null) {
    const id = form.get('client_id');
    return id === undefined
      ? fault('parameter_missing', 'client_id')
      : { id, secret: form.get('client_secret') };
  }
  if (form.get('client_secret') !== undefined)
    return fault('request_malformed', 'two ways of client authentication');
  const decoded = Buffer.from(basic[1] ?? '', 'base64').toString('utf8');
  const colon = decoded.indexOf(':');
  if (colon < 0) return fault('client_unauthenticated', 'Basic without a colon');
  const id = formDecoded(decoded.slice(0, colon));
  const named = form.get('client_id');
  if (named !== undefined && named !== id) return fault('request_malformed', 'client_id differs from Basic');
  return { id, secret: formDecoded(decoded.slice(colon + 1)) };
}

/** RFC 6749 §2.3.1 asks for form-encoding inside Basic; the SDKs do not do it. Our ids and secrets are the same both ways. */
function formDecoded(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '));
  } catch {
    return text;
  }
}

/** Checks that whoever sent `claimed` may speak as `client`. A confidential client may choose either way to send its secret. */
export function checkClientAuthentication(
  client: Client,
  claimed: ClientCredentials,
): OAuthFault | undefined {
  if (client.secretHash === undefined) return undefined;
  if (claimed.secret === undefined) return fault('client_unauthenticated', 'no secret');
  return sameText(sha256(claimed.secret), client.secretHash)
    ? undefined
    : fault('client_unauthenticated', 'wrong secret');
}
