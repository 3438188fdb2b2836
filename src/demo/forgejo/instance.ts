/** What the stand-in instance knows: its rows, the lookups over them, and the changes that touch several at once. */
import { randomBytes, randomUUID } from 'node:crypto';
import { deserialize, serialize } from 'node:v8';
import { type Clock, SECOND } from '../../base/clock.js';
import { createSigningKey, type SigningKey } from './jwt.js';
import type {
  Application,
  AuthorizationCode,
  BrowserSession,
  Grant,
  Issue,
  PersonalToken,
  Race,
  Repository,
  Settings,
  User,
} from './rows.js';
import type { VariantFacts } from './variants.js';

const ROWS = ['users', 'applications', 'grants', 'codes', 'personalTokens', 'sessions'] as const;

interface Saved {
  readonly key: string | undefined;
  readonly lastId: number;
}

export class Instance {
  /** ROOT_URL without its trailing slash. */
  readonly url: string;
  /** `/git` or nothing: what every link, Location and cookie path begins with. */
  readonly subPath: string;
  readonly variant: VariantFacts;
  readonly settings: Settings;
  readonly now: Clock;
  readonly users = new Map<number, User>();
  readonly repositories: Repository[] = [];
  readonly applications = new Map<number, Application>();
  readonly grants = new Map<number, Grant>();
  readonly codes = new Map<string, AuthorizationCode>();
  readonly personalTokens = new Map<string, PersonalToken>();
  readonly sessions = new Map<string, BrowserSession>();
  /** Races the next token requests are to lose. */
  readonly racesToLose = new Set<Race>();
  #key: SigningKey | undefined;
  #lastId = 1;

  constructor(url: string, subPath: string, variant: VariantFacts, settings: Settings, now: Clock) {
    this.url = url;
    this.subPath = subPath;
    this.variant = variant;
    this.settings = settings;
    this.now = now;
  }

  get issuer(): string {
    return this.url + this.variant.issuerSuffix;
  }

  /** Making an RSA key takes a while, so it waits for the first token. */
  get key(): SigningKey {
    this.#key ??= createSigningKey();
    return this.#key;
  }

  /** Everything that outlives a restart of a real instance, as one file. */
  save(): Buffer {
    const { users, repositories, applications, grants, codes, personalTokens, sessions } = this;
    const rows = { users, repositories, applications, grants, codes, personalTokens, sessions };
    return serialize({ ...rows, key: this.#key?.pem, lastId: this.#lastId });
  }

  /** Brings back what `save` wrote. */
  load(file: Buffer): void {
    const saved = deserialize(file) as Pick<Instance, (typeof ROWS)[number] | 'repositories'> & Saved;
    for (const name of ROWS) {
      const rows: Map<number | string, unknown> = this[name];
      rows.clear();
      for (const [key, row] of saved[name]) rows.set(key, row);
    }
    this.repositories.splice(0, this.repositories.length, ...saved.repositories);
    this.#key = saved.key === undefined ? undefined : createSigningKey(saved.key);
    this.#lastId = saved.lastId;
  }

  /** Signs with this key (PKCS #8) until it is rotated. */
  useKey(pem: string): void {
    this.#key = createSigningKey(pem);
  }

  rotateKey(): void {
    this.#key = undefined;
  }

  nextId(): number {
    return ++this.#lastId;
  }

  nowSeconds(): number {
    return Math.floor(this.now() / SECOND);
  }

  userByLogin(login: string): User | undefined {
    return [...this.users.values()].find((user) => user.login.toLowerCase() === login.toLowerCase());
  }

  userByPassword(loginOrEmail: string, password: string): User | undefined {
    return [...this.users.values()].find(
      ({ login, email, password: expected }) =>
        [login.toLowerCase(), email.toLowerCase()].includes(loginOrEmail.toLowerCase()) &&
        password === expected,
    );
  }

  application(clientId: string): Application | undefined {
    return [...this.applications.values()].find((application) => application.clientId === clientId);
  }

  grantOf(userId: number, applicationId: number): Grant | undefined {
    return [...this.grants.values()].find(
      (grant) => grant.userId === userId && grant.applicationId === applicationId,
    );
  }

  repository(owner: string, name: string): Repository | undefined {
    const ownerId = this.userByLogin(owner)?.id;
    return this.repositories.find(
      (repository) => repository.ownerId === ownerId && repository.name.toLowerCase() === name.toLowerCase(),
    );
  }

  addApplication(
    fields: Pick<Application, 'ownerId' | 'name' | 'redirectUris' | 'confidential'>,
  ): Application {
    const application: Application = {
      ...fields,
      id: this.nextId(),
      clientId: randomUUID(),
      clientSecret: opaque('gto_'),
      created: this.now(),
    };
    this.applications.set(application.id, application);
    return application;
  }

  addGrant(userId: number, applicationId: number, scope: string, nonce: string): Grant {
    const id = this.nextId();
    const grant = { id, userId, applicationId, scope, nonce, counter: 0, latestExpiry: 0, expiredUpTo: 0 };
    this.grants.set(id, grant);
    return grant;
  }

  addCode(fields: Omit<AuthorizationCode, 'code'>): AuthorizationCode {
    const code = { ...fields, code: opaque('gta_') };
    this.codes.set(code.code, code);
    return code;
  }

  addPersonalToken(fields: Omit<PersonalToken, 'id' | 'token' | 'created'>): PersonalToken {
    const token = randomBytes(20).toString('hex');
    const personalToken = { ...fields, id: this.nextId(), token, created: this.now() };
    this.personalTokens.set(token, personalToken);
    return personalToken;
  }

  addIssue(repository: Repository, author: User, title: string, body: string): Issue {
    const number = repository.issues.length + 1;
    const issue = { id: this.nextId(), number, authorId: author.id, title, body, created: this.now() };
    repository.issues.push(issue);
    return issue;
  }

  /** Takes effect at once: the grant row is looked up for every request its tokens make. */
  removeGrant(grantId: number): void {
    this.grants.delete(grantId);
    deleteWhere(this.codes, (code) => code.grantId === grantId);
  }

  removeApplication(applicationId: number): void {
    this.applications.delete(applicationId);
    for (const grant of this.grants.values()) {
      if (grant.applicationId === applicationId) this.removeGrant(grant.id);
    }
  }

  regenerateSecret(application: Application): string {
    application.clientSecret = opaque('gto_');
    return application.clientSecret;
  }

  /** Applications the user owned go too, but grants others gave to them stay and their access tokens live on. */
  removeUser(userId: number): void {
    this.users.delete(userId);
    for (const grant of this.grants.values()) if (grant.userId === userId) this.removeGrant(grant.id);
    deleteWhere(this.applications, (application) => application.ownerId === userId);
    deleteWhere(this.personalTokens, (token) => token.userId === userId);
    deleteWhere(this.sessions, (session) => session.userId === userId);
    const kept = this.repositories.filter((repository) => repository.ownerId !== userId);
    this.repositories.splice(0, this.repositories.length, ...kept);
  }
}

const BASE32 = 'abcdefghijklmnopqrstuvwxyz234567';

/** `prefix` and 52 characters of [a-z2-7], as codes and client secrets look. */
function opaque(prefix: string): string {
  return prefix + Array.from(randomBytes(52), (byte) => BASE32.charAt(byte % 32)).join('');
}

function deleteWhere<K, V>(map: Map<K, V>, matches: (value: V) => boolean): void {
  for (const [key, value] of map) if (matches(value)) map.delete(key);
}
