/** The composition root: builds each object once, hands each what it needs, and closes all of it in reverse order. */
import type { UpstreamFault, UpstreamSource } from './backend/launch.js';
import { Modern } from './backend/modern.js';
import { endOrphans } from './backend/orphans.js';
import { countingObserver, gaugeModern, gaugeSessions } from './backend/session-metrics.js';
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
import { originRule } from './http/guards.js';
import { createReadiness, privateApp } from './http/health.js';
import { mcpEndpoint } from './http/mcp.js';
import { mcpGate } from './http/mcp-gate.js';
import { requestCounter } from './http/request-metrics.js';
import { listenerOf } from './http/server.js';
import { Credentials, freshUntil } from './identity/credentials.js';
import { KeyRing } from './identity/sealing.js';
import { Unsaved } from './identity/unsaved.js';
import { createAudit } from './oauth/audit.js';
import { ClientAssertions } from './oauth/client-assertions.js';
import { ClientDocuments } from './oauth/client-documents.js';
import { ClientRegistry } from './oauth/client-registry.js';
import { FetchPlaces } from './oauth/fetch-places.js';
import { type IdentityFault, isIdentityFault } from './oauth/identity.js';
import { PendingAuthorizations } from './oauth/pending.js';
import { SignIn } from './oauth/sign-in.js';
import { Tokens } from './oauth/tokens.js';
import {
  checkUpstream,
  holdDatabase,
  listen,
  openContainment,
  openForgejo,
  openStore,
  reportLostKeys,
  reportMissingCommands,
} from './start.js';
import { isPassingFailure } from './store/sqlite-errors.js';

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
    const origins = originRule(publicUrl, config.allowedOrigins);
    const count = requestCounter(metrics);
    const authenticate = bearerAuthentication({
      publicUrl,
      tokens,
      audit,
      trustedProxies: config.trustedProxies,
      now,
      log,
    });
    const { maxMessageBytes } = limits;
    const sealer = keys.sealer('requestState');
    const { servers } = config;
    const modern = new Modern({ sessions, servers, now, random, sealer, maxMessageBytes, log });
    gaugeModern(metrics, () => modern.census);
    const endpoint = mcpEndpoint({ authenticate, sessions, modern, servers: names, maxMessageBytes, random });
    const gate = mcpGate({ publicUrl, origins, endpoint, count, random, log });
    const app = createApp({
      publicUrl,
      resources,
      origins,
      count,
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
    repeat(SECOND, stop.signal, log, () => modern.tick());
    repeat(MINUTE, stop.signal, log, () => sessions.save());
    repeat(MINUTE, stop.signal, log, () => unsaved.settle());
    repeat(60 * MINUTE, stop.signal, log, () => store.sweep(now()));
    repeat(60 * MINUTE, stop.signal, log, () => sessions.sweep());
    if (config.metricsListen !== undefined) {
      if (isEverywhere(config.metricsListen)) log.warn('metrics.exposed', { listen: config.metricsListen });
      const scraped = privateApp({ readiness, metrics, log });
      const server = await listen('BROKER_METRICS_LISTEN', listenerOf(scraped), config.metricsListen, {
        idleMs: MINUTE,
      });
      // Closed only before the store, so that it can be seen how the rest ends.
      closers.splice(closers.indexOf(store) + 1, 0, server);
    }
    const idleMs = (limits.requestSeconds + 60) * SECOND;
    const server = await listen('BROKER_LISTEN', listenerOf(app, gate), config.listen, { idleMs });
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
