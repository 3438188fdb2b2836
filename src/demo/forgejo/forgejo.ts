/**
 * A stand-in Forgejo on a loopback port: the OAuth provider, the login and consent pages and the little API the demo needs,
 * as the real one answers them on the wire. It keeps everything in memory and is no Forgejo in any other respect.
 */
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { getRequestListener, type HttpBindings } from '@hono/node-server';
import { Hono } from 'hono';
import type { Clock } from '../../base/clock.js';
import { apiRoutes } from './api-routes.js';
import { browserRoutes } from './browser-routes.js';
import { Control } from './control.js';
import { type FaultControl, Faults } from './faults.js';
import { Instance } from './instance.js';
import { oauthRoutes } from './oauth-routes.js';
import { errorPage } from './pages.js';
import type { Settings } from './rows.js';
import { addUsers, demoUsers, type SeedUser } from './seed.js';
import { VARIANTS, type Variant } from './variants.js';
import { pageHeaders } from './web.js';

export interface ForgejoOptions extends Partial<Settings> {
  /** Default 0: any free port. */
  readonly port?: number;
  readonly variant?: Variant;
  /** `/git`: served as if a proxy stripped it, so that every link, Location and cookie path carries it. */
  readonly subPath?: string;
  readonly now?: Clock;
  /** Default: alice and bob with random passwords. */
  readonly users?: readonly SeedUser[];
  /** PKCS #8; default: a new one, which takes a while to make. */
  readonly signingKey?: string;
  /** Kept up to date with every request and read at the start, so that the instance survives a restart. */
  readonly stateFile?: string;
}

export interface NewApplication {
  readonly name: string;
  readonly redirectUris: readonly string[];
  /** Default true, as the form pre-ticks it (the API's default is false). */
  readonly confidential?: boolean;
}

export interface StandInUser {
  readonly id: number;
  readonly login: string;
  readonly password: string;
}

export interface StandInForgejo extends AsyncDisposable {
  /** ROOT_URL without its trailing slash, sub-path included. */
  readonly url: string;
  /** As they were at the start, with the passwords they sign in with. */
  readonly users: readonly StandInUser[];
  readonly control: Control;
  readonly faults: FaultControl;
  /** The instance-wide application of that name, made if there is none, with these redirect URIs from now on. */
  ensureApplication(application: NewApplication): {
    readonly clientId: string;
    readonly clientSecret: string;
  };
  /** A new instance-wide application. */
  createApplication(application: NewApplication): {
    readonly clientId: string;
    readonly clientSecret: string;
  };
  close(): Promise<void>;
}

export async function startForgejo(options: ForgejoOptions = {}): Promise<StandInForgejo> {
  const variant = VARIANTS[options.variant ?? '16'];
  const subPath = (options.subPath ?? '').replace(/\/$/, '');
  const server = createServer();
  const port = await listen(server, options.port ?? 0);
  const instance = new Instance(
    `http://127.0.0.1:${port}${subPath}`,
    subPath,
    variant,
    settingsOf(options, variant.version),
    options.now ?? Date.now,
  );
  const { stateFile, signingKey } = options;
  if (signingKey !== undefined) instance.useKey(signingKey);
  if (stateFile !== undefined && existsSync(stateFile)) instance.load(readFileSync(stateFile));
  else addUsers(instance, options.users ?? demoUsers());
  const save = () => {
    if (stateFile === undefined) return;
    writeFileSync(`${stateFile}.new`, instance.save(), { mode: 0o600 });
    renameSync(`${stateFile}.new`, stateFile);
  };
  const createApplication = ({ name, redirectUris, confidential = true }: NewApplication) => {
    const { clientId, clientSecret } = instance.addApplication({
      ownerId: 0,
      name,
      redirectUris,
      confidential,
    });
    save();
    return { clientId, clientSecret };
  };

  const closed = new AbortController();
  const faults = new Faults(closed.signal);
  serve(server, instance, faults, save);
  const close = async () => {
    closed.abort();
    if (!server.listening) return;
    const ended = new Promise((resolve) => server.close(resolve));
    server.closeAllConnections();
    await ended;
  };
  return {
    url: instance.url,
    users: [...instance.users.values()].map(({ id, login, password }) => ({ id, login, password })),
    control: new Control(instance),
    faults,
    createApplication,
    ensureApplication(wanted) {
      const found = [...instance.applications.values()].find(({ name }) => name === wanted.name);
      if (found === undefined) return createApplication(wanted);
      found.redirectUris = wanted.redirectUris;
      save();
      return { clientId: found.clientId, clientSecret: found.clientSecret };
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

function settingsOf(options: Partial<Settings>, version: string): Settings {
  return {
    version: options.version ?? version,
    accessTokenSeconds: options.accessTokenSeconds ?? 3600,
    refreshTokenSeconds: options.refreshTokenSeconds ?? 730 * 3600,
    invalidateRefreshTokens: options.invalidateRefreshTokens ?? true,
    requireSigninView: options.requireSigninView ?? false,
    oauthEnabled: options.oauthEnabled ?? true,
  };
}

function listen(server: Server, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', () => {
      const address = server.address();
      resolve(typeof address === 'object' && address !== null ? address.port : port);
    });
  });
}

function serve(server: Server, instance: Instance, faults: Faults, answered: () => void): void {
  const pathOf = (request: Request) => pathBelow(instance.subPath, new URL(request.url).pathname);
  const app = new Hono({ getPath: pathOf });
  app.route('/api/v1', apiRoutes(instance));
  app.get('/api/healthz', (c) => c.json({ status: 'pass' }));
  app.use(pageHeaders);
  app.route('/', oauthRoutes(instance));
  app.route('/', browserRoutes(instance));
  app.notFound((c) => c.html(errorPage(instance, 'Not Found'), 404));

  const listener = getRequestListener((request, env) => {
    const { socket } = (env as HttpBindings).incoming;
    return faults.pass(pathOf(request), socket, async () => {
      const response = await app.fetch(request, env);
      answered();
      return response;
    });
  });
  server.on('request', (incoming, outgoing) => void listener(incoming, outgoing));
}

/** The path as Forgejo sees it behind its proxy: prefix gone, doubled and trailing slashes gone. Outside the prefix nothing is found. */
function pathBelow(subPath: string, pathname: string): string {
  const path = pathname.replace(/\/+/g, '/');
  if (path !== subPath && !path.startsWith(`${subPath}/`)) return '/.outside';
  return path.slice(subPath.length).replace(/\/$/, '') || '/';
}
