/**
 * What every request to an MCP endpoint meets first: the path, the Host, the Origin; and what is on every answer. The same
 * rules as `app.ts` has for all other routes, without what lies between them and Node's own request.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { type Randomness, randomId } from '../base/ids.js';
import { describeError, type Log } from '../base/log.js';
import { ERRORS, errorAnswer } from '../mcp/protocol.js';
import { commonHeaders, FOREIGN_HOST, FOREIGN_ORIGIN, hostRule, type OriginRule } from './guards.js';
import { HttpExchange, type HttpFrame, jsonReply } from './http-exchange.js';
import type { McpEndpoint } from './mcp.js';
import type { CountRequest } from './request-metrics.js';

export interface McpGateDeps {
  readonly publicUrl: string;
  readonly origins: OriginRule;
  readonly endpoint: McpEndpoint;
  readonly count: CountRequest;
  readonly random: Randomness;
  readonly log: Log;
}

/** False when the request is for somebody else; a preflight is, too. */
export type McpGate = (request: IncomingMessage, response: ServerResponse) => boolean;

/** RFC 9112 §3.2.2: a server accepts the absolute form too, and then goes by its authority. */
const ABSOLUTE = /^https?:\/\/([^/?]*)(.*)$/i;
const PATH = /^(\/mcp(?:\/([^/?]*))?\/?)(?:\?|$)/;

export function mcpGate({ publicUrl, origins, endpoint, count, random, log }: McpGateDeps): McpGate {
  const isOurs = hostRule(publicUrl);
  const common = Object.entries(commonHeaders(publicUrl)).flat();
  const frame: HttpFrame = { headers: common, count, fail };
  const frameFor = (origin: string): HttpFrame => ({
    headers: [...common, ...Object.entries(origins.headers(origin)).flat()],
    count,
    fail,
  });

  return (request, response) => {
    const { url = '', method, headers } = request;
    const [, host = headers.host, target = url] = url.startsWith('/') ? [] : (ABSOLUTE.exec(url) ?? []);
    const [, path, server] = PATH.exec(target) ?? [];
    if (path === undefined || method === 'OPTIONS') return false;
    const { origin } = headers;
    const http = new HttpExchange(request, response, path, origin === undefined ? frame : frameFor(origin));
    const isForUs = isOurs(host) && (host === headers.host || isOurs(headers.host));
    if (!isForUs) http.reply(jsonReply(403, FOREIGN_HOST));
    else if (origin !== undefined && !origins.accepts(origin)) http.reply(jsonReply(403, FOREIGN_ORIGIN));
    else void http.answerWith(() => endpoint(http, server || undefined));
    return true;
  };

  /** What broke is the operator's to know; the caller gets an id to quote. */
  function fail(http: HttpExchange, error: unknown): void {
    const incident = randomId<string>(random, 'in_');
    log.error('request.failed', { incident, path: http.path, error: describeError(error) });
    if (http.response.headersSent) return void http.response.destroy();
    const { code, message } = ERRORS.internal;
    http.reply(jsonReply(500, errorAnswer(undefined, { code, message: `${message} (${incident})` })));
  }
}
