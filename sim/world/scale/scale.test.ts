import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { expect, test } from 'vitest';
import { type Figures, ScaleWorld } from './scale-world.ts';
import { fill, restart, restore } from './scenarios.ts';

/* `make world-scale` does the same with 20,000 pods. */

const [NODES, PODS, REPLACED] = [100, 800, 10];

test('many pods cost what one costs, and wait for nothing but the quota', async () => {
  const phases: Figures[] = [];
  const scale = new ScaleWorld();
  const note = (figures: Figures) => phases.push(figures);
  await fill(scale, { nodes: NODES, pods: PODS }, note);
  await restart(scale, note);
  await restore(scale, REPLACED, note);
  scale.end();
  for (const { phase, virtualS, boundS } of phases) expect(virtualS, phase).toBeLessThanOrEqual(boundS ?? 0);
  const [join, create, again] = phases;
  expect(join).toMatchObject({ calls: 2 * NODES });
  expect(create).toMatchObject({ calls: 2 * PODS });
  // Five for each pod (docs/design/allocation.md), one more for those that wait for quota, and the status of the PodNetworking
  // now and then.
  expect(create?.writes).toBeLessThan(5.6 * PODS);
  expect(create?.reconciles).toBeLessThan(12 * PODS);
  expect(again).toMatchObject({ calls: 0 });
  // The status of two PodNetworkings.
  expect(again?.writes).toBeLessThanOrEqual(2);
  // Each record and mirror, Node CR and node once.
  expect(again?.reconciles).toBeLessThanOrEqual(2.1 * (NODES + PODS));
});

test('the work for one event does not depend on the number of settled pods', async () => {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'flatness.ts'), '50', '500']);
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  const [output, errors] = await Promise.all([text(child.stdout), text(child.stderr)]);
  expect(output.split('\n').filter((line) => line.startsWith('GROWS'))).toEqual([]);
  expect(errors).toBe('');
  expect(await ended).toBe(0);
});
