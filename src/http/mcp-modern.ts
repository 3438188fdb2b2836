/**
 * What is posted by modern clients (MCP 2026-07-28, basic/transports/streamable-http): told from the rest, refused with
 * the reason, or handed on. Their streams belong to no session: they have no event ids, and a client that goes away
 * cancels its request. What a request means is `backend/modern.ts`' to say.
 */
import type { Drain } from '../backend/calls.js';
import type { Modern } from '../backend/modern.js';
import type { Sessions } from '../backend/sessions.js';
import type { Caller, UserId } from '../base/ids.js';
import { after, type Maybe } from '../base/maybe.js';
import { classify } from '../mcp/envelope.js';
import { statusOf } from '../mcp/legacy-to-modern.js';
import { type Message, rawAt } from '../mcp/message.js';
import type { HttpExchange, Reply } from './http-exchange.js';
import { type AnswerForm, PostAnswer, type PostAnswerDesk } from './mcp-answers.js';
import type { Ledgers } from './mcp-ledger.js';
import { ACCEPTED, refuse, refuseStopping } from './mcp-refusals.js';
import type { EventStream, EventStreamOptions } from './mcp-stream.js';
import type { Unread } from './mcp-unread.js';

export interface ModernDoorDeps {
  readonly modern: Modern;
  readonly sessions: Pick<Sessions, 'isClosed'>;
  readonly ledgers: Ledgers;
  readonly decideAfterMs: number;
  readonly connect: (
    http: HttpExchange,
    unread: Unread,
    onGone: () => void,
    more: Pick<EventStreamOptions, 'headers'>,
  ) => EventStream;
  readonly hold: (http: HttpExchange, unread: Unread, bytes: number) => Drain;
  readonly accepted: (http: HttpExchange) => AnswerForm;
}

/** Who posted what to which server. */
export interface Posted {
  readonly http: HttpExchange;
  readonly server: string;
  readonly caller: Caller;
  readonly message: Message;
}

/** `legacy` for what is not of this era; undefined for what is answered already, or will be. */
export type ModernDoor = (posted: Posted) => 'legacy' | Maybe<Reply | undefined>;

export function modernDoor(deps: ModernDoorDeps): ModernDoor {
  const { modern, sessions, ledgers, decideAfterMs, connect, hold, accepted } = deps;
  const desk: PostAnswerDesk<UserId> = {
    decideAfterMs,
    // Most answers are short, and need no account.
    openStream: (answer) => {
      const unread = ledgers.unreadOf(answer.owner);
      return connect(answer.http, unread, () => answer.leave(), { headers: answer.headers() });
    },
    hold: ({ http, owner }, bytes) => hold(http, ledgers.unreadOf(owner), bytes),
    statusOf,
  };

  return ({ http, server, caller, message }) => {
    const header = (name: string) => http.header(name);
    const classified = classify(message, header);
    if (classified.is === 'legacy') return 'legacy';
    const id = () => (message.kind === 'request' ? rawAt(message.bytes, message.id) : undefined);
    if (classified.is === 'refused') return refuse(classified.status, classified.error, id());
    if (sessions.isClosed) return refuseStopping(id());
    if (classified.is === 'modern notification') return ACCEPTED;
    const { request } = classified;
    return after(ledgers.room(caller.userId), () => {
      if (sessions.isClosed) return refuseStopping(id());
      const answer = new PostAnswer(desk, {
        http,
        owner: caller.userId,
        accept: accepted(http),
        expected: 1,
        form: 'single',
      });
      answer.leaveWithClient(modern.request({ caller, server, request, header }, answer));
      return undefined;
    });
  };
}
