/**
 * The `requestState` that a client brings back (MCP 2026-07-28, basic/patterns/mrtr: server requirements, 4 and 5). It holds
 * no secret and is sealed all the same: for the user and the grant it was given to, for one call with these parameters,
 * and for a time. That it is used once, and what was asked, is known to whoever keeps the call.
 */
import { createHash } from 'node:crypto';
import type { Caller } from '../base/ids.js';
import type { ModernRequest } from '../mcp/envelope.js';
import { parametersOf } from '../mcp/input-required.js';
import { because, ERRORS, type RpcError } from '../mcp/protocol.js';

/** Authenticated encryption, for texts that leave the broker and come back. */
export interface Sealer {
  /** Opens in the same context only. */
  seal(bytes: Buffer, context: string): string;
  open(text: string, context: string): Buffer | undefined;
}

/** Where the retry leads. */
export type Goal = { readonly call: string; readonly round: number } | 'a new call';

export interface Place {
  readonly caller: Caller;
  readonly server: string;
  readonly request: ModernRequest;
}

/** Ours are shorter than 300 bytes and the server's name. */
const LONGEST = 2048;

export function sealState(sealer: Sealer, place: Place, goal: Goal, until: number): string {
  const { call, round } = goal === 'a new call' ? { call: null, round: 0 } : goal;
  return sealer.seal(Buffer.from(JSON.stringify([until, call, round, subjectOf(place)])), contextOf(place));
}

/** Whether it was given to this caller, for this very call, and not too long ago. */
export function openState(
  sealer: Sealer,
  place: Place,
  state: string,
  now: number,
): Goal | { readonly fault: RpcError } {
  const bytes = state.length <= LONGEST ? sealer.open(state, contextOf(place)) : undefined;
  const sealed: unknown = bytes && JSON.parse(bytes.toString());
  if (!Array.isArray(sealed)) return fault('requestState was not given to this client, or was altered');
  const [until, call, round, subject]: readonly unknown[] = sealed;
  if (subject !== subjectOf(place)) return fault('requestState was given for another request');
  if (typeof until !== 'number' || until <= now) {
    return fault('requestState has expired. Make the call again without it.');
  }
  return typeof call === 'string' && typeof round === 'number' ? { call, round } : 'a new call';
}

export const fault = (why: string) => ({ fault: because(ERRORS.invalidParams, why) });

const contextOf = ({ caller }: Place) => `requestState ${caller.userId} ${caller.grantId}`;

/** What stays the same from a call to its retry. */
function subjectOf({ server, request }: Place): string {
  const digest = createHash('sha256');
  for (const part of parametersOf(request)) digest.update(part);
  return [server, request.message.method, digest.digest('base64url')].join(' ');
}
