/** Broker and stand-in Forgejo under one clock that only the test moves, and connected clients that keep their tokens. */
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startTestBroker, type TestBroker, type TestBrokerOptions } from './broker.js';
import { Browser } from './browser.js';
import {
  authorize,
  type Discovery,
  discover,
  type RegisteredClient,
  register,
  type Tokens,
} from './oauth-client.js';

export interface Stage extends AsyncDisposable {
  readonly broker: TestBroker;
  /** The broker's SQLite file, for what another program might do to it. */
  readonly database: string;
  readonly now: () => number;
  forward(ms: number): void;
  /** A new client of that user, signed in through `browser`. */
  connect(login: string, browser?: Browser): Promise<Connection>;
  /** How often that event was logged. */
  count(event: string): number;
}

export interface TokenAnswer {
  readonly status: number;
  readonly type: string;
  readonly headers: Headers;
  readonly body: Readonly<Record<string, unknown>>;
}

export async function startStage(options: Omit<TestBrokerOptions, 'now'> = {}): Promise<Stage> {
  const folder = mkdtempSync(join(tmpdir(), 'fjmcp-stage-'));
  const database = join(folder, 'broker.db');
  // Whole seconds: tokens of Forgejo count in them.
  let time = Math.floor(Date.now() / 1000) * 1000;
  const now = () => time;
  const broker = await startTestBroker({
    ...options,
    env: { BROKER_DATABASE: database, ...options.env },
    now,
  });
  const discovery = await discover(broker.mcpUrl);
  return {
    broker,
    database,
    now,
    forward: (ms) => {
      time += ms;
    },
    async connect(login, browser = new Browser()) {
      const client = await register(discovery);
      const connection = new Connection(broker, discovery, client, login, browser);
      await connection.signIn();
      return connection;
    },
    count: (event) => broker.log.filter((entry) => entry.event === event).length,
    async [Symbol.asyncDispose]() {
      await broker[Symbol.asyncDispose]();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** One client of one user, as a careful application keeps it. */
export class Connection {
  readonly client: RegisteredClient;
  /** How often its user had to use the browser. */
  visits = 0;
  readonly #broker: TestBroker;
  readonly #discovery: Discovery;
  readonly #login: string;
  readonly #browser: Browser;
  #tokens: Tokens | undefined;

  constructor(
    broker: TestBroker,
    discovery: Discovery,
    client: RegisteredClient,
    login: string,
    browser: Browser,
  ) {
    this.client = client;
    this.#broker = broker;
    this.#discovery = discovery;
    this.#login = login;
    this.#browser = browser;
  }

  get access(): string {
    return this.#tokens?.access_token ?? '';
  }

  get refreshToken(): string {
    return this.#tokens?.refresh_token ?? '';
  }

  async signIn(): Promise<void> {
    this.visits += 1;
    const person = this.#broker.person(this.#login);
    this.#tokens = await authorize(this.#discovery, this.client, person, this.#browser);
  }

  /** The token endpoint's answer to this client. */
  async ask(
    form: Readonly<Record<string, string>>,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<TokenAnswer> {
    const response = await fetch(this.#discovery.server.token_endpoint, {
      method: 'POST',
      headers,
      body: new URLSearchParams({ client_id: this.client.clientId, ...form }),
    });
    const body = (await response.json()) as Record<string, unknown>;
    const type = response.headers.get('content-type') ?? '';
    return { status: response.status, type, headers: response.headers, body };
  }

  /** Asks for new tokens with `token` and keeps nothing. */
  tryRefresh(
    token = this.refreshToken,
    more: Readonly<Record<string, string>> = {},
    headers: Readonly<Record<string, string>> = {},
  ): Promise<TokenAnswer> {
    return this.ask({ grant_type: 'refresh_token', refresh_token: token, ...more }, headers);
  }

  /** Refreshes as applications do: what comes back is kept, what was before is forgotten. */
  async refresh(): Promise<TokenAnswer> {
    const answer = await this.tryRefresh();
    if (answer.status === 200) this.#tokens = answer.body as Tokens;
    return answer;
  }

  /** The HTTP status of an MCP request with `token`; 401 is the only one that speaks of the token. */
  async statusOf(token = this.access): Promise<number> {
    const headers = { Authorization: `Bearer ${token}` };
    const { status } = await fetch(this.#broker.mcpUrl, { method: 'HEAD', headers });
    return status;
  }

  async isAlive(token = this.access): Promise<boolean> {
    return (await this.statusOf(token)) !== 401;
  }
}

/** A refresh token that nobody issued. */
export const strangeToken = (): string => `fjr_${randomBytes(32).toString('base64url')}`;
