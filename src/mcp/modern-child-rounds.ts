/**
 * Rounds of one call (MCP 2026-07-28, basic/patterns/mrtr): what a child wants to know becomes requests to the client, and
 * their answers go back with the child's state in a retry of the call. What is asked and answered passes as it came.
 */
import { type Need, needOf } from './capabilities.js';
import { insertion } from './edits.js';
import { type Edit, type RawJson, rawAt, textAt, valueAt } from './message.js';
import type { ResultMembers } from './modern-child-results.js';
import type { RpcError } from './protocol.js';
import { type Entry, entriesOf, isObjectAt, membersOf, type Span } from './scan.js';

/** One thing that a child wants to know. */
export interface InputRequest {
  /** The name the child gave it, as it stands in JSON. */
  readonly key: RawJson;
  readonly method: string;
  /** What the client must have declared to be asked it. */
  readonly need: Need;
  /** The params of the request, or nothing. */
  readonly params: RawJson | undefined;
}

export interface Round {
  readonly inputs: readonly InputRequest[];
  readonly requestState: RawJson | undefined;
}

export const MAX_ROUNDS = 20;
const MAX_INPUTS = 32;

const unusable = (why: string): RpcError => ({
  code: -32603,
  message: `The MCP server asked for input that cannot be given: ${why}`,
  data: { reason: 'input-impossible' },
});

export const TOO_MANY_ROUNDS = unusable(`it asked ${MAX_ROUNDS} times for one call`);
export const NOT_KEPT = unusable('the call cannot be repeated');

/** What a child asks for; or why the client is not asked. */
export function readRound(line: Buffer, found: ResultMembers, may: ReadonlySet<Need>): Round | RpcError {
  const { inputRequests, requestState } = found;
  if (inputRequests === undefined && requestState === undefined) return unusable('it names none');
  const entries = inputRequests ? entriesOf(line, inputRequests.start, MAX_INPUTS) : [];
  if (entries === 'too many') return unusable(`more than ${MAX_INPUTS} things at once`);
  if (entries === 'malformed') return unusable('it is no object of requests');
  const inputs: InputRequest[] = [];
  for (const entry of entries) {
    const input = readInputRequest(line, entry, may);
    if ('code' in input) return input;
    inputs.push(input);
  }
  return { inputs, requestState: requestState && rawAt(line, requestState) };
}

function readInputRequest(
  line: Buffer,
  { key, value }: Entry,
  may: ReadonlySet<Need>,
): InputRequest | RpcError {
  const scanned = isObjectAt(line, value.start)
    ? membersOf(line, value.start, ['method', 'params'])
    : 'malformed';
  if (typeof scanned === 'string') return unusable('one of them is no request');
  const { method: methodSpan, params } = scanned.members;
  const method = (methodSpan && textAt(line, methodSpan)) ?? '';
  const need = needOf({ bytes: line, method, params });
  if (need === undefined) return unusable('one of them is of a kind that there is not');
  if (!may.has(need)) return unusable(`the client does not offer ${need}`);
  return { key: rawAt(line, key), method, need, params: params && rawAt(line, params) };
}

/**
 * The request that asks the client. MCP 2025-11-25, client/elicitation: by URL it has an `elicitationId`, which
 * MCP 2026-07-28 no longer knows; its completion is never told.
 */
export function requestOf({ method, need, params }: InputRequest, id: RawJson): Buffer {
  const head = `{"jsonrpc":"2.0","id":${id},"method":"${method}"`;
  if (params === undefined) return Buffer.from(`${head}}`, 'latin1');
  const bytes = Buffer.from(params, 'latin1');
  const needsId = need === 'elicitation.url' && valueAt(bytes, ['elicitationId']) === undefined;
  const given = needsId ? `{"elicitationId":${id},${params.slice(1)}` : params;
  return Buffer.from(`${head},"params":${given}}`, 'latin1');
}

/**
 * What an answer of the client is to the child. MCP 2026-07-28, basic/patterns/mrtr has results only: a form or a page
 * that the client could not show was not filled in, which a child knows as `cancel`; for anything else there is no word.
 */
export function responseOf(input: InputRequest, line: Buffer, result: Span | undefined): RawJson | undefined {
  if (result !== undefined) return rawAt(line, result);
  return input.method === 'elicitation/create' ? '{"action":"cancel"}' : undefined;
}

/** To the client, whose own answer keeps its call from going on. */
export function unanswered({ method }: InputRequest, line: Buffer): RpcError {
  const span = valueAt(line, ['error', 'message']);
  const said = (span && textAt(line, span)) ?? '';
  return { code: -32603, message: `The client refused ${method}: ${said.slice(0, 1000)}` };
}

/** The edits that make the call (as the child got it first, so that it has params) its retry. */
export function retryEdits(line: Buffer, id: RawJson, state: RawJson | undefined, answers: Answers): Edit[] {
  const idSpan = valueAt(line, ['id']);
  const params = valueAt(line, ['params']);
  if (idSpan === undefined || params === undefined) return [];
  const given = [...answers].map(([key, raw]) => `${key}:${raw}`).join(',');
  const members = [
    ...(answers.size > 0 ? [`"inputResponses":{${given}}`] : []),
    ...(state === undefined ? [] : [`"requestState":${state}`]),
  ].join(',');
  return [{ at: idSpan, raw: id }, insertion(line, params.start, members)];
}

/** By the names the child gave. */
export type Answers = ReadonlyMap<RawJson, RawJson>;
