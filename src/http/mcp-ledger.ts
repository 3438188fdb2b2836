/**
 * What the MCP endpoint holds for its users: what their clients have not read, and what is kept for those that may come
 * back. Both are bounded for each user, for a user may have hundreds of sessions.
 */
import type { Drain } from '../backend/calls.js';
import type { Session } from '../backend/session.js';
import type { UserId } from '../base/ids.js';
import { SessionStreams, type StreamsOptions } from './mcp-resume.js';
import { Shelf } from './mcp-shelf.js';
import { Unread } from './mcp-unread.js';

export interface LedgerOptions extends Omit<StreamsOptions, 'shelf'> {
  readonly maxMessageBytes: number;
}

/** What is counted and kept for one session. */
export interface Ledger {
  readonly unread: Unread;
  readonly streams: SessionStreams;
}

interface Account {
  readonly unread: Unread;
  readonly shelf: Shelf;
}

/** How many messages of the largest size may be held for a user: in reading, as unread, and for resuming, each. */
export const MESSAGES_PER_USER = 4;
/** An id and the words around it. */
const EVENT_FRAME_BYTES = 256;

export class Ledgers {
  readonly #options: LedgerOptions;
  /** From the first time that there is something to count or to keep. */
  readonly #ledgers = new WeakMap<Session, Ledger>();
  /** As many as have come since the start; empty ones are small. */
  readonly #accounts = new Map<UserId, Account>();

  constructor(options: LedgerOptions) {
    this.#options = options;
  }

  of(session: Session): Ledger {
    const known = this.#ledgers.get(session);
    if (known !== undefined) return known;
    const { unread, shelf } = this.#account(session.caller.userId);
    const ledger = {
      // One answer of whatever size holds up no other, and one session not those beside it.
      unread: new Unread(this.#options.maxMessageBytes, unread),
      streams: new SessionStreams(session, { ...this.#options, shelf }),
    };
    this.#ledgers.set(session, ledger);
    return ledger;
  }

  /** For what belongs to no session, but to one request. */
  unreadOf(user: UserId): Unread {
    return new Unread(this.#options.maxMessageBytes, this.#account(user).unread);
  }

  /** Until then a user's new requests wait: a child that is asked has no place yet for what it will say. */
  room(user: UserId): Drain {
    return this.#accounts.get(user)?.unread.drained;
  }

  #account(user: UserId): Account {
    const known = this.#accounts.get(user);
    if (known !== undefined) return known;
    const { maxMessageBytes } = this.#options;
    const account = {
      unread: new Unread(MESSAGES_PER_USER * maxMessageBytes),
      shelf: new Shelf(MESSAGES_PER_USER * (maxMessageBytes + EVENT_FRAME_BYTES)),
    };
    this.#accounts.set(user, account);
    return account;
  }
}
