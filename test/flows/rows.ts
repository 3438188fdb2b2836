/** What real clients send, as traced or as their makers document it. Ports that are random there are fixed here. */

/** Method, path, the status it must get, and the client's headers. */
export type DiscoveryStep = readonly [
  method: string,
  path: string,
  status: number,
  headers?: Readonly<Record<string, string>>,
];

interface CommonRow {
  readonly name: string;
  readonly discovery: readonly DiscoveryStep[];
  readonly redirectUri: string;
  readonly scope?: string;
  readonly prompt?: string;
  /** Paths of the resources asked for, in all three requests; default: the endpoint once. */
  readonly resource?: readonly string[];
  readonly auth: 'none' | 'post' | 'basic' | 'private_key_jwt';
  /** The scope it must be given; default: both. */
  readonly granted?: string;
  readonly refreshScope?: string;
  readonly stateless?: boolean;
  readonly verifierBytes?: number;
  readonly authorizeAt?: string;
  readonly tokenAt?: string;
}

type Registration = {
  readonly redirect_uris: readonly string[];
  readonly token_endpoint_auth_method?: string;
} & Readonly<Record<string, unknown>>;

export type ClientRow = CommonRow &
  (
    | { readonly document: string }
    | { readonly published: Registration | { readonly redirect_uris: readonly string[] } }
    | { readonly register: Registration; readonly registrations?: number; readonly registerAt?: string }
  );

const RESOURCE = '/.well-known/oauth-protected-resource/mcp';
const SERVER = '/.well-known/oauth-authorization-server';
const JSON_OR_STREAM = { Accept: 'application/json, text/event-stream', 'Content-Type': 'application/json' };
const V2025 = { 'MCP-Protocol-Version': '2025-11-25' };

const POST_FIRST: readonly DiscoveryStep[] = [
  ['POST', '/mcp', 401, JSON_OR_STREAM],
  ['GET', RESOURCE, 200, { ...V2025, Accept: '*/*' }],
  ['GET', SERVER, 200, { ...V2025, Accept: 'application/json' }],
];
const METADATA_FIRST: readonly DiscoveryStep[] = [
  ['GET', RESOURCE, 200, { Accept: 'application/json' }],
  ['GET', SERVER, 200, { Accept: 'application/json' }],
];
const CODEX_PROBE: readonly DiscoveryStep[] = [
  ['GET', '/mcp', 401, { Accept: '*/*', 'MCP-Protocol-Version': '2024-11-05' }],
  ['GET', RESOURCE, 200, { 'MCP-Protocol-Version': '2024-11-05' }],
  ['GET', SERVER, 200, { 'MCP-Protocol-Version': '2024-11-05' }],
];
const GRANTS = ['authorization_code', 'refresh_token'];
const BOTH = 'mcp offline_access';
const CODE = { grant_types: GRANTS, response_types: ['code'] };
const PUBLIC = { ...CODE, token_endpoint_auth_method: 'none' };

const claude = {
  discovery: POST_FIRST,
  redirectUri: 'https://claude.ai/api/mcp/auth_callback',
  scope: BOTH,
  prompt: 'consent',
} as const;
const claudeCode = {
  discovery: METADATA_FIRST,
  redirectUri: 'http://localhost:53682/callback',
  scope: BOTH,
  prompt: 'consent',
  auth: 'none',
} as const;
const chatGpt = { discovery: [...METADATA_FIRST], scope: BOTH } as const;
const codex = {
  discovery: CODEX_PROBE,
  redirectUri: 'http://127.0.0.1:41235/callback',
  scope: BOTH,
  auth: 'none',
  refreshScope: BOTH,
} as const;
const CURSOR = [
  'http://localhost:8787/callback',
  'https://www.cursor.com/agents/mcp/oauth/callback',
  'cursor://anysphere.cursor-mcp/oauth/callback',
];
const VS_CODE = [
  'https://insiders.vscode.dev/redirect',
  'https://vscode.dev/redirect',
  'http://127.0.0.1/',
  'http://127.0.0.1:33418/',
];
const vsCode = {
  discovery: [
    ['POST', '/mcp', 401, JSON_OR_STREAM],
    ['GET', RESOURCE, 200, V2025],
    ['GET', SERVER, 200, V2025],
  ] as readonly DiscoveryStep[],
  scope: 'mcp',
  granted: 'mcp',
  auth: 'none',
} as const;
const vsCodeBody = {
  client_name: 'Visual Studio Code',
  client_uri: 'https://code.visualstudio.com',
  grant_types: GRANTS,
  response_types: ['code'],
  redirect_uris: VS_CODE,
  scope: 'mcp',
  token_endpoint_auth_method: 'none',
  application_type: 'native',
};

export const CLIENT_ROWS: readonly ClientRow[] = [
  {
    ...claude,
    name: 'claude.ai by its document',
    document: 'https://claude.ai/oauth/mcp-oauth-client-metadata',
    auth: 'none',
  },
  {
    ...claude,
    name: 'claude.ai by registration with client_secret_post',
    register: {
      client_name: 'Claude',
      redirect_uris: ['https://claude.ai/api/mcp/auth_callback'],
      ...CODE,
      token_endpoint_auth_method: 'client_secret_post',
      scope: BOTH,
    },
    auth: 'post',
  },
  {
    ...claude,
    name: 'claude.ai guessing the endpoints of 2025-03-26',
    discovery: [
      ['POST', '/mcp', 401, JSON_OR_STREAM],
      ['GET', `${SERVER}`, 200],
    ],
    register: { client_name: 'Claude', redirect_uris: [claude.redirectUri], ...PUBLIC },
    registerAt: '/register',
    authorizeAt: '/authorize',
    tokenAt: '/token',
    auth: 'none',
  },
  {
    ...claudeCode,
    name: 'Claude Code by its document',
    document: 'https://claude.ai/oauth/claude-code-client-metadata',
  },
  {
    ...claudeCode,
    name: 'Claude Code by registration',
    register: {
      client_name: 'Claude Code (forgejo)',
      redirect_uris: ['http://localhost:53682/callback'],
      ...PUBLIC,
      application_type: 'native',
      scope: BOTH,
    },
  },
  {
    ...chatGpt,
    name: 'ChatGPT with its stable redirect, without an assertion',
    document: 'https://chatgpt.com/oauth/client.json',
    redirectUri: 'https://chatgpt.com/connector_platform_oauth_redirect',
    auth: 'none',
  },
  {
    ...chatGpt,
    name: 'ChatGPT with a redirect of its connector and private_key_jwt',
    published: {
      client_name: 'ChatGPT',
      redirect_uris: ['https://chatgpt.com/connector/oauth/abc'],
      grant_types: GRANTS,
      token_endpoint_auth_methods_supported: ['none', 'private_key_jwt'],
    },
    redirectUri: 'https://chatgpt.com/connector/oauth/abc',
    auth: 'private_key_jwt',
  },
  {
    ...chatGpt,
    name: 'ChatGPT by registration, asking for the origin as its resource',
    register: { client_name: 'ChatGPT', redirect_uris: ['https://chatgpt.com/connector/oauth/abc'], ...CODE },
    redirectUri: 'https://chatgpt.com/connector/oauth/abc',
    resource: [''],
    auth: 'basic',
  },
  {
    ...codex,
    name: 'Codex by its document, naming its resource twice',
    document: 'https://chatgpt.com/oauth/codex/client.json',
    resource: ['/mcp', '/mcp'],
  },
  {
    ...codex,
    name: 'Codex by registration, refreshing with more scope than it was given',
    register: {
      client_name: 'Codex',
      redirect_uris: ['http://127.0.0.1:41235/callback'],
      ...PUBLIC,
      scope: BOTH,
      application_type: 'native',
    },
    scope: 'mcp',
    granted: 'mcp',
  },
  {
    ...vsCode,
    name: 'VS Code by its document',
    document: 'https://vscode.dev/oauth/client-metadata.json',
    redirectUri: 'http://127.0.0.1:33418/',
  },
  {
    ...vsCode,
    name: 'VS Code by registration, on another port',
    register: vsCodeBody,
    redirectUri: 'http://127.0.0.1:40123/',
  },
  {
    ...vsCode,
    name: 'VS Code by registration, in a browser, with the device grant in its list',
    register: { ...vsCodeBody, grant_types: [...GRANTS, 'urn:ietf:params:oauth:grant-type:device_code'] },
    redirectUri: 'https://vscode.dev/redirect',
  },
  ...CURSOR.map(
    (redirectUri): ClientRow => ({
      name: `Cursor at ${redirectUri}`,
      discovery: POST_FIRST,
      register: { client_name: 'Cursor', redirect_uris: CURSOR, ...PUBLIC },
      redirectUri,
      scope: BOTH,
      auth: 'none',
    }),
  ),
  {
    name: 'Gemini CLI',
    discovery: [
      ['POST', '/mcp', 401, JSON_OR_STREAM],
      ['HEAD', '/mcp', 401, { Accept: 'application/json' }],
      ['GET', RESOURCE, 200, { Accept: '*/*' }],
      ['GET', SERVER, 200, { Accept: '*/*' }],
      ['GET', SERVER, 200, { Accept: '*/*' }],
    ],
    register: {
      client_name: 'Gemini CLI MCP Client',
      redirect_uris: ['http://localhost:7777/oauth/callback'],
      ...PUBLIC,
      scope: BOTH,
    },
    redirectUri: 'http://localhost:7777/oauth/callback',
    scope: BOTH,
    verifierBytes: 64,
    auth: 'none',
  },
  {
    name: 'opencode, which registers twice',
    discovery: POST_FIRST,
    register: {
      client_name: 'OpenCode',
      client_uri: 'https://opencode.ai',
      redirect_uris: ['http://127.0.0.1:19876/mcp/oauth/callback'],
      ...PUBLIC,
    },
    registrations: 2,
    redirectUri: 'http://127.0.0.1:19876/mcp/oauth/callback',
    scope: BOTH,
    prompt: 'consent',
    auth: 'none',
  },
  {
    name: 'mcp-remote, falling back to the scopes of OpenID',
    discovery: [
      ['GET', '/mcp', 401],
      ['GET', RESOURCE, 200],
      ['GET', `${SERVER}/mcp`, 200],
      ['GET', SERVER, 200],
      ['GET', '/.well-known/openid-configuration', 404],
    ],
    register: {
      client_name: 'MCP CLI Proxy',
      client_uri: 'https://github.com/modelcontextprotocol/mcp-cli',
      redirect_uris: ['http://localhost:18453/oauth/callback'],
      ...PUBLIC,
      software_id: '2e6dc280-f3c3-4e01-99a7-8181dbd1d23d',
      software_version: '0.15.1',
      application_type: 'native',
    },
    redirectUri: 'http://localhost:18453/oauth/callback',
    scope: 'openid email profile',
    refreshScope: 'openid email profile',
    granted: 'mcp',
    auth: 'none',
  },
  ...['http://127.0.0.1:6276/oauth/callback', 'http://localhost:6274/oauth/callback'].map(
    (redirectUri): ClientRow => ({
      name: `Inspector at ${redirectUri}`,
      discovery: POST_FIRST,
      register: {
        client_name: 'MCP Inspector',
        redirect_uris: [redirectUri],
        ...PUBLIC,
        application_type: 'native',
      },
      redirectUri,
      scope: BOTH,
      prompt: 'consent',
      auth: 'none',
    }),
  ),
  {
    name: 'mcporter, which never asks for offline_access and is kept signed in all the same',
    discovery: [
      ['POST', '/mcp', 401, JSON_OR_STREAM],
      ['GET', RESOURCE, 200, { Accept: JSON_OR_STREAM.Accept }],
      ['GET', SERVER, 200, { Accept: JSON_OR_STREAM.Accept }],
    ],
    register: {
      client_name: 'mcporter (forgejo)',
      redirect_uris: ['http://127.0.0.1:50999/callback'],
      ...PUBLIC,
    },
    redirectUri: 'http://127.0.0.1:50999/callback',
    scope: 'mcp',
    granted: 'mcp',
    stateless: true,
    auth: 'none',
  },
  {
    name: 'Open WebUI behind https',
    discovery: POST_FIRST,
    register: {
      client_name: 'Open WebUI',
      redirect_uris: ['https://webui.example.org/oauth/clients/mcp:forgejo/callback'],
      ...CODE,
      token_endpoint_auth_method: 'client_secret_post',
      scope: BOTH,
    },
    redirectUri: 'https://webui.example.org/oauth/clients/mcp:forgejo/callback',
    scope: 'mcp',
    granted: 'mcp',
    auth: 'post',
  },
  {
    name: 'n8n',
    discovery: [['GET', SERVER, 200]],
    register: {
      redirect_uris: ['https://n8n.example.org/rest/oauth2-credential/callback'],
      token_endpoint_auth_method: 'client_secret_basic',
      ...CODE,
      client_name: 'n8n',
      client_uri: 'https://n8n.io/',
      scope: BOTH,
    },
    redirectUri: 'https://n8n.example.org/rest/oauth2-credential/callback',
    scope: BOTH,
    resource: [],
    auth: 'basic',
  },
  {
    ...codex,
    name: 'Goose, which shares its library with Codex',
    register: { client_name: 'goose', redirect_uris: ['http://127.0.0.1/callback'], ...PUBLIC },
  },
  {
    name: 'Zed by its document',
    discovery: METADATA_FIRST,
    document: 'https://zed.dev/oauth/client-metadata.json',
    redirectUri: 'http://127.0.0.1:38221/callback',
    scope: BOTH,
    auth: 'none',
  },
  {
    name: 'Mistral Le Chat',
    discovery: [
      ['GET', '/.well-known/openid-configuration', 404],
      ['GET', SERVER, 200],
    ],
    register: {
      client_name: 'mistral-mcp-client',
      redirect_uris: ['https://callback.mistral.ai/v1/integrations_auth/oauth2_callback'],
      ...CODE,
      token_endpoint_auth_method: 'client_secret_post',
    },
    redirectUri: 'https://callback.mistral.ai/v1/integrations_auth/oauth2_callback',
    granted: 'mcp',
    auth: 'post',
  },
  {
    name: 'Copilot Studio, which names no method and needs a secret',
    discovery: METADATA_FIRST,
    register: {
      client_name: 'Copilot Studio',
      redirect_uris: [
        'https://global.consent.azure-apim.net/redirect/forgejo',
        'https://teams.microsoft.com/api/platform/v1.0/oAuthRedirect',
      ],
      ...CODE,
    },
    redirectUri: 'https://global.consent.azure-apim.net/redirect/forgejo',
    scope: BOTH,
    resource: [],
    auth: 'post',
  },
  {
    name: 'Slackbot by a document of its host',
    discovery: METADATA_FIRST,
    published: {
      client_name: 'Slackbot',
      redirect_uris: ['https://oauth2.slack.com/external/auth/callback'],
      token_endpoint_auth_method: 'none',
    },
    redirectUri: 'https://oauth2.slack.com/external/auth/callback',
    scope: BOTH,
    auth: 'none',
  },
];
