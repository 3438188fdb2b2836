/**
 * Health in a word: `/healthz` says that the process answers, `/readyz` that it can do its work. They name no detail and
 * ask for no token, and are answered whatever the Host, for those who check know an address and not always a name.
 */
import { type Context, Hono } from 'hono';
import { type Clock, SECOND } from '../base/clock.js';
import { describeError, type Log } from '../base/log.js';
import type { Metrics } from '../base/metrics.js';
import type { ProbedStore } from '../oauth/ports.js';
import type { NodeEnv } from './app.js';

export type Readiness = 'ok' | 'draining' | 'store';

export interface ReadinessDeps {
  readonly store: ProbedStore;
  /** Aborted when the broker begins to stop. */
  readonly draining: AbortSignal;
  readonly now: Clock;
  readonly log: Log;
}

/** A probe writes to the disk, and anybody may ask: one answer serves all who ask within this time. */
const PROBE_EVERY_MS = SECOND;

/** Says each time whether the broker is ready, and tells the log when the store goes and when it comes back. */
export function createReadiness({ store, draining, now, log }: ReadinessDeps): () => Promise<Readiness> {
  let writable: Promise<boolean> | undefined;
  let askedAt = 0;
  let wasWritable = true;

  async function probe(): Promise<boolean> {
    try {
      await store.probe();
      if (!wasWritable) log.info('store.writable');
      wasWritable = true;
    } catch (error) {
      if (wasWritable) log.error('store.unwritable', { error: describeError(error) });
      wasWritable = false;
    }
    return wasWritable;
  }

  return async () => {
    if (draining.aborted) return 'draining';
    // Also when the clock was set back.
    if (writable === undefined || Math.abs(now() - askedAt) >= PROBE_EVERY_MS) {
      askedAt = now();
      writable = probe();
    }
    return (await writable) ? 'ok' : 'store';
  };
}

export function healthRoutes(readiness: () => Promise<Readiness>): Hono {
  const routes = new Hono();
  routes.get('/healthz', (c) => say(c, 'ok'));
  routes.get('/readyz', async (c) => say(c, await readiness()));
  return routes;
}

function say(c: Context, word: Readiness): Response {
  c.header('Cache-Control', 'no-store');
  return c.text(word, word === 'ok' ? 200 : 503);
}

/** The site map of the private listener. It has no door-keeper: who can reach it may read it. */
export function privateApp(deps: {
  readonly readiness: () => Promise<Readiness>;
  readonly metrics: Metrics;
  readonly log: Log;
}): Hono<NodeEnv> {
  const { readiness, metrics, log } = deps;
  const app = new Hono<NodeEnv>({ strict: false });
  app.route('/', healthRoutes(readiness));
  app.get('/metrics', async (c) => {
    const text = await metrics.text();
    return c.body(text, 200, { 'Content-Type': metrics.contentType, 'Cache-Control': 'no-store' });
  });
  app.notFound((c) => c.text('not found', 404));
  app.onError((error, c) => {
    log.error('metrics.failed', { error: describeError(error) });
    return c.text('error', 500);
  });
  return app;
}
