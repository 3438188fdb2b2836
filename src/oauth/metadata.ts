/** The two discovery documents. Optional members without a value are absent: the SDKs' schemas refuse null. */
import { ASSERTION_ALGORITHMS } from './client-assertions.js';
import { AUTH_METHODS, GRANT_TYPES } from './clients.js';
import { MCP_SCOPE, OFFLINE_SCOPE } from './scopes.js';

export interface AdvertisedFeatures {
  /** Whether a client may be described by a document at its id. */
  readonly documents: boolean;
  /** RFC 9207. `iss` is sent in any case; some old clients fail when it is announced. */
  readonly advertiseIss: boolean;
}

/** RFC 8414. `issuer` has no trailing slash and is byte for byte the same everywhere. */
export function authorizationServerMetadata(
  issuer: string,
  { documents, advertiseIss }: AdvertisedFeatures,
): Record<string, unknown> {
  return {
    issuer,
    authorization_endpoint: `${issuer}/oauth/authorize`,
    token_endpoint: `${issuer}/oauth/token`,
    registration_endpoint: `${issuer}/oauth/register`,
    revocation_endpoint: `${issuer}/oauth/revoke`,
    introspection_endpoint: `${issuer}/oauth/introspect`,
    scopes_supported: [MCP_SCOPE, OFFLINE_SCOPE],
    response_types_supported: ['code'],
    response_modes_supported: ['query'],
    grant_types_supported: GRANT_TYPES,
    token_endpoint_auth_methods_supported: AUTH_METHODS,
    token_endpoint_auth_signing_alg_values_supported: ASSERTION_ALGORITHMS,
    revocation_endpoint_auth_methods_supported: AUTH_METHODS,
    introspection_endpoint_auth_methods_supported: ['client_secret_basic', 'client_secret_post'],
    code_challenge_methods_supported: ['S256'],
    client_id_metadata_document_supported: documents,
    ...(advertiseIss ? { authorization_response_iss_parameter_supported: true } : {}),
  };
}

/**
 * RFC 9728 for one resource. `offline_access` is not listed: it is the authorization server's business, and clients
 * that see it there add it themselves.
 */
export function protectedResourceMetadata(resource: string, issuer: string): Record<string, unknown> {
  return {
    resource,
    authorization_servers: [issuer],
    scopes_supported: [MCP_SCOPE],
    bearer_methods_supported: ['header'],
    resource_name: 'Forgejo MCP',
  };
}
