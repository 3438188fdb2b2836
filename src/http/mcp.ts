/**
 * The MCP endpoint (Streamable HTTP, the versions with a handshake). It authenticates before it looks at anything else,
 * reads what was posted, and relays: what a message means to a session is the session's to say.
 */
import type { HttpBindings } from '@hono/node-server';
import { type Context, Hono } from 'hono';
import type { Session } from '../backend/session.js';
import type { Sessions } from '../backend/sessions.js';
import { SECOND } from '../base/clock.js';
import type { Caller, Randomness } from '../base/ids.js';
import { isJson } from '../mcp/json.js';
import {
  type Invalid,
  type Message,
  type RequestMessage,
  rawAt,
  readBatch,
  readMessage,
} from '../mcp/message.js';
import {
  BATCH_VERSION,
  ERRORS,
  LEGACY_VERSIONS,
  MODERN_VERSION,
  RESUMABLE_VERSION,
} from '../mcp/protocol.js';
import { type AnswerForm, PostAnswer, type PostAnswerOptions } from './mcp-answers.js';
import { Bodies } from './mcp-body.js';
import { type Ledger, Ledgers } from './mcp-ledger.js';
import {
  accepted,
  refuse,
  refuseInvalid,
  refuseStopping,
  refuseTooLarge,
  refuseVersion,
} from './mcp-refusals.js';
import { EVENT_STREAM_HEADERS, EventStream } from './mcp-stream.js';
import type { Unread } from './mcp-unread.js';

export interface McpDeps {
  /** Who is calling `server`, or the ready 401. Runs before method, headers and body are looked at. */
  readonly authenticate: (c: Context, server: string) => Promise<Caller | Response>;
  readonly sessions: Sessions;
  /** Names; the first is served at `/mcp`. */
  readonly servers: readonly string[];
  readonly maxMessageBytes: number;
  readonly random: Randomness;
  readonly timing?: McpTiming;
}

export interface McpTiming {
  /** How long an answer may take before its form becomes an event stream. */
  readonly decideAfterMs: number;
  readonly pingMs: number;
  /** How long a client may read nothing of what is sent to it; more than `pingMs`. */
  readonly stallMs: number;
  /** How long a stream that lost its connection goes on without one. */
  readonly resumeMs: number;
  /** How long a large answer that the system has taken whole is kept after that. */
  readonly lingerMs: number;
}

type McpContext = Context<{ Bindings: Partial<HttpBindings> }>;

export const TIMING: McpTiming = {
  decideAfterMs: SECOND,
  pingMs: 15 * SECOND,
  stallMs: 30 * SECOND,
  resumeMs: 60 * SECOND,
  lingerMs: 5 * SECOND,
};
const MAX_BATCH = 100;
const MAX_INITIALIZE_BYTES = 64 * 1024;
const ALLOW = { Allow: 'GET, POST, DELETE' };
const RETRY_SOON = { 'Retry-After': '1' };

export function mcpRoutes(deps: McpDeps): Hono<{ Bindings: Partial<HttpBindings> }> {
  const { authenticate, sessions, servers, maxMessageBytes, random, timing = TIMING } = deps;
  const routes = new Hono<{ Bindings: Partial<HttpBindings> }>();
  const bodies = new Bodies(maxMessageBytes);
  const ledgers = new Ledgers({ ...timing, maxMessageBytes, random });

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
    const answer = await bodies.read(c, caller.userId, async (body) => {
      if (body === 'too large') return refuseTooLarge(maxMessageBytes);
      if (body === 'too many') return refuse(503, ERRORS.tooManyBodies, undefined, RETRY_SOON);
      if (body === 'cut off' || !isJson(body)) return refuse(400, ERRORS.malformed);
      return handOn(c, server, caller, body);
    });
    return answer instanceof Response ? answer : answer.response;
  }

  async function handOn(
    c: McpContext,
    server: string,
    caller: Caller,
    body: Buffer,
  ): Promise<PostAnswer | Response> {
    const batch = readBatch(body, MAX_BATCH);
    if (batch !== undefined) return handOnBatch(c, server, caller, batch);
    const message = readMessage(body);
    if (message.kind === 'invalid') return refuseInvalid(message);
    if (message.kind === 'request') {
      const id = rawAt(body, message.id);
      // The probe of a modern client. It must cost no child: some servers exit at a request before initialize.
      if (message.method === 'server/discover') return refuse(404, ERRORS.unknownMethod, id);
      await ledgers.room(caller.userId);
      if (message.method === 'initialize') {
        // It is kept as long as its session.
        if (body.length > MAX_INITIALIZE_BYTES) return refuseTooLarge(MAX_INITIALIZE_BYTES);
        return initialize(c, server, caller, message);
      }
    }
    const session = await sessionOf(c, server, caller, message);
    return session instanceof Response ? session : relay(c, session, [message], 'single');
  }

  async function handOnBatch(
    c: McpContext,
    server: string,
    caller: Caller,
    batch: readonly (Message | Invalid)[] | Invalid,
  ): Promise<PostAnswer | Response> {
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
    await ledgers.room(caller.userId);
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
  ): PostAnswer | Response {
    if (sessions.isClosed) return refuseStopping(rawAt(message.bytes, message.id));
    const session = sessions.open(caller, server);
    let disconnect: () => void = () => undefined;
    const answer = answerTo(c, {
      expected: 1,
      form: 'single',
      ledger: () => ledgers.of(session),
      // Which version it will be is not known yet.
      resumable: false,
      leave: () => disconnect(),
      headers: () => (session.state === 'closed' ? {} : { 'Mcp-Session-Id': session.id }),
    });
    disconnect = session.initialize(message, answer.exchange);
    leaveWithClient(c, answer, disconnect);
    return answer;
  }

  function relay(
    c: McpContext,
    session: Session,
    messages: readonly Message[],
    form: 'single' | 'batch',
  ): PostAnswer | Response {
    const expected = messages.filter(({ kind }) => kind === 'request').length;
    const leaves: (() => void)[] = [];
    const leave = () => {
      for (const leaveOne of leaves) leaveOne();
    };
    const resumable = isResumable(c, session);
    const ledger = () => ledgers.of(session);
    const answer =
      expected === 0
        ? undefined
        : answerTo(c, { expected, form, headers: noHeaders, ledger, resumable, leave });
    for (const message of messages) {
      if (message.kind === 'notification') session.notify(message);
      else if (message.kind === 'response') session.answer(message);
      else if (answer !== undefined) leaves.push(session.request(message, answer.exchange));
    }
    if (answer === undefined) return accepted();
    leaveWithClient(c, answer, leave);
    return answer;
  }

  async function listen(c: McpContext, server: string, caller: Caller): Promise<Response> {
    // Also how a client of the HTTP+SSE transport of 2024 learns that this is not one.
    if (c.req.header('mcp-session-id') === undefined) {
      return refuse(405, ERRORS.wrongHttpMethod, undefined, { Allow: 'POST, DELETE' });
    }
    const session = await sessionOf(c, server, caller, undefined);
    if (session instanceof Response) return session;
    const { streams, unread } = ledgers.of(session);
    const headers = EVENT_STREAM_HEADERS;
    if (!isResumable(c, session)) {
      const stream = connect(c, unread, () => hangUp());
      const hangUp = session.listen(stream);
      return new Response(stream.body, { headers });
    }
    const body = streams.get(c.req.header('last-event-id'), (first, onGone) =>
      connect(c, unread, onGone, first),
    );
    // In HTML's words for event streams: stop reconnecting. SDK clients do; told 405 or 404, some drop the session.
    return body === undefined ? new Response(null, { status: 204 }) : new Response(body, { headers });
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
      if (version !== undefined && version >= MODERN_VERSION) return refuseVersion(version, id);
      // Some clients send it over another connection, without the id they were given.
      const isInitialized =
        message?.kind === 'notification' && message.method === 'notifications/initialized';
      return isInitialized ? accepted() : refuse(400, ERRORS.noSession, id);
    }
    const session = await sessions.find(name, caller, server);
    if (sessions.isClosed) return refuseStopping(id);
    if (session === undefined) return refuse(404, ERRORS.unknownSession, id);
    if (version !== undefined && !LEGACY_VERSIONS.includes(version)) return refuseVersion(version, id);
    return session;
  }

  function answerTo(
    c: McpContext,
    request: Pick<PostAnswerOptions, 'expected' | 'form' | 'headers'> & {
      readonly ledger: () => Ledger;
      readonly resumable: boolean;
      readonly leave: () => void;
    },
  ): PostAnswer {
    const { expected, form, headers, ledger, resumable, leave } = request;
    return new PostAnswer({
      accept: acceptedForm(c.req.header('accept')),
      expected,
      form,
      headers,
      decideAfterMs: timing.decideAfterMs,
      openStream: () => {
        const { unread, streams } = ledger();
        if (!resumable) {
          const stream = connect(c, unread, leave);
          return { stream, body: stream.body };
        }
        const stream = streams.post(leave);
        const { body } = stream.connect((first, onGone) => connect(c, unread, onGone, first));
        return { stream, body };
      },
      holdAnswer: (bytes) => {
        const { unread } = ledger();
        c.env.outgoing?.setTimeout(timing.stallMs);
        whenGone(c, () => unread.remove(bytes));
        return unread.add(bytes);
      },
    });
  }

  function connect(
    c: McpContext,
    unread: Unread,
    onGone: (whole: boolean) => void,
    first?: Buffer,
  ): EventStream {
    const { pingMs, stallMs } = timing;
    return new EventStream({ outgoing: c.env.outgoing, pingMs, stallMs, unread, onGone, first });
  }
}

/** Older SDKs fail at an event without data, and a client may be older than the session it was lent. */
function isResumable(c: Context, session: Session): boolean {
  const agreed = session.protocolVersion ?? '';
  const said = c.req.header('mcp-protocol-version') ?? agreed;
  return LEGACY_VERSIONS.includes(agreed) && agreed >= RESUMABLE_VERSION && said >= RESUMABLE_VERSION;
}

const noHeaders = () => ({});

/** An answer that is no stream has no other way to its client. */
function leaveWithClient(c: McpContext, answer: PostAnswer, leave: () => void): void {
  whenGone(c, () => {
    if (!answer.isStream) leave();
  });
}

/** Also when an exchange ended well: what `leave` then ends has ended. Far cheaper than an AbortSignal. */
function whenGone(c: McpContext, leave: () => void): void {
  // A client may have gone while we asked who it is.
  if (c.env.outgoing?.destroyed) leave();
  else c.env.outgoing?.once('close', leave);
}

/** Lenient, for clients that say `*`/`*`, nothing, or half of what the transport asks for. */
function acceptedForm(accept: string | undefined): AnswerForm {
  const json = accept === undefined || /application\/(json|\*)|\*\/\*/i.test(accept);
  const stream = accept === undefined || /text\/(event-stream|\*)|\*\/\*/i.test(accept);
  if (json === stream) return 'either';
  return json ? 'json' : 'stream';
}
