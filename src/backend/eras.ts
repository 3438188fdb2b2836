/**
 * Which era each configured server speaks: as configured, or found out once by asking a sibling that is thrown away (a
 * legacy server may exit at a request that comes before `initialize`). What was found out is stored until the program
 * changes, or a child speaks like one of the other era; silence is remembered, but not stored.
 */
import { statSync } from 'node:fs';
import { isAbsolute } from 'node:path';
import { type Clock, MINUTE, SECOND } from '../base/clock.js';
import { type Sha256, sha256 } from '../base/ids.js';
import { describeError, type Log, type LogFields } from '../base/log.js';
import { rawAt, readMessage, valueAt } from '../mcp/message.js';
import { MAX_DISCOVER_BYTES, OUR_ENVELOPE, versionsIn } from '../mcp/modern-child-greeting.js';
import { discoverRequest } from '../mcp/modern-child-requests.js';
import { ERRORS, LEGACY_VERSIONS, MODERN_VERSION, type RpcError } from '../mcp/protocol.js';
import { isObject, parseObject } from '../mcp/raw-json.js';
import { type Child, type ChildEnd, describeEnd } from './child.js';
import type { EraStore, EraVerdict } from './era-store.js';
import * as failures from './failures.js';
import { isLaunchFault, resolveCommand, type ServerEntry, type UpstreamAccess } from './launch.js';
import type { Spawner } from './spawner.js';

export type Era = 'legacy' | 'modern';

export const CHILD_PROTOCOLS = ['auto', 'legacy', 'modern'] as const;
export type ChildProtocol = (typeof CHILD_PROTOCOLS)[number];

/** A server with the era it is said to speak, or `auto`. */
export interface ConfiguredServer extends ServerEntry {
  readonly protocol: ChildProtocol;
  /** How long what a legacy one lists, or lets read, may be kept; it cannot say that itself. 0 unless said. */
  readonly ttlSeconds?: number;
}

export interface ErasOptions {
  readonly store: EraStore;
  readonly spawner: Pick<Spawner, 'start'>;
  /** In which commands are looked up. */
  readonly path: string;
  readonly now: Clock;
  readonly log: Log;
  /** How long a server may take to answer the probe. */
  readonly probeMs?: number;
}

/** What came of a probe. */
interface Finding {
  readonly era: Era;
  readonly discover: Buffer | null;
  readonly why: string;
  /** Whether it said so in the words of an era, so that no trouble of the one user who was there can be the reason. */
  readonly isPlain: boolean;
}

/** How much of a hint it was by which a child put a verdict in doubt. */
type Doubt = 'its own' | 'perhaps its client’s';

const PROBE_MS = 3 * SECOND;
const MAX_KEPT_BYTES = 64 * 1024;
/** A child that fails for another reason must not have its server asked again and again. */
const KEEP_AT_LEAST_MS = 10 * SECOND;
/** What a server says to the greeting of an era that it does not speak; no client can make it say so by what it sends. */
const OTHER_ERA: ReadonlySet<number> = new Set([ERRORS.unknownMethod.code, ERRORS.unsupportedVersion.code]);
/** What it may say as well (MCP 2026-07-28, basic/transports/stdio: backward compatibility); but any client can make it. */
const OR_A_BAD_GREETING: ReadonlySet<number> = new Set([ERRORS.invalid.code, ERRORS.invalidParams.code]);
/** No client is to have servers asked as often as it likes. */
const LOOK_AGAIN_MS = 10 * MINUTE;
const PROBE = discoverRequest('"fjmcp-probe"', OUR_ENVELOPE);

export class Eras implements AsyncDisposable {
  readonly #options: ErasOptions;
  readonly #verdicts = new Map<string, EraVerdict>();
  /** By key: several sessions that wait for a verdict share one probe. */
  readonly #running = new Map<string, Promise<Era | RpcError>>();
  readonly #siblings = new Set<Child>();
  /** Servers whose verdict stands, but is looked at again when the next child of theirs starts. */
  readonly #doubted = new Map<string, Doubt>();
  readonly #reviews = new Set<Promise<void>>();
  #isClosed: boolean = false;

  constructor(options: ErasOptions) {
    this.#options = options;
  }

  /** What can be said at once; that its program has changed is noticed when a child of it is started. */
  known({ name, protocol }: ConfiguredServer): Era | undefined {
    return protocol === 'auto' ? this.#verdicts.get(name)?.era : protocol;
  }

  /** The era of a server; `access` is that of the first who needs to know. An error passes, and is not remembered. */
  async of(entry: ConfiguredServer, access: UpstreamAccess): Promise<Era | RpcError> {
    if (entry.protocol !== 'auto') return entry.protocol;
    const command = resolveCommand(entry.command, this.#options.path);
    if (isLaunchFault(command)) return failures.launchRefused(command);
    const key = keyOf(entry, command);
    const running = this.#running.get(key);
    if (running !== undefined) return running;
    const judging = this.#judge(entry, key, access).finally(() => this.#running.delete(key));
    this.#running.set(key, judging);
    return judging;
  }

  /**
   * A child refused its greeting. Perhaps its server has changed in a way the key does not show, if the answer hints at it.
   * What its client may have brought about puts the verdict in doubt seldom, and only plain words then change it.
   */
  doubt(server: string, answer: Buffer): void {
    const verdict = this.#verdicts.get(server);
    const code = codeOf(answer);
    if (verdict === undefined || code === undefined) return;
    const ageMs = this.#options.now() - verdict.judgedAt;
    if (OTHER_ERA.has(code) && ageMs >= KEEP_AT_LEAST_MS) this.#doubted.set(server, 'its own');
    else if (OR_A_BAD_GREETING.has(code) && ageMs >= LOOK_AGAIN_MS && !this.#doubted.has(server))
      this.#doubted.set(server, 'perhaps its client’s');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    await Promise.all([...this.#siblings].map((child) => child.stop('the broker is shutting down')));
    await Promise.allSettled([...this.#running.values(), ...this.#reviews]);
  }

  async #judge(entry: ServerEntry, key: Sha256, access: UpstreamAccess): Promise<Era | RpcError> {
    const { store, now } = this.#options;
    const server = entry.name;
    const known = this.#verdicts.get(server) ?? (await store.findEra(server));
    if (known?.key !== key) return this.#find(entry, key, access);
    const doubt = this.#doubted.get(server);
    this.#doubted.delete(server);
    this.#verdicts.set(server, doubt === undefined ? known : { ...known, judgedAt: now() });
    if (doubt !== undefined) this.#review(entry, key, access, doubt);
    return known.era;
  }

  /** Nobody waits for it. */
  #review(entry: ServerEntry, key: Sha256, access: UpstreamAccess, doubt: Doubt): void {
    const review = this.#find(entry, key, access, doubt)
      .then(() => undefined)
      .catch((error: unknown) => {
        this.#options.log.error('server.era-not-found', { server: entry.name, error: describeError(error) });
      })
      .finally(() => this.#reviews.delete(review));
    this.#reviews.add(review);
  }

  async #find(
    entry: ServerEntry,
    key: Sha256,
    access: UpstreamAccess,
    doubt: Doubt = 'its own',
  ): Promise<Era | RpcError> {
    const { store, now, log } = this.#options;
    const server = entry.name;
    if (this.#isClosed) return failures.stopping;
    const finding = await this.#probe(entry, access);
    if ('code' in finding) return finding;
    const known = this.#verdicts.get(server);
    const isWeak = finding === SILENCE || (doubt !== 'its own' && !finding.isPlain);
    if (isWeak && known?.key === key) return known.era;
    const { era, discover, why } = finding;
    const verdict = { server, key, era, discover, judgedAt: now() };
    this.#verdicts.set(server, verdict);
    log.info('server.era', { server, era, why });
    // A machine that was busy is no reason to take a server for an old one for ever.
    if (finding === SILENCE) return era;
    await store.saveEra(verdict).catch((error: unknown) => {
      log.error('server.era-not-saved', { server, error: describeError(error) });
    });
    return era;
  }

  #probe(entry: ServerEntry, access: UpstreamAccess): Promise<Finding | RpcError> {
    const { spawner, log, probeMs = PROBE_MS } = this.#options;
    return new Promise((resolve) => {
      const sibling = spawner.start(entry, access, {
        log: aside(log, entry.name),
        onLine: (line) => {
          const finding = judge(line);
          if (finding !== undefined) conclude(finding);
          return { settled: false, drain: undefined };
        },
        onEnd: (end) => {
          if ('pid' in sibling) this.#siblings.delete(sibling);
          conclude(this.#isClosed ? failures.stopping : judgeEnd(end));
        },
      });
      if (!('pid' in sibling)) return resolve(failures.launchRefused(sibling));
      const timer = setTimeout(() => conclude(SILENCE), probeMs);
      const conclude = (finding: Finding | RpcError) => {
        clearTimeout(timer);
        resolve(finding);
        void sibling.stop('its era is known');
      };
      this.#siblings.add(sibling);
      sibling.write(PROBE);
    });
  }
}

/** That a sibling ends is no news, however it does. */
function aside({ debug }: Log, server: string): Log {
  const note = (event: string, fields?: LogFields) => debug(event, { server, probe: true, ...fields });
  return { debug: note, info: note, warn: note, error: note };
}

/** What a line of a server that was asked `server/discover` tells; undefined for what is no answer. */
export function judge(line: Buffer): Finding | undefined {
  // Nothing else was asked; some legacy servers answer what they do not know under the id null.
  const message = readMessage(line);
  if (message.kind !== 'response') return undefined;
  if (line.length > MAX_DISCOVER_BYTES) return legacy('its answer is too long');
  const { result, error } = parseObject(line) ?? {};
  // A copy: the line may be a small part of much more that was read.
  const discover = line.length > MAX_KEPT_BYTES ? null : Buffer.from(line);
  const supported = versionsIn(isObject(result) ? result : {});
  if (supported.length > 0) return judgeVersions(supported, discover);
  // MCP 2026-07-28, basic/transports/stdio: the one error that says what a server does speak.
  const code = codeOf(line);
  if (code === ERRORS.unsupportedVersion.code) {
    const data = isObject(error) && isObject(error.data) ? error.data : {};
    return judgeVersions(versionsIn(data), discover);
  }
  const isPlain = code !== undefined && (OTHER_ERA.has(code) || OR_A_BAD_GREETING.has(code));
  return { ...legacy('it does not know server/discover'), isPlain };
}

/** Whether a refusal may be of what a client says of itself, and no more. */
export const mayBeItsClients = (answer: Buffer): boolean => OR_A_BAD_GREETING.has(codeOf(answer) ?? 0);

function codeOf(line: Buffer): number | undefined {
  const code = valueAt(line, ['error', 'code']);
  return code && Number(rawAt(line, code));
}

/** A server of both eras is taken for a modern one. With versions that we do not know, it is not a legacy server. */
function judgeVersions(supported: readonly string[], discover: Buffer | null): Finding {
  const isLegacy =
    !supported.includes(MODERN_VERSION) && supported.some((version) => LEGACY_VERSIONS.includes(version));
  const why = `it supports ${supported.slice(0, 10).join(', ').slice(0, 200)}`;
  return { era: isLegacy ? 'legacy' : 'modern', discover, why, isPlain: true };
}

function judgeEnd(end: ChildEnd): Finding | RpcError {
  return end.how === 'neverStarted' ? failures.childEnded(end) : legacy(`it ${describeEnd(end)}`);
}

const legacy = (why: string): Finding => ({ era: 'legacy', discover: null, why, isPlain: false });
const SILENCE = legacy('it did not answer in time');

/** What decides how a server answers: the program, what it is told, and the files that it is told to run. */
function keyOf({ args, env }: ServerEntry, command: string): Sha256 {
  const files = [command, ...args.filter(isAbsolute)].map(stampOf);
  return sha256(JSON.stringify([command, args, Object.entries(env).sort(), files]));
}

function stampOf(path: string): readonly number[] | null {
  try {
    const found = statSync(path);
    return found.isFile() ? [found.mtimeMs, found.size] : null;
  } catch {
    return null;
  }
}
