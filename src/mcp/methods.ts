/** The requests of MCP 2026-07-28, and what the standard says of each. A method that is not listed does not exist. */

export interface ModernMethod {
  /** The parameter that the header `Mcp-Name` repeats (basic/transports/streamable-http: standard request headers). */
  readonly named?: 'name' | 'uri' | 'taskId';
  /** Whether its results say how long they may be kept (server/utilities/caching: cacheable results). */
  readonly cacheable?: true;
  /** Whether its answer may ask for input first (basic/patterns/mrtr: supported requests). */
  readonly mayAsk?: true;
  /** The extension that it belongs to; a legacy server does not know it. */
  readonly extension?: string;
}

const TASKS = { named: 'taskId', extension: 'io.modelcontextprotocol/tasks' } as const;

export const MODERN_METHODS: ReadonlyMap<string, ModernMethod> = new Map<string, ModernMethod>([
  ['server/discover', { cacheable: true }],
  ['subscriptions/listen', {}],
  ['completion/complete', {}],
  ['tools/list', { cacheable: true }],
  ['tools/call', { named: 'name', mayAsk: true }],
  ['prompts/list', { cacheable: true }],
  ['prompts/get', { named: 'name', mayAsk: true }],
  ['resources/list', { cacheable: true }],
  ['resources/templates/list', { cacheable: true }],
  ['resources/read', { named: 'uri', cacheable: true, mayAsk: true }],
  ['tasks/get', TASKS],
  ['tasks/update', TASKS],
  ['tasks/cancel', TASKS],
]);
