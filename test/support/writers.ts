/** Clients that open sessions and refresh their tokens without a pause, and remember what they were told. */
import assert from 'node:assert/strict';
import { connect } from '../fixtures/client.js';
import {
  authorize,
  type Discovery,
  discover,
  type RegisteredClient,
  refresh,
  register,
} from './oauth-client.js';
import type { ServeStage } from './serve.js';

interface Writer {
  readonly client: RegisteredClient;
  access: string;
  refreshToken: string;
}

export interface KnownSession {
  readonly session: string;
  readonly token: string;
}

export class Writers {
  readonly discovery: Discovery;
  readonly #writers: readonly Writer[];
  readonly #sessions: KnownSession[] = [];
  #stopped: boolean = false;

  private constructor(discovery: Discovery, writers: readonly Writer[]) {
    this.discovery = discovery;
    this.#writers = writers;
  }

  static async signIn({ mcpUrl, forgejo }: ServeStage, logins: readonly string[]): Promise<Writers> {
    const discovery = await discover(mcpUrl);
    const writers: Writer[] = [];
    for (const login of logins) {
      const person = forgejo.users.find((user) => user.login === login) ?? assert.fail();
      const client = await register(discovery);
      const tokens = await authorize(discovery, client, person);
      writers.push({ client, access: tokens.access_token, refreshToken: tokens.refresh_token ?? '' });
    }
    return new Writers(discovery, writers);
  }

  /** The sessions that they have heard of by now. */
  get sessions(): readonly KnownSession[] {
    return [...this.#sessions];
  }

  /** Each gets a new pair for the last refresh token that it knows, and goes on from there. */
  async refreshAll(): Promise<void> {
    for (const writer of this.#writers) {
      const tokens = await refresh(this.discovery, writer.client, writer.refreshToken);
      writer.access = tokens.access_token;
      writer.refreshToken = tokens.refresh_token ?? '';
    }
  }

  /** Settles when `onLearn` is false for the first time, in that moment; what is on its way then is not waited for. */
  write(mcpUrl: string, onLearn: (known: number) => boolean): Promise<void> {
    this.#stopped = false;
    return new Promise((stop, fail) => {
      let learned = 0;
      const learn = () => {
        learned += 1;
        if (this.#stopped || onLearn(learned)) return;
        this.#stopped = true;
        stop();
      };
      for (const writer of this.#writers) {
        this.#writeOn(writer, mcpUrl, learn).catch((error: unknown) => {
          if (!this.#stopped) fail(error);
        });
      }
    });
  }

  async #writeOn(writer: Writer, mcpUrl: string, learn: () => void): Promise<never> {
    for (;;) {
      const { access } = writer;
      const { sessionId } = await this.#heard(connect(mcpUrl, access));
      this.#sessions.push({ session: sessionId, token: access });
      learn();
      const tokens = await this.#heard(refresh(this.discovery, writer.client, writer.refreshToken));
      writer.access = tokens.access_token;
      writer.refreshToken = tokens.refresh_token ?? '';
      learn();
    }
  }

  /** What comes after the stop is not heard any more. */
  async #heard<T>(answer: Promise<T>): Promise<T> {
    const value = await answer;
    if (this.#stopped) throw new Error('stopped');
    return value;
  }
}
