/** Answers that the bridge asks for itself, and those that it gives on behalf of a child. */
import { type RawJson, type RequestMessage, rawAt, readMessage, splice } from '../mcp/message.js';
import { errorAnswer, type RpcError } from '../mcp/protocol.js';
import type { Exchange } from './calls.js';
import { outcomeOf } from './failures.js';

/** What is asked by us is heard by nobody else. */
export const silent = (heard: (answer: Buffer | undefined) => void = () => undefined): Exchange => ({
  streams: false,
  kind: 'ours',
  send: () => undefined,
  end: (answer) => void heard(answer),
});

export function underId(id: RawJson, answer: Buffer): Buffer {
  const message = readMessage(answer);
  return message.kind === 'response' ? splice(answer, [{ at: message.id, raw: id }]) : answer;
}

export function isResult(answer: Buffer): boolean {
  const message = readMessage(answer);
  return message.kind === 'response' && message.result !== undefined;
}

/** Ends an exchange that no child takes part in. */
export function refuse({ bytes, id }: RequestMessage, exchange: Exchange, error: RpcError): () => void {
  void exchange.end(errorAnswer(rawAt(bytes, id), error), error.data?.retryAfterSeconds, outcomeOf(error));
  return () => undefined;
}
