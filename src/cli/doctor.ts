/**
 * `fjmcp-broker doctor`: looks at all that `serve` needs, as `serve` would find it, and says what to mend. Changes
 * nothing and waits for nothing long, so it may run beside a broker; each check stands alone, so one names all.
 */
import { accessSync, constants, existsSync, statSync } from 'node:fs';
import { connect } from 'node:net';
import { userInfo } from 'node:os';
import { dirname, resolve } from 'node:path';
import { z } from 'zod';
import { describeLimits, type Surroundings, surveySurroundings } from '../backend/containment.js';
import { isLaunchFault, resolveCommand } from '../backend/launch.js';
import { resolveShown } from '../backend/shown.js';
import { type Clock, SECOND } from '../base/clock.js';
import type { Environment, Listen, ReadFile } from '../base/environment.js';
import type { Randomness } from '../base/ids.js';
import { createRecordingLog, describeError } from '../base/log.js';
import { type Config, type LoadedConfig, loadConfig } from '../config.js';
import { KeyRing } from '../identity/sealing.js';
import { containmentOptions, openForgejo } from '../start.js';
import { sqliteDriver } from '../store/sqlite.js';
import { openSqliteAdmin } from '../store/sqlite-admin.js';
import { clean, json as jsonOf, plural } from './report.js';

export interface DoctorOptions {
  readonly json: boolean;
  readonly env: Environment;
  readonly readFile: ReadFile;
  readonly print: (text: string) => void;
  readonly now: Clock;
  readonly random: Randomness;
}

/** `fail` keeps the broker, or somebody's call, from working; `warn` works, but not as it could. */
interface Finding {
  readonly state: 'ok' | 'warn' | 'fail';
  readonly check: string;
  readonly says: string;
  readonly remedy?: string;
}

const WAIT_MS = 5 * SECOND;

/** Whether nothing fails. */
export async function runDoctor(options: DoctorOptions): Promise<boolean> {
  const findings = await examine(options);
  options.print(options.json ? jsonOf(findings) : findings.map(lineOf).join(''));
  return !findings.some(({ state }) => state === 'fail');
}

async function examine({ env, readFile, now, random }: DoctorOptions): Promise<readonly Finding[]> {
  // The socket is passed to the service, and to nobody who looks on.
  const loaded = loadConfig({ ...env, LISTEN_FDS: '1' }, readFile);
  if ('problems' in loaded) {
    return loaded.problems.map((says) => ({ state: 'fail', check: 'configuration', says }));
  }
  const { config } = loaded;
  const survey = await surveySurroundings(containmentOptions(config));
  const found = await Promise.all([
    { state: 'ok', check: 'configuration', says: 'is complete' } as const,
    checkPublicUrl(config),
    checkListen(config.listen),
    checkStore(loaded, random),
    checkForgejo(loaded, now),
    config.servers.map((server) => checkServer(config, server, survey)),
    checkSandbox(config, survey),
    checkLimits(survey),
  ]);
  return found.flat();
}

/** From where we stand: a machine need not reach its own public name. */
async function checkPublicUrl({ publicUrl }: Config): Promise<Finding> {
  const check = 'public URL';
  const url = `${publicUrl}/.well-known/oauth-authorization-server`;
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(WAIT_MS), redirect: 'error' });
    const metadata = z.object({ issuer: z.string() }).safeParse(await response.json());
    if (!metadata.success || metadata.data.issuer !== publicUrl) {
      const says = `${url} answers ${response.status}, but not as this broker`;
      return { state: 'fail', check, says, remedy: 'BROKER_PUBLIC_URL, or what the proxy sends it to' };
    }
    if (publicUrl.startsWith('https:'))
      return { state: 'ok', check, says: `${publicUrl} leads to this broker` };
    return { state: 'warn', check, says: `${publicUrl} works for this computer alone` };
  } catch (error) {
    const says = `${publicUrl} cannot be reached from here (${describeError(error)})`;
    return { state: 'warn', check, says, remedy: 'try it from another machine; DNS, firewall, proxy' };
  }
}

async function checkListen(listen: Listen): Promise<Finding> {
  const check = 'listens';
  if (listen.kind === 'systemd') return { state: 'ok', check, says: 'on the socket that systemd passes' };
  const where = listen.kind === 'unix' ? listen.path : `${listen.host}:${listen.port}`;
  const socket = connect(listen.kind === 'unix' ? { path: listen.path } : listen);
  const answers = await new Promise<boolean>((settle) => {
    socket.once('connect', () => settle(true)).once('error', () => settle(false));
    socket.setTimeout(WAIT_MS, () => settle(false));
  });
  socket.destroy();
  if (answers) return { state: 'ok', check, says: `something listens on ${where}` };
  return { state: 'warn', check, says: `nobody listens on ${where}`, remedy: 'start the broker' };
}

async function checkStore({ config, secrets }: LoadedConfig, random: Randomness): Promise<Finding[]> {
  const check = 'database';
  if (config.database === ':memory:')
    return [{ state: 'warn', check, says: 'in memory: a restart forgets all' }];
  const path = resolve(config.database);
  const remedy = 'BROKER_DATABASE, or run this as the user of the broker';
  try {
    if (!existsSync(path)) {
      const says = `${path} is not there; the broker makes it when it starts`;
      return [{ state: 'warn', check, says }];
    }
    // SQLite makes files beside it.
    for (const place of [path, dirname(path)]) accessSync(place, constants.R_OK | constants.W_OK);
    const isStrange = statSync(path).uid !== userInfo().uid;
    using store = openSqliteAdmin(path);
    const says = `${path} opens, by ${sqliteDriver()}`;
    const keys = checkKeys(await store.countCredentialsByKey(), new KeyRing(secrets.encryptionKeys, random));
    if (!isStrange) return [{ state: 'ok', check, says }, keys];
    return [
      { state: 'warn', check, says: `${says}; it belongs to another user than this one`, remedy },
      keys,
    ];
  } catch (error) {
    return [{ state: 'fail', check, says: `${path}: ${describeError(error)}`, remedy }];
  }
}

function checkKeys(stored: ReadonlyMap<string, number>, keys: KeyRing): Finding {
  const check = 'encryption key';
  const sealed = [...stored].filter(([id]) => !keys.knows(id)).reduce((sum, [, count]) => sum + count, 0);
  const all = [...stored.values()].reduce((sum, count) => sum + count, 0);
  if (sealed === 0) return { state: 'ok', check, says: `is that of ${plural(all, 'stored credential')}` };
  const says = `is not that of ${sealed} of ${plural(all, 'stored credential')}`;
  const remedy = 'add the former key to BROKER_ENCRYPTION_KEY, or have these users sign in again';
  return { state: 'fail', check, says, remedy };
}

async function checkForgejo(loaded: LoadedConfig, now: Clock): Promise<Finding> {
  const check = 'Forgejo';
  const { url } = loaded.config.forgejo;
  const doubts: string[] = [];
  const log = createRecordingLog((_level, event) => doubts.push(event));
  const unfit = await openForgejo(loaded, now, log).check();
  if (unfit !== undefined)
    return { state: 'fail', check, says: `${url}: ${unfit.detail}`, remedy: 'FORGEJO_URL' };
  if (doubts.includes('upstream.not_forgejo'))
    return { state: 'warn', check, says: `${url} is no Forgejo: it may work, and is not supported` };
  if (doubts.length > 0) return { state: 'warn', check, says: `${url} answers, but hides its version` };
  return { state: 'ok', check, says: `${url} answers, and its version fits` };
}

function checkServer(config: Config, server: Config['servers'][number], { sandbox }: Surroundings): Finding {
  const check = `server ${server.name}`;
  const command = resolveCommand(server.command, config.path);
  if (isLaunchFault(command)) {
    const remedy = 'install it for all users, or name it by its absolute path';
    return { state: 'fail', check, says: command.launchFault, remedy };
  }
  if (sandbox.is === 'none') return { state: 'ok', check, says: `is ${command}` };
  const { roots } = resolveShown(command, server.args, containmentOptions(config).show);
  const sees = roots.length === 0 ? '' : ` and ${roots.join(' ')}`;
  return { state: 'ok', check, says: `is ${command}; it sees the system's folders${sees}` };
}

function checkSandbox({ sandbox: mode }: Config, { sandbox }: Surroundings): Finding {
  const check = 'sandbox';
  if (sandbox.is === 'bubblewrap') {
    const says = `bubblewrap ${sandbox.version} works`;
    if (sandbox.seccomp) return { state: 'ok', check, says: `${says}, with a filter on system calls` };
    return { state: 'warn', check, says: `${says}, without a filter on system calls on this architecture` };
  }
  const says = `children are not kept apart: ${sandbox.why}`;
  if (mode === 'none') return { state: 'warn', check, says, remedy: 'BROKER_SANDBOX=auto' };
  const remedy = 'install bubblewrap and allow user namespaces; docs/configuration.md, "The sandbox"';
  return { state: mode === 'bubblewrap' ? 'fail' : 'warn', check, says, remedy };
}

function checkLimits(survey: Surroundings): Finding {
  const check = 'limits';
  const limits = describeLimits(survey);
  const says = Object.entries(limits)
    .map(([name, by]) => `${name}: ${by}`)
    .join(', ');
  if (!('notDelegated' in survey.cgroup)) return { state: 'ok', check, says };
  const remedy = `Delegate=memory pids cpu in the unit (${survey.cgroup.notDelegated})`;
  return { state: 'warn', check, says, remedy };
}

function lineOf({ state, check, says, remedy }: Finding): string {
  const more = remedy === undefined ? '' : `${' '.repeat(24)}mend: ${clean(remedy)}\n`;
  return `${state.padEnd(6)}${clean(check).padEnd(18)}${clean(says)}\n${more}`;
}
