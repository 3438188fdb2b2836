/**
 * Which children a session has and what becomes of them: events in, effects out; no I/O, no clock. A life is one child
 * from its start to its end, known by number; an event of a life that is over changes nothing.
 */
export type Life = number;

export type LifeState =
  | { readonly is: 'dormant' }
  | { readonly is: 'starting'; readonly life: Life }
  | { readonly is: 'live'; readonly life: Life }
  /** `life` serves while `next` comes up. */
  | { readonly is: 'replacing'; readonly life: Life; readonly next: Life }
  | { readonly is: 'closed' };

export interface Lives {
  readonly state: LifeState;
  /** Replaced, and not yet done with the calls they were given. */
  readonly leaving: readonly Life[];
  readonly newest: Life;
}

export type LifeEvent =
  /** A message wants a child. */
  | { readonly is: 'needed' }
  /** The child that serves should make room for a new one; nobody may notice. */
  | { readonly is: 'renewal' }
  /** A message wants a child, and the one that serves can do no more than finish what it has. */
  | { readonly is: 'lapse' }
  /** It has taken up the conversation. */
  | { readonly is: 'up'; readonly life: Life }
  /** It could not be started, did not take up the conversation, or ended. */
  | { readonly is: 'down'; readonly life: Life }
  /** It owes no answer. */
  | { readonly is: 'quiet'; readonly life: Life }
  /** Nothing is in flight, and the place is wanted. */
  | { readonly is: 'sleep' }
  | { readonly is: 'close' };

export type LifeEffect =
  | { readonly do: 'start'; readonly life: Life }
  /** From now on it gets what is said; first what waited. */
  | { readonly do: 'serve'; readonly life: Life }
  | { readonly do: 'stop'; readonly life: Life };

export interface Step {
  readonly lives: Lives;
  readonly effects: readonly LifeEffect[];
}

export const NO_LIFE: Lives = { state: { is: 'dormant' }, leaving: [], newest: 0 };

export function step(lives: Lives, event: LifeEvent): Step {
  const { state, leaving } = lives;
  switch (event.is) {
    case 'needed':
      return state.is === 'dormant' ? start(lives, (life) => ({ is: 'starting', life })) : stay(lives);
    case 'renewal':
      return state.is === 'live'
        ? start(lives, (next) => ({ is: 'replacing', life: state.life, next }))
        : stay(lives);
    case 'lapse':
      return lapse(lives);
    case 'up':
      return serve(lives, event.life);
    case 'down':
      return { lives: bury(lives, event.life), effects: [{ do: 'stop', life: event.life }] };
    case 'quiet':
      if (!leaving.includes(event.life)) return stay(lives);
      return { lives: bury(lives, event.life), effects: [{ do: 'stop', life: event.life }] };
    case 'sleep':
      if (state.is !== 'live') return stay(lives);
      return { lives: bury(lives, state.life), effects: [{ do: 'stop', life: state.life }] };
    case 'close':
      return {
        lives: { ...lives, state: { is: 'closed' }, leaving: [] },
        effects: allOf(lives).map((life) => ({ do: 'stop', life })),
      };
  }
}

/** Every life that is not over. */
export function allOf({ state, leaving }: Lives): Life[] {
  switch (state.is) {
    case 'dormant':
    case 'closed':
      return [...leaving];
    case 'starting':
    case 'live':
      return [...leaving, state.life];
    case 'replacing':
      return [...leaving, state.life, state.next];
  }
}

const stay = (lives: Lives): Step => ({ lives, effects: [] });

function start(lives: Lives, become: (life: Life) => LifeState): Step {
  const life = lives.newest + 1;
  return { lives: { ...lives, state: become(life), newest: life }, effects: [{ do: 'start', life }] };
}

function lapse(lives: Lives): Step {
  const { state, leaving } = lives;
  if (state.is === 'live') {
    return start({ ...lives, leaving: [...leaving, state.life] }, (life) => ({ is: 'starting', life }));
  }
  if (state.is === 'replacing') {
    return stay({ ...lives, leaving: [...leaving, state.life], state: { is: 'starting', life: state.next } });
  }
  return stay(lives);
}

function serve(lives: Lives, life: Life): Step {
  const { state, leaving } = lives;
  const effects: LifeEffect[] = [{ do: 'serve', life }];
  if (state.is === 'starting' && state.life === life) {
    return { lives: { ...lives, state: { is: 'live', life } }, effects };
  }
  if (state.is === 'replacing' && state.next === life) {
    return {
      lives: { ...lives, state: { is: 'live', life }, leaving: [...leaving, state.life] },
      effects,
    };
  }
  return stay(lives);
}

function bury(lives: Lives, life: Life): Lives {
  const { state } = lives;
  const leaving = lives.leaving.filter((other) => other !== life);
  if (state.is === 'replacing' && state.life === life) {
    return { ...lives, leaving, state: { is: 'starting', life: state.next } };
  }
  if (state.is === 'replacing' && state.next === life) {
    return { ...lives, leaving, state: { is: 'live', life: state.life } };
  }
  if ((state.is === 'starting' || state.is === 'live') && state.life === life) {
    return { ...lives, leaving, state: { is: 'dormant' } };
  }
  return { ...lives, leaving };
}
