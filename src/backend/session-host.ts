/** What a session asks of the registry that holds it: a child, its record, and who counts what it does. */
import type { Clock } from '../base/clock.js';
import type { Log } from '../base/log.js';
import type { RequestMessage } from '../mcp/message.js';
import type { RpcError } from '../mcp/protocol.js';
import type { Launched, LinkEvents, Predecessor } from './children.js';
import type { SessionObserver } from './observer.js';
import type { Session } from './session.js';
import type { SessionRecord, SessionWishes } from './session-store.js';

export interface SessionHost {
  readonly now: Clock;
  readonly log: Log;
  readonly observer: SessionObserver;
  readonly requestMs: number;
  readonly maxQueuedBytes: number;
  launch(session: Session, before: Predecessor | undefined, events: LinkEvents): Promise<Launched | RpcError>;
  /** How the server answered this `initialize` before, if it did. */
  knownAnswer(session: Session, initialize: RequestMessage): Buffer | undefined;
  greeted(session: Session, initialize: RequestMessage, answer: Buffer): void;
  /** `answer`: what the child said instead, if anything. */
  greetingFailed(session: Session, initialize: RequestMessage, answer: Buffer | undefined): void;
  /** Saves it; false when its grant is no more. */
  opened(record: SessionRecord): Promise<boolean>;
  changed(session: Session, wishes: SessionWishes): Promise<void>;
  /** Nothing is left of it in memory. */
  closed(session: Session): void;
}
