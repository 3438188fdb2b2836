/**
 * The MCP endpoint (Streamable HTTP, the versions with a handshake). It authenticates before it looks at anything else,
 * reads what was posted, and relays: what a message means to a session is the session's to say.
 */
import type { HttpBindings } from '@hono/node-server';
import { type Context, Hono } from 'hono';
import type { Session } from '../backend/session.js';
import type { Sessions } from '../backend/sessions.js';
import type { Caller } from '../base/ids.js';
import { isJson } from '../mcp/json.js';
import {
  type Invalid,
  type Message,
  type RawJson,
  type RequestMessage,
  rawAt,
  readBatch,
  readMessage,
} from '../mcp/message.js';
import {
  BATCH_VERSION,
  ERRORS,
  errorAnswer,
  LEGACY_VERSIONS,
  MODERN_VERSION,
  type RpcError,
} from '../mcp/protocol.js';
import { type AnswerForm, PostAnswer } from './mcp-answers.js';
import { readBody } from './mcp-body.js';
import { EVENT_STREAM_HEADERS, EventStream } from './mcp-stream.js';

export interface McpDeps {
  /** Who is calling `server`, or the ready 401. Runs before method, headers and body are looked at. */
  readonly authenticate: (c: Context, server: string) => Promise<Caller | Response>;
  readonly sessions: Sessions;
  /** Names; the first is served at `/mcp`. */
  readonly servers: readonly string[];
  readonly maxMessageBytes: number;
  readonly timing?: McpTiming;
}

export interface McpTiming {
  /** How long an answer may take before its form becomes an event stream. */
  readonly decideAfterMs: number;
  readonly pingMs: number;
  /** How long a client may read nothing while its stream is full. */
  readonly stallMs: number;
}

type McpContext = Context<{ Bindings: Partial<HttpBindings> }>;

export const TIMING: McpTiming = { decideAfterMs: 1000, pingMs: 15_000, stallMs: 30_000 };
const MAX_QUEUED_BYTES = 1024 * 1024;
const MAX_BATCH = 100;
const ALLOW = { Allow: 'GET, POST, DELETE' };

export function mcpRoutes(deps: McpDeps): Hono<{ Bindings: Partial<HttpBindings> }> {
  const { authenticate, sessions, servers, maxMessageBytes, timing = TIMING } = deps;
  const routes = new Hono<{ Bindings: Partial<HttpBindings> }>();

  for (const path of ['/mcp', '/mcp/', '/mcp/:server', '/mcp/:server/']) {
    routes.all(path, async (c: McpContext) => {
      const server = c.req.param('server') ?? servers[0];
      if (server === undefined || !servers.includes(server)) return refuse(404, ERRORS.unknownServer);
      const caller = await authenticate(c, server);
      if (caller instanceof Response) return caller;
      switch (c.req.method) {
        case 'POST':
          return post(c, server, caller);
        case 'GET':
          return listen(c, server, caller);
        case 'DELETE':
          return close(c, server, caller);
        default:
          return refuse(405, ERRORS.wrongHttpMethod, undefined, ALLOW);
      }
    });
  }
  return routes;

  async function post(c: McpContext, server: string, caller: Caller): Promise<Response> {
    if (!/^application\/json\s*(;|$)/i.test(c.req.header('content-type') ?? ''))
      return refuse(415, ERRORS.wrongType);
    const body = await readBody(c, maxMessageBytes);
    if (body === 'too large') return refuse(413, tooLarge(maxMessageBytes));
    if (body === 'cut off' || !isJson(body)) return refuse(400, ERRORS.malformed);
    const batch = readBatch(body, MAX_BATCH);
    if (batch !== undefined) return postBatch(c, server, caller, batch);
    const message = readMessage(body);
    if (message.kind === 'invalid') return refuseInvalid(message);
    if (message.kind === 'request') {
      const id = rawAt(body, message.id);
      // The probe of a modern client. It must cost no child: some servers exit at a request before initialize.
      if (message.method === 'server/discover') return refuse(404, ERRORS.unknownMethod, id);
      if (message.method === 'initialize') return initialize(c, server, caller, message);
    }
    const session = await sessionOf(c, server, caller, message);
    return session instanceof Response ? session : relay(c, session, [message], 'single');
  }

  async function postBatch(
    c: McpContext,
    server: string,
    caller: Caller,
    batch: readonly (Message | Invalid)[] | Invalid,
  ): Promise<Response> {
    if ('kind' in batch) return refuseInvalid(batch);
    const messages = batch.filter((message) => message.kind !== 'invalid');
    if (batch.length === 0) return refuseInvalid({ why: 'an empty batch' });
    if (messages.length < batch.length)
      return refuseInvalid({ why: 'a batch with something that is no message' });
    if (messages.some((message) => message.kind === 'request' && message.method === 'initialize')) {
      return refuseInvalid({ why: 'initialize in a batch' });
    }
    if (c.req.header('mcp-session-id') === undefined)
      return refuseInvalid({ why: 'a batch without a session' });
    const session = await sessionOf(c, server, caller, undefined);
    if (session instanceof Response) return session;
    if (session.protocolVersion !== BATCH_VERSION) {
      return refuseInvalid({ why: `batches exist in protocol version ${BATCH_VERSION} only` });
    }
    return relay(c, session, messages, 'batch');
  }

  function initialize(
    c: McpContext,
    server: string,
    caller: Caller,
    message: RequestMessage,
  ): Promise<Response> {
    const answer = answerTo(c, 1, 'single', () =>
      session.state === 'closed' ? {} : { 'Mcp-Session-Id': session.id },
    );
    const { session, disconnect } = sessions.open(caller, server, message, answer.exchange);
    whenGone(c, disconnect);
    return answer.response;
  }

  async function relay(
    c: McpContext,
    session: Session,
    messages: readonly Message[],
    form: 'single' | 'batch',
  ): Promise<Response> {
    const requests = messages.filter(({ kind }) => kind === 'request').length;
    const answer = requests === 0 ? undefined : answerTo(c, requests, form, () => ({}));
    const leaves: (() => void)[] = [];
    for (const message of messages) {
      if (message.kind === 'notification') session.notify(message);
      else if (message.kind === 'response') session.answer(message);
      else if (answer !== undefined) leaves.push(session.request(message, answer.exchange));
    }
    whenGone(c, () => {
      for (const leave of leaves) leave();
    });
    return answer?.response ?? accepted();
  }

  async function listen(c: McpContext, server: string, caller: Caller): Promise<Response> {
    // Also how a client of the HTTP+SSE transport of 2024 learns that this is not one.
    if (c.req.header('mcp-session-id') === undefined) {
      return refuse(405, ERRORS.wrongHttpMethod, undefined, { Allow: 'POST, DELETE' });
    }
    const session = await sessionOf(c, server, caller, undefined);
    if (session instanceof Response) return session;
    const stream = openStream(c);
    whenGone(c, session.listen(stream));
    return new Response(stream.body, { headers: EVENT_STREAM_HEADERS });
  }

  async function close(c: McpContext, server: string, caller: Caller): Promise<Response> {
    const session = await sessionOf(c, server, caller, undefined);
    if (session instanceof Response) return session;
    await sessions.end(session);
    return new Response(null, { status: 204 });
  }

  /** The session the headers name, or the refusal: 400 without a name, 404 for a name that is not the caller's. */
  async function sessionOf(
    c: McpContext,
    server: string,
    caller: Caller,
    message: Message | undefined,
  ): Promise<Session | Response> {
    const id = message?.kind === 'request' ? rawAt(message.bytes, message.id) : undefined;
    const version = c.req.header('mcp-protocol-version');
    const name = c.req.header('mcp-session-id');
    if (name === undefined) {
      if (version !== undefined && version >= MODERN_VERSION) return refuse(400, unsupported(version), id);
      // Some clients send it over another connection, without the id they were given.
      const isInitialized =
        message?.kind === 'notification' && message.method === 'notifications/initialized';
      return isInitialized ? accepted() : refuse(400, ERRORS.noSession, id);
    }
    const session = await sessions.find(name, caller, server);
    if (session === undefined) return refuse(404, ERRORS.unknownSession, id);
    if (version !== undefined && !LEGACY_VERSIONS.includes(version))
      return refuse(400, unsupported(version), id);
    return session;
  }

  function answerTo(
    c: McpContext,
    expected: number,
    form: 'single' | 'batch',
    headers: () => Readonly<Record<string, string>>,
  ): PostAnswer {
    return new PostAnswer({
      accept: acceptedForm(c.req.header('accept')),
      expected,
      form,
      decideAfterMs: timing.decideAfterMs,
      openStream: () => openStream(c),
      headers,
    });
  }

  function openStream(c: McpContext): EventStream {
    return new EventStream({
      pingMs: timing.pingMs,
      stallMs: timing.stallMs,
      maxQueuedBytes: MAX_QUEUED_BYTES,
      cut: () => c.env.outgoing?.destroy(),
    });
  }
}

/** Also when an exchange ended well: what `leave` then ends has ended. Far cheaper than an AbortSignal. */
function whenGone(c: McpContext, leave: () => void): void {
  // A client may have gone while we asked who it is.
  if (c.env.outgoing?.destroyed) leave();
  else c.env.outgoing?.on('close', leave);
}

/** Lenient, for clients that say `*`/`*`, nothing, or half of what the transport asks for. */
function acceptedForm(accept: string | undefined): AnswerForm {
  const json = accept === undefined || /application\/(json|\*)|\*\/\*/i.test(accept);
  const stream = accept === undefined || /text\/(event-stream|\*)|\*\/\*/i.test(accept);
  if (json === stream) return 'either';
  return json ? 'json' : 'stream';
}

function refuse(
  status: number,
  error: RpcError,
  id?: RawJson,
  headers: Readonly<Record<string, string>> = {},
): Response {
  return new Response(errorAnswer(id, error), {
    status,
    headers: { 'Content-Type': 'application/json', ...headers },
  });
}

function refuseInvalid({ id, why }: { id?: RawJson | undefined; why: string }): Response {
  return refuse(400, { ...ERRORS.invalid, message: `${ERRORS.invalid.message}: ${why}` }, id);
}

const accepted = (): Response => new Response(null, { status: 202 });

const tooLarge = (maxBytes: number): RpcError => ({
  ...ERRORS.tooLarge,
  message: `${ERRORS.tooLarge.message}: a message may have ${maxBytes} bytes`,
});

const unsupported = (requested: string): RpcError => ({
  ...ERRORS.unsupportedVersion,
  data: { supported: LEGACY_VERSIONS, requested },
});
