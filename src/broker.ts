/** The composition root: builds each object once, hands each what it needs, and closes all of it in reverse order. */
import { Containment, type ContainmentOptions, describeLimits } from './backend/containment.js';
import { isLaunchFault, resolveCommand, type UpstreamFault, type UpstreamSource } from './backend/launch.js';
import { endOrphans } from './backend/orphans.js';
import { countingObserver, gaugeSessions } from './backend/session-metrics.js';
import { Sessions } from './backend/sessions.js';
import { type Clock, MINUTE, SECOND } from './base/clock.js';
import { isEverywhere } from './base/environment.js';
import type { GrantId, Randomness } from './base/ids.js';
import { createLog, describeError, type Log } from './base/log.js';
import { createMetrics } from './base/metrics.js';
import { type PublicNetwork, publicFetch } from './base/public-fetch.js';
import type { LoadedConfig } from './config.js';
import { createApp } from './http/app.js';
import { bearerAuthentication } from './http/bearer.js';
import { createReadiness, privateApp } from './http/health.js';
import { mcpRoutes } from './http/mcp.js';
import { type HttpServer, listenHttp } from './http/server.js';
import { Credentials, freshUntil } from './identity/credentials.js';
import { createForgejo } from './identity/forgejo.js';
import { KeyRing } from './identity/sealing.js';
import { Unsaved } from './identity/unsaved.js';
import { createAudit } from './oauth/audit.js';
import { ClientAssertions } from './oauth/client-assertions.js';
import { ClientDocuments } from './oauth/client-documents.js';
import { ClientRegistry } from './oauth/client-registry.js';
import { FetchPlaces } from './oauth/fetch-places.js';
import { type IdentityFault, type IdentityProvider, isIdentityFault } from './oauth/identity.js';
import { PendingAuthorizations } from './oauth/pending.js';
import type { CredentialStore } from './oauth/ports.js';
import { SignIn } from './oauth/sign-in.js';
import { Tokens } from './oauth/tokens.js';
import { isPassingFailure } from './store/sqlite-errors.js';
import { lockDatabase } from './store/sqlite-lock.js';
import { openSqliteStore } from './store/sqlite-store.js';

/** What the outside world gives: time and chance. */
export interface Edge {
  readonly now: Clock;
  readonly random: Randomness;
  /** Instead of the log that the configuration asks for. */
  readonly log?: Log;
  /** Instead of the internet, for what strangers make us fetch. */
  readonly network?: PublicNetwork;
  /** Asked to end before it listens, it takes no request: whoever waits at the socket waits for the next broker. */
  readonly stop?: AbortSignal;
}

export interface Broker extends AsyncDisposable {
  /** The TCP port, when it listens on one. */
  readonly port: number | undefined;
}

/** Something the operator must mend before the broker can run; its message is all there is to say. */
export class StartProblem extends Error {}

const UPSTREAM_TIMEOUT_MS = 10 * SECOND;
const UPSTREAM_TOKEN_TIMEOUT_MS = MINUTE;
const MAX_PENDING = 10_000;
/** How long a stop waits for answers on their way. */
const FLUSH_MS = 2 * SECOND;

/** Starts everything; returns once it listens. Throws `StartProblem` for what an operator can mend. */
export async function startBroker({ config, secrets }: LoadedConfig, edge: Edge): Promise<Broker> {
  const { now, random } = edge;
  const { publicUrl, forgejo, limits, lifetimes } = config;
  const log = edge.log ?? createLog(config.log.level, config.log.format);
  const stop = new AbortController();
  const closers: AsyncDisposable[] = [];
  const keep = <T extends AsyncDisposable>(resource: T): T => {
    closers.push(resource);
    return resource;
  };
  const close = async () => {
    stop.abort();
    for (const resource of closers.splice(0).reverse()) await resource[Symbol.asyncDispose]();
  };

  try {
    keep(await holdDatabase(config.database, log));
    const store = keep(openStore(config.database));
    const rollFile = config.database === ':memory:' ? undefined : `${config.database}.children`;
    const metrics = createMetrics({ ofProcess: config.metricsListen !== undefined });
    const readiness = createReadiness({ store, draining: stop.signal, now, log });
    const keys = new KeyRing(secrets.encryptionKeys, random);
    const identity = openForgejo({ config, secrets }, now, log);
    await checkUpstream(identity, log);
    const audit = createAudit({ store, log, now, random });
    const unsaved = keep(new Unsaved({ store, identity, keys, now, log }));
    const credentials = keep(
      new Credentials({
        store,
        identity,
        keys,
        unsaved,
        // After the request that found it out has had its own answer.
        onSignedOut: (user, fault) =>
          setImmediate(() => sessions.closeWhere(({ userId }) => userId === user, upstreamFault(fault))),
        audit,
        metrics,
        now,
        random,
        log,
      }),
    );
    const names = config.servers.map(({ name }) => name);
    const resources = {
      origin: publicUrl,
      endpoints: [`${publicUrl}/mcp`, ...names.map((name) => `${publicUrl}/mcp/${name}`)],
    };
    const named = typeof config.clientDocuments === 'string' ? [] : config.clientDocuments;
    const places = new FetchPlaces({ fetch: publicFetch(edge.network, named), now, log });
    const documents = new ClientDocuments({
      hosts: config.clientDocuments,
      places,
      stored: (id) => store.findClient(id),
      now,
      log,
    });
    const assertions = new ClientAssertions({
      audiences: [`${publicUrl}/oauth/token`, publicUrl],
      places,
      now,
    });
    const clients = new ClientRegistry({ store, documents, assertions });
    const onGrantRevoked = (grant: GrantId) => sessions.closeWhere(({ grantId }) => grantId === grant);
    const tokens = new Tokens({
      store,
      audit,
      knowsKey: (keyId) => keys.knows(keyId),
      onGrantRevoked,
      resources,
      lifetimes,
      now,
      random,
    });
    const pending = new PendingAuthorizations({
      now,
      random,
      ttlMs: lifetimes.pendingSeconds * SECOND,
      capacity: MAX_PENDING,
    });
    const signIn = new SignIn({
      issuer: publicUrl,
      resources,
      store,
      clients,
      tokens,
      audit,
      pending,
      identity,
      credentials: unsaved,
      random,
      log,
    });
    const containment = await openContainment(config, log);
    await endOrphans(rollFile, containment, log);
    reportMissingCommands(config, log);
    await reportLostKeys(store, keys, log);
    const sessions = keep(
      new Sessions({
        store,
        servers: config.servers,
        upstream: upstreamSource(credentials, forgejo.url),
        limits: {
          maxChildren: limits.maxChildren,
          maxChildrenPerUser: limits.maxChildrenPerUser,
          childIdleMs: limits.childIdleSeconds * SECOND,
          sessionMs: limits.sessionSeconds * SECOND,
          requestMs: limits.requestSeconds * SECOND,
          maxMessageBytes: limits.maxMessageBytes,
        },
        containment,
        rollFile,
        observer: countingObserver(metrics, names),
        path: config.path,
        lang: config.lang,
        now,
        random,
        log,
      }),
    );
    gaugeSessions(metrics, names, () => sessions.census);
    const app = createApp({
      publicUrl,
      resources,
      allowedOrigins: config.allowedOrigins,
      trustedProxies: config.trustedProxies,
      features: { documents: config.clientDocuments !== 'off', advertiseIss: config.advertiseIss },
      upstream: {
        name: identity.displayName,
        url: forgejo.url,
        scopes: forgejo.scopes,
        operator: config.operator || new URL(publicUrl).host,
      },
      isPassing: isPassingFailure,
      store,
      clients,
      tokens,
      audit,
      metrics,
      readiness,
      signIn,
      mcp: mcpRoutes({
        authenticate: bearerAuthentication({
          publicUrl,
          tokens,
          audit,
          trustedProxies: config.trustedProxies,
          now,
          log,
        }),
        sessions,
        servers: names,
        maxMessageBytes: limits.maxMessageBytes,
        random,
      }),
      onGrantRevoked,
      now,
      random,
      log,
    });
    repeat(MINUTE, stop.signal, log, () => {
      pending.sweep();
      assertions.sweep();
      return sessions.closeGone((grants) => store.missingGrants(grants));
    });
    repeat(MINUTE, stop.signal, log, () => sessions.save());
    repeat(MINUTE, stop.signal, log, () => unsaved.settle());
    repeat(60 * MINUTE, stop.signal, log, () => store.sweep(now()));
    repeat(60 * MINUTE, stop.signal, log, () => sessions.sweep());
    if (config.metricsListen !== undefined) {
      if (isEverywhere(config.metricsListen)) log.warn('metrics.exposed', { listen: config.metricsListen });
      const scraped = privateApp({ readiness, metrics, log });
      const server = await listen('BROKER_METRICS_LISTEN', scraped, config.metricsListen, { idleMs: MINUTE });
      // Closed only before the store, so that it can be seen how the rest ends.
      closers.splice(closers.indexOf(store) + 1, 0, server);
    }
    const idleMs = (limits.requestSeconds + 60) * SECOND;
    const server = await listen('BROKER_LISTEN', app, config.listen, { idleMs });
    // At the end calls in flight may finish; those that do not are answered with an error, which is given time to leave.
    const flush = { [Symbol.asyncDispose]: () => server.drain(FLUSH_MS) };
    closers.splice(closers.indexOf(sessions), 0, server, flush);
    keep({
      [Symbol.asyncDispose]: () => {
        sessions.hangUp();
        return server.drain(limits.drainSeconds * SECOND);
      },
    });
    edge.stop?.throwIfAborted();
    log.info('broker.ready', {
      publicUrl,
      listen: config.listen,
      metrics: config.metricsListen ?? 'off',
      servers: names,
      forgejo: forgejo.url,
    });
    return { port: server.port, [Symbol.asyncDispose]: close };
  } catch (error) {
    await close();
    throw error;
  }
}

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

async function listen(
  variable: string,
  ...[app, address, options]: Parameters<typeof listenHttp>
): Promise<HttpServer> {
  try {
    return await listenHttp(app, address, options);
  } catch (cause) {
    throw new StartProblem(`${variable}: cannot listen (${describeError(cause)})`, { cause });
  }
}

async function holdDatabase(path: string, log: Log): Promise<AsyncDisposable> {
  const onWait = () => log.warn('database.held', { database: path });
  const held = await lockDatabase(path, { onWait }).catch(cannotOpen(path));
  if (held === undefined)
    throw new StartProblem(`BROKER_DATABASE: another broker runs on ${path}; two cannot share a database`);
  return held;
}

function openStore(path: string) {
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
async function checkUpstream(identity: IdentityProvider, log: Log): Promise<void> {
  const unfit = await identity.check();
  if (unfit?.kind === 'misconfigured') throw new StartProblem(`FORGEJO_URL: ${unfit.detail}`);
  if (unfit !== undefined)
    log.warn('upstream.unreachable', { upstream: identity.issuer, detail: unfit.detail });
}

/** Credentials that no key opens: their users must sign in again, unless the operator brings the key back. */
async function reportLostKeys(store: CredentialStore, keys: KeyRing, log: Log): Promise<void> {
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

async function openContainment(config: LoadedConfig['config'], log: Log): Promise<Containment> {
  const containment = await Containment.open(containmentOptions(config));
  const { sandbox, cgroup } = containment.surroundings;
  if (sandbox.is === 'bubblewrap') log.info('sandbox.ready', { ...sandbox });
  else if (config.sandbox === 'bubblewrap') throw new StartProblem(`BROKER_SANDBOX: ${sandbox.why}`);
  else if (config.sandbox === 'auto') log.warn('sandbox.unavailable', { why: sandbox.why });
  log.info('limits.ready', { ...describeLimits(containment.surroundings), ...cgroup });
  return containment;
}

function reportMissingCommands({ servers, path }: LoadedConfig['config'], log: Log): void {
  for (const { name, command } of servers) {
    const resolved = resolveCommand(command, path);
    if (isLaunchFault(resolved))
      log.error('server.command_missing', { server: name, problem: resolved.launchFault });
  }
}

function upstreamSource(credentials: Credentials, url: string): UpstreamSource {
  return async (userId) => {
    const fresh = await credentials.fresh(userId);
    if (isIdentityFault(fresh)) return upstreamFault(fresh);
    const { tokens, identity } = fresh;
    return {
      token: tokens.access,
      expiresAt: tokens.expiresAt,
      freshUntil: freshUntil(tokens),
      user: { id: identity.subject, login: identity.login },
      url,
    };
  };
}

function upstreamFault({ kind, retryAfterMs }: IdentityFault): UpstreamFault {
  const retryAfterSeconds = retryAfterMs && Math.ceil(retryAfterMs / SECOND);
  switch (kind) {
    case 'barred':
    case 'not_allowed':
      return { fault: 'barred', message: 'Forgejo does not let this account in.' };
    case 'signed_out':
    case 'denied':
    case 'scope_conflict':
      return { fault: 'signed-out', message: 'The sign-in at Forgejo has ended. Sign in again.' };
    case 'unreachable': {
      const when = retryAfterSeconds === undefined ? 'later' : `in ${retryAfterSeconds} s`;
      return {
        fault: 'unreachable',
        message: `Forgejo does not answer. Try again ${when}.`,
        retryAfterSeconds,
      };
    }
    case 'misconfigured': {
      const message = 'Forgejo refuses this broker. Its operator finds why in the log.';
      return { fault: 'unreachable', message, retryAfterSeconds };
    }
  }
}

function repeat(everyMs: number, signal: AbortSignal, log: Log, task: () => unknown): void {
  const timer = setInterval(() => {
    Promise.resolve()
      .then(task)
      .catch((error: unknown) => log.error('task.failed', { error: describeError(error) }));
  }, everyMs);
  timer.unref();
  signal.addEventListener('abort', () => clearInterval(timer), { once: true });
}
