/** What the broker opens and looks at when it starts. Whatever an operator can mend is told as such. */
import { Containment, type ContainmentOptions, describeLimits } from './backend/containment.js';
import { isLaunchFault, resolveCommand } from './backend/launch.js';
import { type Clock, MINUTE, SECOND } from './base/clock.js';
import { describeError, type Log } from './base/log.js';
import { StartProblem } from './base/start-problem.js';
import type { LoadedConfig } from './config.js';
import { type HttpServer, listenHttp } from './http/server.js';
import { createForgejo } from './identity/forgejo.js';
import type { KeyRing } from './identity/sealing.js';
import type { IdentityProvider } from './oauth/identity.js';
import type { CredentialStore } from './oauth/ports.js';
import { lockDatabase } from './store/sqlite-lock.js';
import { openSqliteStore } from './store/sqlite-store.js';

const UPSTREAM_TIMEOUT_MS = 10 * SECOND;
const UPSTREAM_TOKEN_TIMEOUT_MS = MINUTE;

export function openForgejo({ config, secrets }: LoadedConfig, now: Clock, log: Log): IdentityProvider {
  return createForgejo({
    ...config.forgejo,
    clientSecret: secrets.forgejoClientSecret,
    redirectUri: `${config.publicUrl}/oauth/callback`,
    allowedUsers: config.allowedUsers,
    allowedOrgs: config.allowedOrgs,
    timeoutMs: UPSTREAM_TIMEOUT_MS,
    tokenTimeoutMs: UPSTREAM_TOKEN_TIMEOUT_MS,
    now,
    log,
  });
}

export async function listen(
  variable: string,
  ...[listener, address, options]: Parameters<typeof listenHttp>
): Promise<HttpServer> {
  try {
    return await listenHttp(listener, address, options);
  } catch (cause) {
    throw new StartProblem(`${variable}: cannot listen (${describeError(cause)})`, { cause });
  }
}

export async function holdDatabase(path: string, log: Log): Promise<AsyncDisposable> {
  const onWait = () => log.warn('database.held', { database: path });
  const held = await lockDatabase(path, { onWait }).catch(cannotOpen(path));
  if (held === undefined)
    throw new StartProblem(`BROKER_DATABASE: another broker runs on ${path}; two cannot share a database`);
  return held;
}

export function openStore(path: string) {
  try {
    return openSqliteStore(path);
  } catch (cause) {
    return cannotOpen(path)(cause);
  }
}

function cannotOpen(path: string): (cause: unknown) => never {
  return (cause) => {
    throw new StartProblem(`BROKER_DATABASE: cannot open ${path} (${describeError(cause)})`, { cause });
  };
}

/** A Forgejo that is down may come back; one that is too old will not mend itself. */
export async function checkUpstream(identity: IdentityProvider, log: Log): Promise<void> {
  const unfit = await identity.check();
  if (unfit?.kind === 'misconfigured') throw new StartProblem(`FORGEJO_URL: ${unfit.detail}`);
  if (unfit !== undefined)
    log.warn('upstream.unreachable', { upstream: identity.issuer, detail: unfit.detail });
}

/** Credentials that no key opens: their users must sign in again, unless the operator brings the key back. */
export async function reportLostKeys(store: CredentialStore, keys: KeyRing, log: Log): Promise<void> {
  for (const [key, credentials] of await store.countCredentialsByKey()) {
    if (!keys.knows(key))
      log.error('credentials.sealed', { key, credentials, remedy: 'BROKER_ENCRYPTION_KEY' });
  }
}

export function containmentOptions(config: LoadedConfig['config']): ContainmentOptions {
  const { sandbox, path, sandboxRead, privateFiles, childLimits } = config;
  return {
    mode: sandbox,
    path,
    show: { read: sandboxRead, hidden: privateFiles },
    limits: childLimits,
  };
}

export async function openContainment(config: LoadedConfig['config'], log: Log): Promise<Containment> {
  const containment = await Containment.open(containmentOptions(config));
  const { sandbox, cgroup } = containment.surroundings;
  if (sandbox.is === 'bubblewrap') log.info('sandbox.ready', { ...sandbox });
  else if (config.sandbox === 'bubblewrap') throw new StartProblem(`BROKER_SANDBOX: ${sandbox.why}`);
  else if (config.sandbox === 'auto') log.warn('sandbox.unavailable', { why: sandbox.why });
  log.info('limits.ready', { ...describeLimits(containment.surroundings), ...cgroup });
  return containment;
}

export function reportMissingCommands({ servers, path }: LoadedConfig['config'], log: Log): void {
  for (const { name, command } of servers) {
    const resolved = resolveCommand(command, path);
    if (isLaunchFault(resolved))
      log.error('server.command_missing', { server: name, problem: resolved.launchFault });
  }
}
