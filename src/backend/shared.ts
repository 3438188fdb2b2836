/**
 * What a session is that no client knows of: modern clients have none (MCP 2026-07-28, basic: statelessness), and what
 * they ask goes to a child that requests with the same words to say about their client share.
 */
import { MINUTE } from '../base/clock.js';
import type { NotificationMessage, RequestMessage, ResponseMessage } from '../mcp/message.js';
import type { RpcError } from '../mcp/protocol.js';
import type { Drain, Exchange, Heard } from './calls.js';
import type { Life } from './lives.js';

export interface Shared {
  /** What each of its children is told first: of a legacy server `initialize`, of a modern one nothing. */
  readonly greeting: Buffer | 'none';
  readonly ear: Ear;
}

/** Hears what a child says to nobody in particular: neither an answer nor the progress of a call. */
export interface Ear {
  /** Whether somebody waits for what a child may say: then the session stays in memory. */
  readonly isHeard: boolean;
  /** A child has answered `initialize`. */
  greeted(answer: Buffer): void;
  /**
   * A question, under an id of ours: `Session.answer` brings the answer to the child that asked. `calls` are those that
   * this child has to answer, from the oldest on. Without it, children have nothing to ask, and hear nothing if they do.
   */
  ask?(question: RequestMessage, calls: readonly Exchange[]): Drain;
  /** Also `notifications/cancelled`, by which a child takes a question back. */
  note(notification: NotificationMessage, calls: readonly Exchange[]): Drain;
  /** A child is there that is not told anything first. What is written to it now it reads before the rest. */
  started?(life: Life, write: (line: Buffer) => void): void;
  /** Before anybody else; undefined for what it does not take. */
  first?(message: ResponseMessage | NotificationMessage): Heard | undefined;
  /** A child will say no more. */
  lost?(life: Life, error: RpcError): void;
  /** The broker is about to stop: who listens may go on listening at the next one. */
  hangUp(): void;
  /** The session is no more. */
  closed(): void;
}

/** How long a child may wait for its question; the call that it is about is over before. */
export const QUESTION_MS = 15 * MINUTE;
