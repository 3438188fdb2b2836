/** What the administration commands share: their parts, the reading of their arguments, and how they name things. */
import { parseArgs } from 'node:util';
import type { Clock } from '../base/clock.js';
import type { Randomness } from '../base/ids.js';
import type { AdminStore, UserView } from '../oauth/admin.js';
import type { Audit, AuditId } from '../oauth/audit.js';
import type { Grant } from '../oauth/ports.js';
import { CommandProblem, refusing, UsageProblem } from './problems.js';
import { clean, type Report } from './report.js';

export interface Desk {
  readonly store: AdminStore;
  readonly audit: Audit;
  readonly now: Clock;
  readonly random: Randomness;
}

/** What to do once the store is open. */
export type Action = (desk: Desk) => Promise<Report>;

export interface Verb {
  /** The arguments to an action; throws `UsageProblem`. */
  readonly prepare: (args: readonly string[]) => { readonly action: Action; readonly json: boolean };
}

export interface Noun {
  readonly usage: string;
  readonly verbs: Readonly<Record<string, Verb>>;
}

export interface Given {
  /** What stands alone; empty when the verb takes nothing of the kind. */
  readonly argument: string;
  /** The value of an option, if it was given. */
  readonly option: (name: string) => string | undefined;
  readonly all: (name: string) => readonly string[];
  readonly has: (name: string) => boolean;
}

export interface Takes {
  /** What the one argument is called, as in `show ID`. */
  readonly argument?: string;
  /** Options with a value, which may be given once. */
  readonly once?: readonly string[];
  readonly repeated?: readonly string[];
  readonly flags?: readonly string[];
}

export function verb(takes: Takes, prepare: (given: Given) => Action): Verb {
  return {
    prepare(args) {
      const { given, json } = parse(takes, args);
      return { action: prepare(given), json };
    },
  };
}

function parse({ argument, once = [], repeated = [], flags = [] }: Takes, args: readonly string[]) {
  const options = Object.fromEntries([
    // Read as repeatable too, so that an option given twice is refused and not half obeyed.
    ...[...once, ...repeated].map((name) => [name, { type: 'string' as const, multiple: true }]),
    ...['json', ...flags].map((name) => [name, { type: 'boolean' as const }]),
  ]);
  const { values, positionals } = refusing(() =>
    parseArgs({ args: [...args], options, allowPositionals: true }),
  );
  const read = new Map<string, unknown>(Object.entries(values));
  const all = (name: string): readonly string[] => {
    const value = read.get(name);
    return Array.isArray(value) ? value.map(String) : [];
  };
  const twice = once.find((name) => all(name).length > 1);
  if (twice !== undefined) throw new UsageProblem(`--${twice} is given twice`);
  const [first, ...more] = positionals;
  if (argument !== undefined && (first === undefined || first === '')) {
    throw new UsageProblem(`${argument} is missing`);
  }
  const unexpected = argument === undefined ? first : more[0];
  if (unexpected !== undefined) throw new UsageProblem(`"${clean(unexpected)}" is not expected`);
  const has = (name: string) => read.get(name) === true;
  const given: Given = { argument: first ?? '', option: (name) => all(name)[0], all, has };
  return { given, json: has('json') };
}

export function present<T>(found: T | undefined, what: string): T {
  if (found === undefined) throw new CommandProblem(`there is no ${what}`);
  return found;
}

/** The one user that an id or a login name means. */
export async function oneUser({ store }: Desk, idOrLogin: string): Promise<UserView> {
  const found = await store.findUsers(idOrLogin);
  if (found.length > 1) {
    const each = found.map(({ id, issuer }) => `  ${id}  at ${issuer}`).join('\n');
    throw new CommandProblem(
      `${found.length} users are called "${clean(idOrLogin)}"; name one by its id:\n${each}`,
    );
  }
  return present(found[0], `user "${clean(idOrLogin)}"`);
}

/** One event for each grant, so that it is found under its user and under its client. */
export async function auditEnded({ audit }: Desk, ended: readonly Grant[]): Promise<readonly AuditId[]> {
  const ids: AuditId[] = [];
  for (const { id, userId, clientId } of ended) {
    ids.push(await audit('grant.revoked', { user: userId, client: clientId, grant: id, reason: 'operator' }));
  }
  return ids;
}
