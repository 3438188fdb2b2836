/** What the judge of eras needs from a store: what was found out about each configured server. */
import type { Era } from './eras.js';

export interface EraVerdict {
  readonly server: string;
  /** Of what was judged: another key is another program, and has to be judged again. */
  readonly key: string;
  readonly era: Era;
  /** The child's answer to `server/discover`, as it came; null when there was none worth keeping. */
  readonly discover: Buffer | null;
  /** Milliseconds since the epoch. */
  readonly judgedAt: number;
}

export interface EraStore {
  findEra(server: string): Promise<EraVerdict | undefined>;
  /** In place of what was known of that server. */
  saveEra(verdict: EraVerdict): Promise<void>;
}
