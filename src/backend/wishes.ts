/** What a client has asked of its server for the rest of the session: said again to each new child. */
import { type RequestMessage, readMessage, textAt, valueAt } from '../mcp/message.js';
import { request } from '../mcp/protocol.js';
import type { SessionWishes } from './session-store.js';

export const NO_WISHES: SessionWishes = { logLevel: null, subscriptions: [] };

/** More subscriptions than this are granted, but not remembered. */
const MAX_SUBSCRIPTIONS = 1000;

/** Method -> the parameter it is about, and what it makes of the wishes. */
const RULES: ReadonlyMap<
  string,
  readonly [parameter: string, (wishes: SessionWishes, value: string) => SessionWishes]
> = new Map([
  ['logging/setLevel', ['level', (wishes, level) => ({ ...wishes, logLevel: level })]],
  ['resources/subscribe', ['uri', (wishes, uri) => withUris(wishes, [...others(wishes, uri), uri])]],
  ['resources/unsubscribe', ['uri', (wishes, uri) => withUris(wishes, others(wishes, uri))]],
]);

export type Wish = (wishes: SessionWishes) => SessionWishes;

/** What becomes of the wishes once `message` has been granted; undefined for the many requests that are no wish. */
export function wishOf({ method, bytes }: RequestMessage): Wish | undefined {
  const rule = RULES.get(method);
  if (rule === undefined) return undefined;
  const [parameter, apply] = rule;
  const span = valueAt(bytes, ['params', parameter]);
  const value = span && textAt(bytes, span);
  return value === undefined ? undefined : (wishes) => apply(wishes, value);
}

/** The requests that repeat them. */
export function repeat({ logLevel, subscriptions }: SessionWishes): RequestMessage[] {
  const again = (method: string, params: object) => readMessage(request('"fjmcp-broker"', method, params));
  return [
    ...(logLevel === null ? [] : [again('logging/setLevel', { level: logLevel })]),
    ...subscriptions.map((uri) => again('resources/subscribe', { uri })),
  ].filter((message) => message.kind === 'request');
}

const others = ({ subscriptions }: SessionWishes, uri: string) =>
  subscriptions.filter((other) => other !== uri);
const withUris = (wishes: SessionWishes, uris: readonly string[]): SessionWishes => ({
  ...wishes,
  subscriptions: uris.slice(-MAX_SUBSCRIPTIONS),
});
