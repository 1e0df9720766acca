import { expect, test } from 'vitest';
import { saysDeleted } from './node-runtime.ts';

const entry = (states: Record<string, string | undefined>) => ({
  status: Object.fromEntries(
    Object.entries(states).map(([state, time]) => [state, time === undefined ? {} : { lastUpdateTime: time }]),
  ),
});
const EARLY = '2026-01-01T12:00:00Z';
const LATE = '2026-01-01T12:00:01Z';

test.each([
  ['no entry', undefined, false],
  ['no state', {}, false],
  ['initial', entry({ initial: EARLY }), false],
  ['deleted', entry({ deleted: EARLY }), true],
  ['deleted after initial', entry({ initial: EARLY, deleted: LATE }), true],
  ['initial after deleted', entry({ deleted: EARLY, initial: LATE }), false],
  ['both within a second, in either order', entry({ initial: EARLY, deleted: EARLY }), true],
  ['both within a second, the other way round', entry({ deleted: EARLY, initial: EARLY }), true],
  ['an invalid time against a valid one', entry({ deleted: 'then', initial: EARLY }), false],
  ['deleted without a time', entry({ deleted: undefined }), true],
])(
  'the newest state reported by a node counts, and of two in the same second deleted: %s (weak spot 11)',
  (_, said, deleted) => {
    expect(saysDeleted(said)).toBe(deleted);
  },
);
