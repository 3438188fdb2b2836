/**
 * What a client is told when the bridge, not the server behind it, fails a call. All are -32603 with a `data.reason`
 * for programs, except what passes by itself (-32000 with `data.retryAfterSeconds`). The sentence is for the person who reads it.
 */
import { SECOND } from '../base/clock.js';
import { lineOf, type RawJson } from '../mcp/message.js';
import { ERRORS, errorAnswer, type RpcError } from '../mcp/protocol.js';
import { type ChildEnd, describeEnd } from './child.js';
import type { LaunchFault, UpstreamFault } from './launch.js';
import type { CallOutcome } from './observer.js';

const failure = (reason: string, message: string, code = -32603): RpcError => ({
  code,
  message,
  data: { reason },
});

/** One that passes. */
const failureFor = (seconds: number, reason: string, message: string): RpcError => ({
  code: -32000,
  message,
  data: { reason, retryAfterSeconds: seconds },
});

export const childEnded = (end: ChildEnd): RpcError =>
  failure(
    'child-ended',
    `The MCP server process ${describeEnd(end)} before it answered. The call may or may not have been carried out.`,
  );

export const childKeepsEnding = (seconds: number): RpcError =>
  failureFor(
    seconds,
    'child-keeps-ending',
    `The MCP server process keeps ending soon after its start. It is started again in ${seconds} s at the earliest.`,
  );

export const childNotReading = failure(
  'child-not-reading',
  'The MCP server process does not read its input.',
);

export const handshakeRefused = failure(
  'handshake-refused',
  'The MCP server process refused the repeated handshake.',
);

export const launchRefused = (fault: LaunchFault): RpcError =>
  failure('launch-refused', `The MCP server could not be started: ${fault.launchFault}`);

export const upstreamFailed = ({ fault, message, retryAfterSeconds }: UpstreamFault): RpcError => ({
  code: -32603,
  message,
  data: { reason: fault, ...(retryAfterSeconds === undefined ? {} : { retryAfterSeconds }) },
});

/** Nobody is told: the child that has the token goes on. */
export const noFresherToken = failure('unreachable', 'Forgejo has no fresher token at the moment.');

const TIMED_OUT = 'timed-out';
export const timedOut = (ms: number): RpcError =>
  failure(
    TIMED_OUT,
    `The MCP server did not answer within ${Math.round(ms / SECOND)} s; the call was cancelled.`,
  );

export const allBusy = failureFor(5, 'busy', 'All MCP server processes are busy. Try again in a moment.');

/** What a session has settled holds for one era; the next request finds the other. */
export const eraChanged = failureFor(1, 'era-changed', 'The MCP server has changed. Try again in a moment.');

export const tooManyCalls = failureFor(5, 'too-many-calls', 'Too many calls of this session are unanswered.');

export const sessionClosed = failure(
  'session-closed',
  'The session was closed before the call was answered.',
);

export const stopping = failure(
  'stopping',
  'The broker is restarting. The call may or may not have been carried out.',
);

/** To a client that comes back with what a call asked for. */
export const callGone = failure(
  'call-gone',
  'The call that asked for this is no longer there: it was given up, or its process or the broker has ended. Make the call again.',
);

export const tooManyRounds = failure(
  'too-many-rounds',
  'The MCP server asked for input too often; the call was cancelled.',
);

export const declined = failure(
  'declined',
  'The MCP server does not carry this call out before its user has been where it asked.',
);

export const tokenEnded = failure(
  'token-ended',
  'The upstream token of the MCP server process has ended while the call waited for input. Make the call again.',
);

export const placeNeeded = failure(
  'place-needed',
  'The MCP server process had to make room while the call waited for input. Make the call again.',
);

export const brokenBridge = failure('internal', 'Internal error');

/** To a child that asks out of itself, which nobody can be asked any more. */
export const noCallToAsk: RpcError = { code: -32603, message: 'No request is under way that this is about' };
/** To a child that asks for more than one retry may answer. */
export const tooMuchAsked: RpcError = {
  code: -32603,
  message: 'The client is not asked for so much at once',
};

/** Subscriptions of one user. */
export const tooManyListeners = failureFor(
  60,
  'too-many-subscriptions',
  'Too many subscriptions of this user are open.',
);

/** Of the subscriptions that share children. */
export const tooManyResources = failureFor(
  60,
  'too-many-resources',
  'Too many resources are watched already. Ask for fewer, or close a subscription that watches others.',
);

/** To a child whose question nobody hears, or nobody answered. */
export const clientSilent: RpcError = { code: -32603, message: 'The client did not answer in time' };
export const refuseChild = (id: RawJson): Buffer =>
  lineOf(errorAnswer(id, { code: -32601, message: 'The client did not declare this capability' }));

/** Of clients that ask for what there is not, or ask wrongly. */
const MISTAKES: ReadonlySet<number> = new Set(
  [
    ERRORS.invalid,
    ERRORS.unknownMethod,
    ERRORS.invalidParams,
    ERRORS.headerMismatch,
    ERRORS.missingCapability,
    ERRORS.unsupportedVersion,
  ].map(({ code }) => code),
);

/** How a request counts that we answer with an error of ours. */
export function outcomeOf(error: RpcError): CallOutcome {
  if (MISTAKES.has(error.code) || error === declined) return 'refused';
  return error.data?.reason === TIMED_OUT ? 'timeout' : 'bridge_error';
}
