/**
 * What a client or a user can get wrong, as values. `reason` is ours and precise: it goes to the log.
 * The wire sees the standard's code, a status, and a sentence that helps an honest developer and no one else.
 */

export const OAUTH_REASONS = [
  'request_malformed',
  'parameter_repeated',
  'parameter_missing',
  'client_unknown',
  'client_unauthenticated',
  'client_keys_unavailable',
  'client_document_unavailable',
  'grant_type_unsupported',
  'grant_type_not_registered',
  'code_unknown',
  'code_expired',
  'code_replayed',
  'code_of_another_client',
  'redirect_uri_differs',
  'verifier_differs',
  'refresh_unknown',
  'refresh_expired',
  'refresh_reused',
  'refresh_over_cap',
  'refresh_of_another_client',
  'user_signed_out',
  'resource_unknown',
  'redirect_uri_refused',
  'metadata_refused',
] as const;
export type OAuthReason = (typeof OAUTH_REASONS)[number];

export interface OAuthFault {
  readonly reason: OAuthReason;
  /** Names the offending parameter or rule. Never holds what the caller sent. */
  readonly detail: string;
}

export interface WireError {
  readonly status: 400 | 401 | 503;
  readonly code: string;
  readonly description: string;
}

export function fault(reason: OAuthReason, detail = ''): OAuthFault {
  return { reason, detail };
}

export function isFault<T extends object>(value: T | OAuthFault): value is OAuthFault {
  return 'reason' in value && 'detail' in value;
}

/** RFC 6749 §5.2, RFC 7591 §3.2.2, RFC 8707 §2: our reason to their code. A description may hold neither `"` nor `\`. */
export function toWire({ reason, detail }: OAuthFault): WireError {
  switch (reason) {
    case 'request_malformed':
      return { status: 400, code: 'invalid_request', description: `The request is malformed: ${detail}.` };
    case 'parameter_repeated':
      return {
        status: 400,
        code: 'invalid_request',
        description: `Parameter ${detail} appears more than once.`,
      };
    case 'parameter_missing':
      return { status: 400, code: 'invalid_request', description: `Parameter ${detail} is missing.` };
    case 'client_unknown':
    case 'client_unauthenticated':
      // 401 also for a deleted client: the SDKs then drop it and register anew.
      return { status: 401, code: 'invalid_client', description: 'Client authentication failed.' };
    case 'client_keys_unavailable':
    case 'client_document_unavailable':
      // Not `invalid_client`: the SDKs would drop a registration that is in order.
      return {
        status: 503,
        code: 'temporarily_unavailable',
        description: `The ${reason === 'client_keys_unavailable' ? 'keys' : 'metadata'} of the client cannot be fetched at the moment. Try again later.`,
      };
    case 'grant_type_unsupported':
      return {
        status: 400,
        code: 'unsupported_grant_type',
        description: 'This grant type is not supported.',
      };
    case 'grant_type_not_registered':
      return {
        status: 400,
        code: 'unauthorized_client',
        description: 'The client did not register this grant type.',
      };
    case 'code_unknown':
    case 'code_expired':
    case 'code_replayed':
    case 'code_of_another_client':
    case 'redirect_uri_differs':
    case 'verifier_differs':
      return {
        status: 400,
        code: 'invalid_grant',
        description: 'The authorization code is invalid, expired, used, or was issued for another request.',
      };
    case 'refresh_unknown':
    case 'refresh_expired':
    case 'refresh_reused':
    case 'refresh_over_cap':
    case 'refresh_of_another_client':
    case 'user_signed_out':
      return {
        status: 400,
        code: 'invalid_grant',
        description: 'The refresh token is invalid, expired or revoked. Sign in again.',
      };
    case 'resource_unknown':
      return { status: 400, code: 'invalid_target', description: 'This resource is not served here.' };
    case 'redirect_uri_refused':
      return {
        status: 400,
        code: 'invalid_redirect_uri',
        description: `A redirect URI is refused: ${detail}.`,
      };
    case 'metadata_refused':
      return {
        status: 400,
        code: 'invalid_client_metadata',
        description: `The metadata is refused: ${detail}.`,
      };
  }
}
