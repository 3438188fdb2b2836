/** The broker's own scopes. What a user's token may do at Forgejo is the operator's choice, not the client's. */

/** Use the MCP endpoints. Every grant has it: a client that asks for less could do nothing. */
export const MCP_SCOPE = 'mcp';
/** Asked for by clients that want a refresh token. It is granted as asked; every client gets one anyway. */
export const OFFLINE_SCOPE = 'offline_access';

/** The scope to grant: what is known of what was asked. Unknown scopes are dropped, never an error (mcp-remote asks for OpenID's). */
export function grantedScope(asked: string | undefined): string {
  return asked?.split(' ').includes(OFFLINE_SCOPE) ? `${MCP_SCOPE} ${OFFLINE_SCOPE}` : MCP_SCOPE;
}
