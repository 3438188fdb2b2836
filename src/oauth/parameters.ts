/** Request parameters, read once: a repeated one is refused, an empty one counts as absent (RFC 6749 §3.1). */
import { fault, type OAuthFault } from './fault.js';

export interface Parameters {
  /** The value of a parameter that may appear once. */
  get(name: string): string | undefined;
  /** RFC 8707 §2: `resource` alone may be repeated. */
  readonly resources: readonly string[];
}

export function parseParameters(source: URLSearchParams): Parameters | OAuthFault {
  const values = new Map<string, string>();
  const resources: string[] = [];
  for (const [name, value] of source) {
    if (value === '') continue;
    if (name === 'resource') {
      resources.push(value);
    } else if (values.has(name)) {
      return fault('parameter_repeated', /^\w{1,64}$/.test(name) ? name : 'of another name');
    } else {
      values.set(name, value);
    }
  }
  return { get: (name) => values.get(name), resources };
}
