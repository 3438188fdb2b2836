/**
 * One room for starting a child: a private home, the plan, the process, the operator's log of it; and what all children
 * share, which ends with the broker. Whose child it is, and how many there may be, is not asked here.
 */
import { lstatSync, mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Clock } from '../base/clock.js';
import { describeError, type Log } from '../base/log.js';
import type { Heard } from './calls.js';
import { Child, type ChildEnd, STOP_GRACE, type StopGrace } from './child.js';
import type { Containment, Place } from './containment.js';
import { Guardian } from './guardian.js';
import {
  isLaunchFault,
  type LaunchFault,
  type LaunchPlan,
  planLaunch,
  resolveCommand,
  type ServerEntry,
  type UpstreamAccess,
} from './launch.js';
import { FOLDER_PREFIX, Roll } from './orphans.js';
import { createPieceRedactor, createRedactor } from './redact.js';
import { StderrLog } from './stderr.js';

export interface SpawnerOptions {
  /** `PATH` and `LANG` of the children. */
  readonly path: string;
  readonly lang: string;
  readonly containment: Containment;
  readonly maxMessageBytes: number;
  readonly grace?: StopGrace | undefined;
  /** Where the children that run are written down, for the broker that comes after this one. */
  readonly rollFile?: string | undefined;
  readonly now: Clock;
  readonly log: Log;
}

/** Who hears of one child. */
export interface ChildListener {
  /** Where the child's own words and its end are noted. */
  readonly log: Log;
  readonly onLine: (line: Buffer) => Heard;
  readonly onEnd: (end: ChildEnd) => void;
}

export class Spawner implements AsyncDisposable {
  readonly #options: SpawnerOptions;
  #folder = newFolder();
  readonly #guardian: Guardian;
  readonly #clearing = new Set<Promise<void>>();

  constructor(options: SpawnerOptions) {
    this.#options = options;
    const { rollFile, log } = options;
    this.#guardian = new Guardian(this.#folder, log, new Roll(rollFile, this.#folder, log));
  }

  start(entry: ServerEntry, access: UpstreamAccess, listener: ChildListener): Child | LaunchFault {
    const { path, lang, containment, maxMessageBytes, grace, now } = this.#options;
    const command = resolveCommand(entry.command, path);
    if (isLaunchFault(command)) return command;
    this.#keepFolder();
    const place = containment.place(this.#folder);
    const plan = this.#confine(
      place,
      entry,
      planLaunch(entry, access, { command, path, lang, home: place.home }),
    );
    const stderr = new StderrLog(listener.log, now, createPieceRedactor(access.token));
    const child = new Child({
      plan,
      redact: createRedactor(access.token),
      guardian: this.#guardian,
      maxLineBytes: maxMessageBytes,
      grace: grace ?? STOP_GRACE,
      onLine: listener.onLine,
      onStderr: (line) => stderr.write(line),
      onFlood: (stream) => listener.log.warn('child.held-back', { pid: child.pid, stream }),
      onFault: (error) =>
        listener.log.error('child.unreadable', { pid: child.pid, error: describeError(error) }),
      onEnd: (end) => {
        logEnd(listener.log, child.pid, end, {
          lastWords: stderr.lastWords,
          memoryKills: place.memoryKills(),
        });
        this.#clear(place);
        listener.onEnd(end);
      },
    });
    return child;
  }

  /** A cleaner of the temporary folder may have removed ours in quiet times, and then its name is anybody's to take. */
  #keepFolder(): void {
    const found = lstatSync(this.#folder, { throwIfNoEntry: false });
    if (found?.isDirectory() === true && process.getuid?.() === found.uid) return;
    this.#folder = newFolder();
    this.#guardian.guard(this.#folder);
  }

  #confine(place: Place, entry: ServerEntry, plan: LaunchPlan): LaunchPlan {
    try {
      return place.confine(plan, entry);
    } catch (error) {
      this.#clear(place);
      throw error;
    }
  }

  #clear(place: Place): void {
    const clearing = place
      .clear()
      .catch((error: unknown) => this.#options.log.warn('child.remains', { error: describeError(error) }))
      .finally(() => this.#clearing.delete(clearing));
    this.#clearing.add(clearing);
  }

  /** Comes after the end of the children; what is left of them is killed. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#guardian[Symbol.asyncDispose]();
    await Promise.all(this.#clearing);
    await rm(this.#folder, { recursive: true, force: true });
  }
}

const newFolder = (): string => mkdtempSync(join(tmpdir(), FOLDER_PREFIX));

interface Remains {
  readonly lastWords: readonly string[];
  readonly memoryKills: number;
}

function logEnd(log: Log, pid: number, end: ChildEnd, { lastWords, memoryKills }: Remains): void {
  if (end.how === 'closedByUs') log.info('child.stopped', { pid, why: end.why });
  else log.warn('child.ended', { pid, ...end, lastWords, ...(memoryKills > 0 ? { memoryKills } : {}) });
}
