/** Clients whose tools call Forgejo: whoever is logged out there notices. */
import assert from 'node:assert/strict';
import { resolve } from 'node:path';
import { clientOf, messagesOf } from '../fixtures/client.js';
import type { Browser, Page } from './browser.js';
import { type Connection, type Stage, startStage } from './connection.js';
import { atCallback, CHALLENGE } from './stage.js';

const FORGEJO_MCP = resolve(import.meta.dirname, '../fixtures/fake-forgejo-mcp.js');

/** Children are forgejo-mcp's double: they call Forgejo when they start, and again for each tool. */
export const startToolStage = (env: Readonly<Record<string, string>> = {}) =>
  startStage({
    env: { BROKER_MCP_COMMAND: `'${process.execPath}' '${FORGEJO_MCP}'`, ...env },
    forgejo: { invalidateRefreshTokens: true, accessTokenSeconds: 3600 },
  });

/** What Forgejo says to a tool in a new session: the login of the user, or the reason why there is none. */
export async function whoami(stage: Stage, connection: Connection): Promise<string> {
  const { mcpUrl } = stage.broker;
  const headers = { Authorization: `Bearer ${connection.access}` };
  const body = JSON.stringify({
    jsonrpc: '2.0',
    id: 0,
    method: 'initialize',
    params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 'test', version: '1' } },
  });
  const opened = await clientOf(mcpUrl, headers).post(body);
  if (opened.status !== 200) return `HTTP ${opened.status}`;
  const session = opened.headers.get('mcp-session-id');
  const error = (await messagesOf(opened)).find((message) => message.method === undefined)?.error;
  if (session === null || error !== undefined) return error?.data?.reason ?? 'no session';
  const withSession = { ...headers, 'Mcp-Session-Id': session };
  const answer = await clientOf(mcpUrl, withSession).call('tools/call', { name: 'get_my_user_info' });
  await fetch(mcpUrl, { method: 'DELETE', headers: withSession });
  if (answer.error !== undefined) return answer.error.data?.reason ?? answer.error.message;
  return JSON.parse(answer.result.content[0].text).Result.login;
}

/** Refreshes if that is due, as applications do, and uses the token. */
export async function act(stage: Stage, connection: Connection): Promise<void> {
  if (!(await connection.isAlive())) assert.equal((await connection.refresh()).status, 200);
  assert.equal(await whoami(stage, connection), 'alice');
}

/** The broker's consent page for another sign-in with that client. */
export function openConsent(stage: Stage, { client }: Connection, browser: Browser): Promise<Page> {
  const query = new URLSearchParams({
    response_type: 'code',
    client_id: client.clientId,
    redirect_uri: client.redirectUri,
    code_challenge: CHALLENGE,
    code_challenge_method: 'S256',
  });
  return browser.open(`${stage.broker.url}/oauth/authorize?${query}`);
}

/** A browser that is signed in at Forgejo, up to where it brings Forgejo's answer. */
export async function toCallback(stage: Stage, connection: Connection, browser: Browser): Promise<URL> {
  const page = await openConsent(stage, connection, browser);
  return (await browser.submit(page, { button: 'continue', ...atCallback })).location ?? assert.fail();
}
