/** What becomes of the children of a session. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type LifeEvent, type Lives, NO_LIFE, step } from '../../src/backend/lives.js';

type Told = readonly [event: LifeEvent, lives: string, ...effects: string[]];

const describe = ({ state, leaving }: Lives) => {
  const own = 'next' in state ? ` ${state.life}>${state.next}` : 'life' in state ? ` ${state.life}` : '';
  return `${state.is}${own}${leaving.length > 0 ? ` leaving ${leaving.join()}` : ''}`;
};

const needed: LifeEvent = { is: 'needed' };
const renewal: LifeEvent = { is: 'renewal' };
const lapse: LifeEvent = { is: 'lapse' };
const sleep: LifeEvent = { is: 'sleep' };
const close: LifeEvent = { is: 'close' };
const up = (life: number): LifeEvent => ({ is: 'up', life });
const down = (life: number): LifeEvent => ({ is: 'down', life });
const quiet = (life: number): LifeEvent => ({ is: 'quiet', life });

const STORIES: Readonly<Record<string, readonly Told[]>> = {
  'a message starts a child, a second one does not start another': [
    [needed, 'starting 1', 'start 1'],
    [needed, 'starting 1'],
    [up(1), 'live 1', 'serve 1'],
    [needed, 'live 1'],
  ],
  'a child that cannot be started leaves the session asleep': [
    [needed, 'starting 1', 'start 1'],
    [down(1), 'dormant', 'stop 1'],
    [needed, 'starting 2', 'start 2'],
  ],
  'a child is replaced by one that has come up, and leaves when it owes nothing': [
    [needed, 'starting 1', 'start 1'],
    [up(1), 'live 1', 'serve 1'],
    [renewal, 'replacing 1>2', 'start 2'],
    [renewal, 'replacing 1>2'],
    [quiet(1), 'replacing 1>2'],
    [up(2), 'live 2 leaving 1', 'serve 2'],
    [quiet(2), 'live 2 leaving 1'],
    [quiet(1), 'live 2', 'stop 1'],
  ],
  'a replacement that fails changes nothing': [
    [needed, 'starting 1', 'start 1'],
    [up(1), 'live 1', 'serve 1'],
    [renewal, 'replacing 1>2', 'start 2'],
    [down(2), 'live 1', 'stop 2'],
  ],
  'a child that dies while its successor comes up leaves the session to it': [
    [needed, 'starting 1', 'start 1'],
    [up(1), 'live 1', 'serve 1'],
    [renewal, 'replacing 1>2', 'start 2'],
    [down(1), 'starting 2', 'stop 1'],
    [up(2), 'live 2', 'serve 2'],
  ],
  'after its token a child finishes what it has while the next one comes up': [
    [needed, 'starting 1', 'start 1'],
    [lapse, 'starting 1'],
    [up(1), 'live 1', 'serve 1'],
    [lapse, 'starting 2 leaving 1', 'start 2'],
    [down(1), 'starting 2', 'stop 1'],
    [up(2), 'live 2', 'serve 2'],
    [renewal, 'replacing 2>3', 'start 3'],
    [lapse, 'starting 3 leaving 2'],
    [down(3), 'dormant leaving 2', 'stop 3'],
    [needed, 'starting 4 leaving 2', 'start 4'],
    [quiet(2), 'starting 4', 'stop 2'],
  ],
  'only a child that serves is put to sleep': [
    [sleep, 'dormant'],
    [needed, 'starting 1', 'start 1'],
    [sleep, 'starting 1'],
    [up(1), 'live 1', 'serve 1'],
    [sleep, 'dormant', 'stop 1'],
  ],
  'the end stops every child, and nothing comes after it': [
    [needed, 'starting 1', 'start 1'],
    [up(1), 'live 1', 'serve 1'],
    [renewal, 'replacing 1>2', 'start 2'],
    [up(2), 'live 2 leaving 1', 'serve 2'],
    [renewal, 'replacing 2>3 leaving 1', 'start 3'],
    [close, 'closed', 'stop 1', 'stop 2', 'stop 3'],
    [needed, 'closed'],
    [up(3), 'closed'],
    [renewal, 'closed'],
    [lapse, 'closed'],
    [close, 'closed'],
  ],
};

for (const [story, events] of Object.entries(STORIES)) {
  test(story, () => {
    let lives = NO_LIFE;
    for (const [event, expected, ...effects] of events) {
      const next = step(lives, event);
      lives = next.lives;
      assert.equal(describe(lives), expected, JSON.stringify(event));
      assert.deepEqual(
        next.effects.map((effect) => `${effect.do} ${effect.life}`),
        effects,
        JSON.stringify(event),
      );
    }
  });
}
