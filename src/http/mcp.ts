/**
 * The MCP endpoint (Streamable HTTP). It authenticates before it looks at anything else, reads what was posted, and
 * relays: what a message means to a session is the session's to say. What comes without a session, of the era that has
 * none, is for `mcp-modern.ts`.
 */
import type { Drain } from '../backend/calls.js';
import type { Modern } from '../backend/modern.js';
import { Session } from '../backend/session.js';
import type { Sessions } from '../backend/sessions.js';
import { SECOND } from '../base/clock.js';
import type { Caller, Randomness } from '../base/ids.js';
import { after, type Maybe } from '../base/maybe.js';
import { isModernVersion } from '../mcp/envelope.js';
import {
  type Invalid,
  type Message,
  type RequestMessage,
  rawAt,
  readBatch,
  readCheckedMessage,
} from '../mcp/message.js';
import {
  BATCH_VERSION,
  ERRORS,
  LEGACY_VERSIONS,
  MODERN_VERSION,
  RESUMABLE_VERSION,
} from '../mcp/protocol.js';
import { type HttpExchange, isReply, type Reply } from './http-exchange.js';
import { type AnswerForm, PostAnswer, type PostAnswerDesk } from './mcp-answers.js';
import { Bodies, type BodyFault } from './mcp-body.js';
import { Ledgers } from './mcp-ledger.js';
import { modernDoor } from './mcp-modern.js';
import {
  ACCEPTED,
  refuse,
  refuseInvalid,
  refuseStopping,
  refuseTooLarge,
  refuseVersion,
} from './mcp-refusals.js';
import { EventStream, type EventStreamOptions } from './mcp-stream.js';
import type { Unread } from './mcp-unread.js';

export interface McpDeps {
  /** Who is calling `server`, or the ready 401. Runs before method, headers and body are looked at. */
  readonly authenticate: (http: HttpExchange, server: string) => Maybe<Caller | Reply>;
  readonly sessions: Sessions;
  /** For requests that need no session. */
  readonly modern: Modern;
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
const ALLOW_POST = { Allow: 'POST' };
const NO_CONTENT: Reply = { status: 204 };
const USUAL_ACCEPT = 'application/json, text/event-stream';
const JSON_TYPE = /^application\/json\s*(;|$)/i;
const RETRY_SOON = { 'Retry-After': '1' };

/**
 * The reply to a request whose path names `server` (undefined: the first); undefined when it is answered already, or will
 * be.
 */
export type McpEndpoint = (http: HttpExchange, server: string | undefined) => Maybe<Reply | undefined>;

export function mcpEndpoint(deps: McpDeps): McpEndpoint {
  const { authenticate, sessions, modern, servers, maxMessageBytes, random, timing = TIMING } = deps;
  const bodies = new Bodies(maxMessageBytes);
  const ledgers = new Ledgers({ ...timing, maxMessageBytes, random });
  const desk: PostAnswerDesk<Session> = {
    decideAfterMs: timing.decideAfterMs,
    openStream: (answer) => {
      const { http, owner: session } = answer;
      const { unread, streams } = ledgers.of(session);
      const headers = answer.headers();
      const leave = () => answer.leave();
      if (!answer.isResumable || !isResumable(http, session))
        return connect(http, unread, leave, { headers });
      const stream = streams.post(leave);
      stream.connect((first, onGone) => connect(http, unread, onGone, { first, headers }));
      return stream;
    },
    hold: ({ http, owner }, bytes) => hold(http, ledgers.of(owner).unread, bytes),
  };
  const { decideAfterMs } = timing;
  const ofModern = modernDoor({ modern, sessions, ledgers, decideAfterMs, connect, hold, accepted });

  return (http, named) => {
    const server = named ?? servers[0];
    if (server === undefined || !servers.includes(server)) return refuse(404, ERRORS.unknownServer);
    return after(authenticate(http, server), (caller) =>
      isReply(caller) ? caller : answer(http, server, caller),
    );
  };

  /** What is undefined is answered already, or will be. */
  function answer(http: HttpExchange, server: string, caller: Caller): Maybe<Reply | undefined> {
    switch (http.request.method) {
      case 'POST':
        return post(http, server, caller);
      case 'GET':
        return isOfModern(http)
          ? refuse(405, ERRORS.wrongHttpMethod, undefined, ALLOW_POST)
          : listen(http, server, caller);
      case 'DELETE':
        return isOfModern(http)
          ? refuse(405, ERRORS.wrongHttpMethod, undefined, ALLOW_POST)
          : close(http, server, caller);
      default:
        return refuse(405, ERRORS.wrongHttpMethod, undefined, ALLOW);
    }
  }

  function post(http: HttpExchange, server: string, caller: Caller): Reply | undefined {
    const type = http.header('content-type') ?? '';
    if (type !== 'application/json' && !JSON_TYPE.test(type)) return refuse(415, ERRORS.wrongType);
    bodies.read(http.request, caller.userId, (body) =>
      http.answerWith(() =>
        typeof body === 'string' ? refuseBody(body) : handOn(http, server, caller, body),
      ),
    );
    return undefined;
  }

  function refuseBody(fault: BodyFault): Reply {
    if (fault === 'too large') return refuseTooLarge(maxMessageBytes);
    if (fault === 'too many') return refuse(503, ERRORS.tooManyBodies, undefined, RETRY_SOON);
    return refuse(400, ERRORS.malformed);
  }

  function handOn(
    http: HttpExchange,
    server: string,
    caller: Caller,
    body: Buffer,
  ): Maybe<Reply | undefined> {
    const posted = readBatch(body, MAX_BATCH) ?? readCheckedMessage(body);
    if (posted === 'not JSON') return refuse(400, ERRORS.malformed);
    if (Array.isArray(posted)) return handOnBatch(http, server, caller, posted);
    if (posted.kind === 'invalid') return refuseInvalid(posted);
    const answered = ofModern({ http, server, caller, message: posted });
    return answered === 'legacy' ? handOnSingle(http, server, caller, posted) : answered;
  }

  function handOnSingle(
    http: HttpExchange,
    server: string,
    caller: Caller,
    message: Message,
  ): Maybe<Reply | undefined> {
    if (message.kind !== 'request') return handOnLegacy(http, server, caller, message);
    // A probe without the words that make it one. It must cost no child: some servers exit at it.
    if (message.method === 'server/discover')
      return refuse(404, ERRORS.unknownMethod, rawAt(message.bytes, message.id));
    return after(ledgers.room(caller.userId), () => handOnLegacy(http, server, caller, message));
  }

  function handOnLegacy(
    http: HttpExchange,
    server: string,
    caller: Caller,
    message: Message,
  ): Maybe<Reply | undefined> {
    if (message.kind === 'request' && message.method === 'initialize') {
      // It is kept as long as its session.
      if (message.bytes.length > MAX_INITIALIZE_BYTES) return refuseTooLarge(MAX_INITIALIZE_BYTES);
      return initialize(http, server, caller, message);
    }
    return after(sessionOf(http, server, caller, message), (session) =>
      session instanceof Session ? relay(http, session, [message], 'single') : session,
    );
  }

  async function handOnBatch(
    http: HttpExchange,
    server: string,
    caller: Caller,
    batch: readonly (Message | Invalid)[],
  ): Promise<Reply | undefined> {
    const messages = batch.filter((message) => message.kind !== 'invalid');
    if (batch.length === 0) return refuseInvalid({ why: 'an empty batch' });
    if (messages.length < batch.length)
      return refuseInvalid({ why: 'a batch with something that is no message' });
    if (messages.some((message) => message.kind === 'request' && message.method === 'initialize')) {
      return refuseInvalid({ why: 'initialize in a batch' });
    }
    if (http.header('mcp-session-id') === undefined)
      return refuseInvalid({ why: 'a batch without a session' });
    await ledgers.room(caller.userId);
    const session = await sessionOf(http, server, caller, undefined);
    if (!(session instanceof Session)) return session;
    if (session.protocolVersion !== BATCH_VERSION) {
      return refuseInvalid({ why: `batches exist in protocol version ${BATCH_VERSION} only` });
    }
    return relay(http, session, messages, 'batch');
  }

  function initialize(
    http: HttpExchange,
    server: string,
    caller: Caller,
    message: RequestMessage,
  ): Reply | undefined {
    if (sessions.isClosed) return refuseStopping(rawAt(message.bytes, message.id));
    const session = sessions.open(caller, server);
    const answer = new PostAnswer(desk, {
      http,
      owner: session,
      accept: accepted(http),
      expected: 1,
      form: 'single',
    });
    // The client does not know yet which version it will be.
    answer.isResumable = false;
    answer.headers = () => (session.state === 'closed' ? {} : { 'Mcp-Session-Id': session.id });
    answer.leaveWithClient(session.initialize(message, answer));
    return undefined;
  }

  function relay(
    http: HttpExchange,
    session: Session,
    messages: readonly Message[],
    form: 'single' | 'batch',
  ): Reply | undefined {
    const expected = messages.filter(({ kind }) => kind === 'request').length;
    const answer =
      expected === 0
        ? undefined
        : new PostAnswer(desk, { http, owner: session, accept: accepted(http), expected, form });
    const leaves: (() => void)[] = [];
    for (const message of messages) {
      if (message.kind === 'notification') session.notify(message);
      else if (message.kind === 'response') session.answer(message);
      else if (answer !== undefined) leaves.push(session.request(message, answer));
    }
    if (answer === undefined) return ACCEPTED;
    answer.leaveWithClient(() => {
      for (const leave of leaves) leave();
    });
    return undefined;
  }

  async function listen(http: HttpExchange, server: string, caller: Caller): Promise<Reply | undefined> {
    // Also how a client of the HTTP+SSE transport of 2024 learns that this is not one.
    if (http.header('mcp-session-id') === undefined) {
      return refuse(405, ERRORS.wrongHttpMethod, undefined, { Allow: 'POST, DELETE' });
    }
    const session = await sessionOf(http, server, caller, undefined);
    if (!(session instanceof Session)) return session;
    const { streams, unread } = ledgers.of(session);
    if (!isResumable(http, session)) {
      const stream = connect(http, unread, () => hangUp());
      const hangUp = session.listen(stream);
      return undefined;
    }
    const isConnected = streams.get(http.header('last-event-id'), (first, onGone) =>
      connect(http, unread, onGone, { first }),
    );
    // In HTML's words for event streams: stop reconnecting. SDK clients do; told 405 or 404, some drop the session.
    return isConnected ? undefined : NO_CONTENT;
  }

  async function close(http: HttpExchange, server: string, caller: Caller): Promise<Reply> {
    const session = await sessionOf(http, server, caller, undefined);
    if (!(session instanceof Session)) return session;
    await sessions.end(session);
    return NO_CONTENT;
  }

  /** The session the headers name, or the refusal: 400 without a name, 404 for a name that is not the caller's. */
  function sessionOf(
    http: HttpExchange,
    server: string,
    caller: Caller,
    message: Message | undefined,
  ): Maybe<Session | Reply> {
    const id = () => (message?.kind === 'request' ? rawAt(message.bytes, message.id) : undefined);
    const version = http.header('mcp-protocol-version');
    const name = http.header('mcp-session-id');
    if (name === undefined) {
      if (version !== undefined && version >= MODERN_VERSION) return refuseVersion(version, id());
      // Some clients send it over another connection, without the id they were given.
      const isInitialized =
        message?.kind === 'notification' && message.method === 'notifications/initialized';
      return isInitialized ? ACCEPTED : refuse(400, ERRORS.noSession, id());
    }
    return after(sessions.find(name, caller, server), (session) => {
      if (sessions.isClosed) return refuseStopping(id());
      if (session === undefined) return refuse(404, ERRORS.unknownSession, id());
      if (version !== undefined && !LEGACY_VERSIONS.includes(version)) return refuseVersion(version, id());
      return session;
    });
  }

  /** Counts a long answer as unread until its client has it. */
  function hold(http: HttpExchange, unread: Unread, bytes: number): Drain {
    http.response.setTimeout(timing.stallMs);
    http.whenGone(() => unread.remove(bytes));
    return unread.add(bytes);
  }

  function connect(
    http: HttpExchange,
    unread: Unread,
    onGone: (whole: boolean) => void,
    more: Pick<EventStreamOptions, 'first' | 'headers'> = {},
  ): EventStream {
    const { pingMs, stallMs } = timing;
    return new EventStream({ http, pingMs, stallMs, unread, onGone, ...more });
  }
}

/** There is no standing stream and no session to end (MCP 2026-07-28, basic/transports/streamable-http). */
const isOfModern = (http: HttpExchange): boolean =>
  isModernVersion(http.header('mcp-protocol-version') ?? '');

/** Older SDKs fail at an event without data, and a client may be older than the session it was lent. */
function isResumable(http: HttpExchange, session: Session): boolean {
  const agreed = session.protocolVersion ?? '';
  const said = http.header('mcp-protocol-version') ?? agreed;
  return LEGACY_VERSIONS.includes(agreed) && agreed >= RESUMABLE_VERSION && said >= RESUMABLE_VERSION;
}

/** Lenient, for clients that say `*`/`*`, nothing, or half of what the transport asks for. */
function accepted(http: HttpExchange): AnswerForm {
  const accept = http.header('accept');
  if (accept === undefined || accept === USUAL_ACCEPT) return 'either';
  const json = /application\/(json|\*)|\*\/\*/i.test(accept);
  const stream = /text\/(event-stream|\*)|\*\/\*/i.test(accept);
  if (json === stream) return 'either';
  return json ? 'json' : 'stream';
}
