/** RFC 8707: which protected resource a token is for. Resources are the MCP endpoints, each an exact URL. */
import { withoutTrailingSlashes } from '../base/text.js';
import { fault, type OAuthFault } from './fault.js';

export interface Resources {
  /** The broker's origin, without a trailing slash. A grant for it covers every endpoint below. */
  readonly origin: string;
  /** Exact URL of each endpoint; the first is `/mcp`. */
  readonly endpoints: readonly string[];
}

const MAX_LENGTH = 2000;

/**
 * The canonical resource a client asks for. Tolerated, because real clients do it: none at all or the bare origin
 * (then the grant covers the broker), identical repetitions, a trailing slash, upper case in the host, a default port.
 */
export function resolveResource(asked: readonly string[], resources: Resources): string | OAuthFault {
  const found = new Set(asked.map((text) => canonical(text)));
  if (found.size === 0) return resources.origin;
  const [only] = found;
  if (found.size > 1 || only === undefined) return fault('resource_unknown', 'several resources');
  if (only === resources.origin) return only;
  return resources.endpoints.includes(only)
    ? only
    : fault('resource_unknown', 'not an endpoint of this broker');
}

/** Whether a grant for `granted` is good at `endpoint`. */
export function coversResource(granted: string, endpoint: string, { origin }: Resources): boolean {
  return granted === endpoint || granted === origin;
}

function canonical(text: string): string | undefined {
  if (text.length > MAX_LENGTH || !URL.canParse(text)) return undefined;
  const url = new URL(text);
  if (url.hash !== '' || url.search !== '' || url.username !== '' || url.password !== '') return undefined;
  return url.origin + withoutTrailingSlashes(url.pathname);
}
