/** The two discovery documents. Optional members without a value are absent: the SDKs' schemas refuse null. */
import { AUTH_METHODS, GRANT_TYPES } from './clients.js';
import { MCP_SCOPE, OFFLINE_SCOPE } from './scopes.js';

/** RFC 8414. `issuer` has no trailing slash and is byte for byte the same everywhere. */
export function authorizationServerMetadata(issuer: string): Record<string, unknown> {
  return {
    issuer,
    authorization_endpoint: `${issuer}/oauth/authorize`,
    token_endpoint: `${issuer}/oauth/token`,
    registration_endpoint: `${issuer}/oauth/register`,
    revocation_endpoint: `${issuer}/oauth/revoke`,
    scopes_supported: [MCP_SCOPE, OFFLINE_SCOPE],
    response_types_supported: ['code'],
    response_modes_supported: ['query'],
    grant_types_supported: GRANT_TYPES,
    token_endpoint_auth_methods_supported: AUTH_METHODS,
    revocation_endpoint_auth_methods_supported: AUTH_METHODS,
    code_challenge_methods_supported: ['S256'],
    authorization_response_iss_parameter_supported: true,
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
