/**
 * What a side can do, as it says so to the other era, and what a client must be able to do to be asked. Capabilities are
 * small, self-reported JSON; one that is declared twice is not declared.
 */

import { removals } from './edits.js';
import { skipSpace } from './json.js';
import { type RawJson, type RequestMessage, rawAt, splice, textAt } from './message.js';
import { ERRORS, type RpcError } from './protocol.js';
import { objectIn, objectOf, objectsIn } from './raw-json.js';
import { membersAt, membersOf } from './scan.js';

/** Extensions that mean the same in both eras. */
const NEUTRAL_EXTENSION = 'io.modelcontextprotocol/ui';

/**
 * Of a client's capabilities, those that a server of the other era can use (MCP 2025-11-25 and 2026-07-28, schema:
 * ClientCapabilities).
 */
export function neutralClient(capabilities: RawJson): RawJson {
  const { experimental, roots, sampling, elicitation, extensions } = objectsIn(capabilities, [
    'experimental',
    'roots',
    'sampling',
    'elicitation',
    'extensions',
  ]);
  return objectOf([
    ['experimental', experimental],
    // That its roots have changed, a modern client has no way to say, and a modern server none to hear.
    ['roots', roots && '{}'],
    ['sampling', sampling],
    ['elicitation', elicitation],
    ['extensions', extensions && neutral(extensions)],
  ]);
}

/** A server's capabilities without what only one era knows: tasks are an extension of its own in the modern one. */
export function neutralServer(capabilities: RawJson): RawJson {
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
export type Need = (typeof NEEDS)[number];
const NEEDS = ['roots', 'sampling', 'sampling.tools', 'elicitation.form', 'elicitation.url'] as const;

/** What a server asks of a client, by a request or within a result. */
export type Question = Pick<RequestMessage, 'bytes' | 'method' | 'params'>;

/** Undefined for what no modern client can be asked (MCP 2026-07-28, basic/patterns/mrtr: server requirements, 2). */
export function needOf({ bytes, method, params }: Question): Need | undefined {
  switch (method) {
    case 'roots/list':
      return 'roots';
    case 'sampling/createMessage': {
      const { tools, toolChoice } = membersAt(bytes, params, ['tools', 'toolChoice']);
      return (tools ?? toolChoice) === undefined ? 'sampling' : 'sampling.tools';
    }
    case 'elicitation/create': {
      const { mode } = membersAt(bytes, params, ['mode']);
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

/** All that such a client may be asked. */
export const declared = (capabilities: RawJson): ReadonlySet<Need> =>
  new Set(NEEDS.filter((need) => declares(capabilities, need)));

/** Whether what a server can do has this mark, such as `listChanged`. */
export const hasFlag = (capability: RawJson | undefined, name: string): boolean =>
  objectIn(capability)?.[name] === true;

/** What a request is refused with that cannot go on without the capability. */
export function missingCapability(need: Need): RpcError {
  const [capability = '', mode] = need.split('.');
  const requiredCapabilities = { [capability]: mode === undefined ? {} : { [mode]: {} } };
  return { ...ERRORS.missingCapability, data: { requiredCapabilities } };
}
