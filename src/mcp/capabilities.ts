/**
 * What a side can do, as it says so to the other era, and what a client must be able to do to be asked. Capabilities are
 * small, self-reported JSON; one that is declared twice is not declared.
 */

import { removals } from './edits.js';
import { type RawJson, type RequestMessage, rawAt, splice, textAt, valueAt } from './message.js';
import { ERRORS, type RpcError } from './protocol.js';
import { isObjectAt, membersOf, skipSpace } from './scan.js';

/** Extensions that mean the same in both eras. */
const NEUTRAL_EXTENSION = 'io.modelcontextprotocol/ui';

/** Of a modern client's capabilities, those that a legacy server can use (MCP 2025-11-25, schema: ClientCapabilities). */
export function toLegacyClient(capabilities: RawJson): RawJson {
  const { experimental, roots, sampling, elicitation, extensions } = objectsIn(capabilities, [
    'experimental',
    'roots',
    'sampling',
    'elicitation',
    'extensions',
  ]);
  return objectOf([
    ['experimental', experimental],
    // A modern client has no way to say that its roots have changed.
    ['roots', roots && '{}'],
    ['sampling', sampling],
    ['elicitation', elicitation],
    ['extensions', extensions && neutral(extensions)],
  ]);
}

/** A legacy server's capabilities without what the modern era removed: tasks are an extension of its own now. */
export function toModernServer(capabilities: RawJson): RawJson {
  const bytes = Buffer.from(capabilities, 'latin1');
  const scanned = membersOf(bytes, skipSpace(bytes, 0), ['tasks', 'extensions']);
  if (typeof scanned === 'string') return '{}';
  const { tasks, extensions } = scanned.members;
  const kept = extensions && neutral(rawAt(bytes, extensions));
  const edits = removals(bytes, 0, kept === undefined ? [tasks, extensions] : [tasks]);
  if (extensions !== undefined && kept !== undefined) edits.push({ at: extensions, raw: kept });
  return splice(bytes, edits).toString('latin1');
}

function neutral(extensions: RawJson): RawJson | undefined {
  const { [NEUTRAL_EXTENSION]: settings } = objectsIn(extensions, [NEUTRAL_EXTENSION]);
  return settings && objectOf([[NEUTRAL_EXTENSION, settings]]);
}

/** What a client must have declared to be asked something. */
export type Need = 'roots' | 'sampling' | 'sampling.tools' | 'elicitation.form' | 'elicitation.url';

/** Undefined for what no modern client can be asked (MCP 2026-07-28, basic/patterns/mrtr: server requirements, 2). */
export function needOf({ bytes, method }: RequestMessage): Need | undefined {
  switch (method) {
    case 'roots/list':
      return 'roots';
    case 'sampling/createMessage': {
      const usesTools = ['tools', 'toolChoice'].some(
        (name) => valueAt(bytes, ['params', name]) !== undefined,
      );
      return usesTools ? 'sampling.tools' : 'sampling';
    }
    case 'elicitation/create': {
      const mode = valueAt(bytes, ['params', 'mode']);
      const text = mode === undefined ? 'form' : textAt(bytes, mode);
      return text === 'form' || text === 'url' ? `elicitation.${text}` : undefined;
    }
    default:
      return undefined;
  }
}

export function declares(capabilities: RawJson, need: Need): boolean {
  const { roots, sampling, elicitation } = objectsIn(capabilities, ['roots', 'sampling', 'elicitation']);
  switch (need) {
    case 'roots':
      return roots !== undefined;
    case 'sampling':
      return sampling !== undefined;
    case 'sampling.tools':
      return sampling !== undefined && objectsIn(sampling, ['tools']).tools !== undefined;
    case 'elicitation.form':
    case 'elicitation.url': {
      if (elicitation === undefined) return false;
      const { form, url } = objectsIn(elicitation, ['form', 'url']);
      // Without a mode it means forms (MCP 2026-07-28, client/elicitation: capabilities).
      return need === 'elicitation.url' ? url !== undefined : form !== undefined || url === undefined;
    }
  }
}

/** What a request is refused with that cannot go on without the capability. */
export function missingCapability(need: Need): RpcError {
  const [capability = '', mode] = need.split('.');
  const requiredCapabilities = { [capability]: mode === undefined ? {} : { [mode]: {} } };
  return { ...ERRORS.missingCapability, data: { requiredCapabilities } };
}

/** Those of the members that are objects. */
export function objectsIn<Name extends string>(
  object: RawJson,
  names: readonly Name[],
): { readonly [N in Name]?: RawJson } {
  const bytes = Buffer.from(object, 'latin1');
  const scanned = membersOf(bytes, skipSpace(bytes, 0), names);
  const found: { [N in Name]?: RawJson } = {};
  if (typeof scanned === 'string') return found;
  for (const name of names) {
    const span = scanned.members[name];
    if (span !== undefined && isObjectAt(bytes, span.start)) found[name] = rawAt(bytes, span);
  }
  return found;
}

/** The object of those members that are there. */
export function objectOf(members: readonly (readonly [name: string, value: RawJson | undefined])[]): RawJson {
  const there = members.filter(([, value]) => value !== undefined);
  return `{${there.map(([name, value]) => `"${name}":${value}`).join(',')}}`;
}
