/**
 * `fjmcp-broker clients | grants | users | audit`: looks into the store and changes it, also while a broker runs on it.
 * Needs nothing but the path of the database; says what it has to say on stdout, and never makes a database.
 */
import { resolve } from 'node:path';
import type { Clock } from '../base/clock.js';
import type { Environment, ReadFile } from '../base/environment.js';
import type { Randomness } from '../base/ids.js';
import { createRecordingLog } from '../base/log.js';
import { loadDatabase } from '../config.js';
import { createAudit } from '../oauth/audit.js';
import { openSqliteAdmin, type SqliteAdmin } from '../store/sqlite-admin.js';
import { audit } from './audit.js';
import { clients } from './clients.js';
import type { Noun, Verb } from './desk.js';
import { grants } from './grants.js';
import { CommandProblem, UsageProblem } from './problems.js';
import { clean, json as jsonOf } from './report.js';
import { users } from './users.js';

export const NOUNS = { clients, grants, users, audit } as const satisfies Record<string, Noun>;
export type NounName = keyof typeof NOUNS;

export interface AdminOptions {
  readonly env: Environment;
  readonly readFile: ReadFile;
  readonly print: (text: string) => void;
  readonly now: Clock;
  readonly random: Randomness;
}

/** Does what `args` say of the noun, or throws the problem that its caller is told. */
export async function runAdmin(
  name: NounName,
  args: readonly string[],
  options: AdminOptions,
): Promise<void> {
  const { env, readFile, print, now, random } = options;
  const noun = NOUNS[name];
  if (args.includes('--help') || args[0] === 'help') return print(noun.usage);
  const { action, json } = prepare(noun, args);
  using store = openStore(env, readFile);
  // The broker that runs has the log; what happens here is found in the store.
  const log = createRecordingLog(() => undefined);
  const audit = createAudit({ store, log, now, random });
  const report = await action({ store, audit, now, random }).catch(explainSqlite);
  print(json ? jsonOf(report.data) : report.text);
}

/** A disk that is full, a file that is locked or not writable: the operator's to mend, not a bug. */
function explainSqlite(error: unknown): never {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if ('code' in cause && String(cause.code).startsWith('SQLITE_')) {
      throw new CommandProblem(`the database refuses: ${cause.message} (${String(cause.code)})`, { cause });
    }
  }
  throw error;
}

function prepare({ usage, verbs }: Noun, [name, ...args]: readonly string[]): ReturnType<Verb['prepare']> {
  const known = name !== undefined && Object.hasOwn(verbs, name) ? verbs[name] : undefined;
  if (known === undefined) {
    const problem = name === undefined ? 'a command is missing' : `there is no command "${clean(name)}" here`;
    throw new UsageProblem(problem, { usage });
  }
  try {
    return known.prepare(args);
  } catch (cause) {
    if (!(cause instanceof UsageProblem)) throw cause;
    throw new UsageProblem(`${name}: ${cause.message}`, { cause, usage });
  }
}

function openStore(env: Environment, readFile: ReadFile): SqliteAdmin {
  const loaded = loadDatabase(env, readFile);
  if ('problems' in loaded) throw new CommandProblem(loaded.problems.join('\n'));
  const path = resolve(loaded.database);
  try {
    return openSqliteAdmin(path);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new CommandProblem(
      `cannot open the database ${path}: ${why} (BROKER_DATABASE says where the broker keeps it)`,
      { cause },
    );
  }
}
