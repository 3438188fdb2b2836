/**
 * Which refusals are worth a line: anybody can cause them, as many as they like. The first of its kind in a minute is
 * told, then the tenth, the hundredth and so on, so that a flood shows its size and fills no disk.
 */
import { type Clock, MINUTE } from '../base/clock.js';

/** More networks than that in one minute share a count. */
const MOST_NETWORKS = 50;

export interface Told {
  readonly network: string;
  /** How many there were in this minute so far. */
  readonly count: number;
}

/** Counts one more refusal; says what to tell of it, or nothing. */
export type CountRefusal = (reason: string, network: string) => Told | undefined;

export function createRefusalCount(now: Clock): CountRefusal {
  const counts = new Map<string, Map<string, number>>();
  let since = now();
  return (reason, network) => {
    if (now() - since >= MINUTE) {
      counts.clear();
      since = now();
    }
    const known = counts.get(network);
    const name = known !== undefined || counts.size < MOST_NETWORKS ? network : 'others';
    const mine = known ?? counts.get(name) ?? new Map<string, number>();
    const count = (mine.get(reason) ?? 0) + 1;
    counts.set(name, mine.set(reason, count));
    return /^10*$/.test(String(count)) ? { network: name, count } : undefined;
  };
}
