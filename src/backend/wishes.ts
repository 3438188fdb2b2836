/** What a client has asked of its server for the rest of the session: said again to each new child. */
import { type RequestMessage, readMessage, textAt, valueAt } from '../mcp/message.js';
import { request } from '../mcp/protocol.js';
import type { SessionWishes } from './session-store.js';

export const NO_WISHES: SessionWishes = { logLevel: null, subscriptions: [] };

/** Beyond these, subscriptions are granted, but not remembered. */
const MAX_SUBSCRIPTIONS = 1000;
const LONGEST = 2048;

/** What a granted request makes of the wishes. */
export type Wish = (wishes: SessionWishes) => SessionWishes;

/** Method -> the parameter it is about, and the wish it is. */
const RULES: ReadonlyMap<string, readonly [parameter: string, wish: (value: string) => Wish]> = new Map([
  ['logging/setLevel', ['level', (logLevel) => (wishes) => ({ ...wishes, logLevel })]],
  ['resources/subscribe', ['uri', (uri) => (wishes) => withUris(wishes, [...others(wishes, uri), uri])]],
  ['resources/unsubscribe', ['uri', (uri) => (wishes) => withUris(wishes, others(wishes, uri))]],
]);

/** Undefined for the many requests that are no wish. */
export function wishOf({ method, bytes }: RequestMessage): Wish | undefined {
  const rule = RULES.get(method);
  if (rule === undefined) return undefined;
  const [parameter, wish] = rule;
  const span = valueAt(bytes, ['params', parameter]);
  const value = span && textAt(bytes, span);
  return value === undefined || value.length > LONGEST ? undefined : wish(value);
}

/** The requests that lead from what a child was told to what it should know. */
export function lead(told: SessionWishes, wanted: SessionWishes): RequestMessage[] {
  const ask = (method: string, params: object) => readMessage(request('"fjmcp-broker"', method, params));
  const { logLevel, subscriptions } = wanted;
  const added = subscriptions.filter((uri) => !told.subscriptions.includes(uri));
  const dropped = told.subscriptions.filter((uri) => !subscriptions.includes(uri));
  return [
    ...(logLevel === null || logLevel === told.logLevel
      ? []
      : [ask('logging/setLevel', { level: logLevel })]),
    ...added.map((uri) => ask('resources/subscribe', { uri })),
    ...dropped.map((uri) => ask('resources/unsubscribe', { uri })),
  ].filter((message) => message.kind === 'request');
}

const others = ({ subscriptions }: SessionWishes, uri: string) =>
  subscriptions.filter((other) => other !== uri);
const withUris = (wishes: SessionWishes, uris: readonly string[]): SessionWishes => ({
  ...wishes,
  subscriptions: uris.slice(-MAX_SUBSCRIPTIONS),
});
