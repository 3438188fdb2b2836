/** How many children run at once, of one user and in all, and who goes to sleep to make room for another. */
import type { UserId } from '../base/ids.js';
import type { Child, ChildEnd } from './child.js';
import * as failures from './failures.js';
import type { Session } from './session.js';

/** Room for one child: taken before it is started, given back when it is reaped. */
export interface Slot {
  readonly session: Session;
  child: Child | undefined;
}

export interface SlotLimits {
  readonly maxChildren: number;
  readonly maxChildrenPerUser: number;
}

export class Slots {
  readonly #slots = new Set<Slot>();
  /** Those to whom a child that leaves makes room. */
  readonly #coming = new Set<Session>();
  readonly #limits: SlotLimits;
  readonly #onCrowded: () => void;

  constructor(limits: SlotLimits, onCrowded: () => void) {
    this.#limits = limits;
    this.#onCrowded = onCrowded;
  }

  get all(): readonly Slot[] {
    return [...this.#slots];
  }

  /**
   * Room for one more child. The idlest session makes it, if one is idle; undefined if all are at work. A child that
   * takes over from another of its session is never refused: the two are one soon.
   */
  async take(session: Session, takesOver: boolean): Promise<Slot | undefined> {
    const { maxChildren, maxChildrenPerUser } = this.#limits;
    for (let attempt = 1; ; attempt += 1) {
      const own = this.all.filter((slot) => slot.session.caller.userId === session.caller.userId);
      const crowd =
        own.length >= maxChildrenPerUser ? own : this.#slots.size >= maxChildren ? this.all : undefined;
      if (crowd === undefined || takesOver) return this.#add(session);
      // One sleeper for each newcomer; after that, whoever leaves anyway is waited for first.
      if ((attempt === 1 || leaving(crowd).length === 0) && makeRoom(crowd)) this.#onCrowded();
      const ends = leaving(crowd);
      if (ends.length === 0) return undefined;
      this.#coming.add(session);
      try {
        await Promise.race(ends);
      } finally {
        this.#coming.delete(session);
      }
    }
  }

  /** Whether a child of this user would be refused at the moment. */
  isFull(userId: UserId): boolean {
    const { maxChildren, maxChildrenPerUser } = this.#limits;
    const isOwn = ({ caller }: Session) => caller.userId === userId;
    const own = this.all.filter(({ session }) => isOwn(session));
    const isOwnCrowd = own.length >= maxChildrenPerUser;
    const crowd = isOwnCrowd ? own : this.all;
    if (!isOwnCrowd && crowd.length < maxChildren) return false;
    const coming = [...this.#coming].filter((session) => !isOwnCrowd || isOwn(session));
    return idlest(crowd) === undefined && leaving(crowd).length <= coming.length;
  }

  free(slot: Slot): void {
    this.#slots.delete(slot);
  }

  #add(session: Session): Slot {
    const slot: Slot = { session, child: undefined };
    this.#slots.add(slot);
    return slot;
  }
}

/** Rather one without calls than one whose calls wait for their clients: those may never come back. */
function makeRoom(slots: readonly Slot[]): boolean {
  const session = idlest(slots) ?? longestIdle(slots, ({ callsAtWork }) => callsAtWork === 0);
  return session?.sleep('others need its place', failures.placeNeeded) ?? false;
}

const idlest = (slots: readonly Slot[]): Session | undefined =>
  longestIdle(slots, ({ callsInFlight }) => callsInFlight === 0);

function longestIdle(slots: readonly Slot[], isIdle: (session: Session) => boolean): Session | undefined {
  const idle = slots
    .map(({ session }) => session)
    .filter((session) => session.state === 'live' && isIdle(session));
  return idle.toSorted((a, b) => a.idleSince - b.idleSince)[0];
}

const leaving = (slots: readonly Slot[]): Promise<ChildEnd>[] =>
  slots.flatMap(({ child }) => (child?.stopping ? [child.ended] : []));
