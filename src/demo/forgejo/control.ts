/** The hands of a test, or of an administrator, on the running instance. Naming what is not there is an error, not a no-op. */
import type { Instance } from './instance.js';
import type { AccountStatus, Application, Race, Settings, User } from './rows.js';

export class Control {
  readonly #instance: Instance;

  constructor(instance: Instance) {
    this.#instance = instance;
  }

  /** Changes settings of the running instance: version, lifetimes, refresh token invalidation … */
  change(settings: Partial<Settings>): void {
    Object.assign(this.#instance.settings, settings);
  }

  /** All access tokens issued so far answer as expired; refresh tokens live on. */
  expireAccessTokens(login: string): void {
    const { id } = this.#user(login);
    for (const grant of this.#instance.grants.values()) {
      if (grant.userId === id) grant.expiredUpTo = grant.latestExpiry;
    }
  }

  /** What the user does on the settings page: for one application, or for all of them. */
  revokeGrant(login: string, clientId?: string): void {
    const { id } = this.#user(login);
    const application = clientId === undefined ? undefined : this.#application(clientId);
    for (const grant of this.#instance.grants.values()) {
      const isMeant = application === undefined || grant.applicationId === application.id;
      if (grant.userId === id && isMeant) this.#instance.removeGrant(grant.id);
    }
  }

  bar(login: string, status: Exclude<AccountStatus, 'active'> = 'prohibited'): void {
    this.#user(login).status = status;
  }

  unbar(login: string): void {
    this.#user(login).status = 'active';
  }

  rename(login: string, newLogin: string): void {
    this.#user(login).login = newLogin;
  }

  deleteUser(login: string): void {
    this.#instance.removeUser(this.#user(login).id);
  }

  /** No overlap: every token signed before is worthless at once. */
  rotateSigningKey(): void {
    this.#instance.rotateKey();
  }

  regenerateSecret(clientId: string): string {
    return this.#instance.regenerateSecret(this.#application(clientId));
  }

  deleteApplication(clientId: string): void {
    this.#instance.removeApplication(this.#application(clientId).id);
  }

  /** A personal access token. One limited to `repositories` (full names) holds repository and issue scopes only. */
  createAccessToken(login: string, scopes: readonly string[], repositories?: readonly string[]): string {
    const isLimitable = scopes.every((scope) => /^(read|write):(repository|issue)$/.test(scope));
    if (repositories !== undefined && !isLimitable) throw new Error(`${scopes} cannot be limited`);
    const userId = this.#user(login).id;
    const fields = { userId, name: 'made by control', scopes: new Set(scopes), repositories };
    return this.#instance.addPersonalToken(fields).token;
  }

  deleteAccessToken(token: string): void {
    if (!this.#instance.personalTokens.delete(token)) throw new Error('no such access token');
  }

  /** The next token request finds that a parallel one took the code, or moved the counter, just before it. */
  loseRace(race: Race): void {
    this.#instance.racesToLose.add(race);
  }

  #user(login: string): User {
    const user = this.#instance.userByLogin(login);
    if (user === undefined) throw new Error(`no user ${login}`);
    return user;
  }

  #application(clientId: string): Application {
    const application = this.#instance.application(clientId);
    if (application === undefined) throw new Error(`no application with client id ${clientId}`);
    return application;
  }
}
