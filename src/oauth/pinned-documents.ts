/**
 * Copies of the metadata documents of well-known clients, for when theirs cannot be fetched: claude.ai and chatgpt.com
 * answer many servers with a challenge page. A document that can be fetched always wins.
 */

interface Pinned {
  readonly id: string;
  readonly name: string;
  readonly redirectUris: readonly string[];
  readonly jwksUri?: string;
}

const LOOPBACK = ['http://localhost/callback', 'http://127.0.0.1/callback'];

const PINNED: readonly Pinned[] = [
  {
    id: 'https://claude.ai/oauth/mcp-oauth-client-metadata',
    name: 'Claude',
    redirectUris: ['https://claude.ai/api/mcp/auth_callback', 'https://claude.com/api/mcp/auth_callback'],
  },
  { id: 'https://claude.ai/oauth/claude-code-client-metadata', name: 'Claude Code', redirectUris: LOOPBACK },
  {
    id: 'https://chatgpt.com/oauth/client.json',
    name: 'ChatGPT',
    redirectUris: ['https://chatgpt.com/connector_platform_oauth_redirect'],
    jwksUri: 'https://chatgpt.com/oauth/jwks.json',
  },
  { id: 'https://chatgpt.com/oauth/codex/client.json', name: 'Codex', redirectUris: LOOPBACK },
  {
    id: 'https://vscode.dev/oauth/client-metadata.json',
    name: 'Visual Studio Code',
    redirectUris: ['http://127.0.0.1:33418/', 'https://vscode.dev/redirect'],
  },
  { id: 'https://zed.dev/oauth/client-metadata.json', name: 'Zed', redirectUris: LOOPBACK },
  { id: 'https://opencode.ai/oauth/opencode/client.json', name: 'OpenCode', redirectUris: LOOPBACK },
  {
    id: 'https://nousresearch.github.io/hermes-agent/docs/oauth/client-metadata.json',
    name: 'Hermes Agent',
    redirectUris: LOOPBACK,
  },
];

/** By client id, as document text, so that a pinned copy takes the same road as a fetched one. */
export const PINNED_DOCUMENTS: ReadonlyMap<string, string> = new Map(
  PINNED.map(({ id, name, redirectUris, jwksUri }) => [
    id,
    JSON.stringify({
      client_id: id,
      client_name: name,
      redirect_uris: redirectUris,
      token_endpoint_auth_methods_supported: jwksUri === undefined ? ['none'] : ['none', 'private_key_jwt'],
      ...(jwksUri === undefined ? {} : { jwks_uri: jwksUri }),
    }),
  ]),
);
