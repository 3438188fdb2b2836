/** RFC 6750 at the MCP endpoints: a caller, or the one 401 that every client knows how to read. */
import type { BlockList } from 'node:net';
import type { Clock } from '../base/clock.js';
import type { Caller } from '../base/ids.js';
import type { Log } from '../base/log.js';
import { after, type Maybe } from '../base/maybe.js';
import { withoutTrailingSlashes } from '../base/text.js';
import type { Audit } from '../oauth/audit.js';
import { MCP_SCOPE } from '../oauth/scopes.js';
import type { BearerFault, RefusedBearer, Tokens } from '../oauth/tokens.js';
import { type HttpExchange, jsonReply, type Reply } from './http-exchange.js';
import { networkOfCaller } from './rate-limits.js';
import { createRefusalCount } from './refusals.js';

export interface BearerDeps {
  readonly publicUrl: string;
  readonly tokens: Tokens;
  readonly audit: Audit;
  readonly trustedProxies: BlockList;
  readonly now: Clock;
  readonly log: Log;
}

export type Authenticate = (http: HttpExchange) => Maybe<Caller | Reply>;

export function bearerAuthentication(deps: BearerDeps): Authenticate {
  const { publicUrl, tokens, audit, trustedProxies, now, log } = deps;
  const countRefusal = createRefusalCount(now);

  /**
   * The event is found under its user and client. Nobody is given its id: a program reads this answer, and signs in
   * again. A token that expired is how every token ends, and not worth an event.
   */
  const tell = async (http: HttpExchange, { fault, grant }: RefusedBearer): Promise<void> => {
    const told = countRefusal(fault, networkOfCaller(http.request, trustedProxies));
    if (told === undefined) return;
    const subject = { user: grant?.userId, client: grant?.clientId, grant: grant?.id };
    if (fault !== 'token_expired') await audit('token.refused', { reason: `mcp: ${fault}`, ...subject });
    log.info('bearer.refused', { reason: fault, path: http.path, ...told });
  };

  return (http) => {
    const token = /^bearer +([\w.~+/=-]+) *$/i.exec(http.header('authorization') ?? '')?.[1];
    if (token === undefined) return challenge(http.path, publicUrl);
    const caller = tokens.authenticate(token, publicUrl + withoutTrailingSlashes(http.path));
    return after(caller, (found): Maybe<Caller | Reply> => {
      if (!('fault' in found)) return found;
      return tell(http, found).then(() => challenge(http.path, publicUrl, found.fault));
    });
  };
}

/**
 * RFC 6750 §3, RFC 9728 §5.1. `scope` is spelt once and last: SDK v1 finds parameters by a pattern that would also
 * match inside another's text.
 */
function challenge(path: string, publicUrl: string, fault?: BearerFault): Reply {
  const parameters = [
    ...(fault === undefined ? [] : ['error="invalid_token"', `error_description="${DESCRIPTIONS[fault]}"`]),
    // The path as the client typed it, so that `resource` is byte for byte the URL in the user's configuration.
    `resource_metadata="${publicUrl}/.well-known/oauth-protected-resource${path}"`,
    `scope="${MCP_SCOPE}"`,
  ];
  const error = fault === undefined ? 'unauthorized' : 'invalid_token';
  const error_description = fault === undefined ? 'Sign in to use this endpoint.' : DESCRIPTIONS[fault];
  const headers = { 'WWW-Authenticate': `Bearer ${parameters.join(', ')}`, 'Cache-Control': 'no-store' };
  return jsonReply(401, { error, error_description }, headers);
}

const DESCRIPTIONS: Readonly<Record<BearerFault, string>> = {
  token_unknown: 'The access token is unknown or revoked.',
  token_expired: 'The access token expired.',
  token_of_another_resource: 'The access token is for another resource.',
  user_signed_out: 'The sign-in at Forgejo has ended. Sign in again.',
};
