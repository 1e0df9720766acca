import { tellFixedAddress } from './chapter-fixed-address.ts';
import { tellPods } from './chapter-pods.ts';
import { scaleDown, tellRelease } from './chapter-release.ts';
import { tellTrunks } from './chapter-trunks.ts';
import type { Narrator } from './narrator.ts';
import type { PlainStage } from './plain-stage.ts';
import { tellSummary } from './summary.ts';

/** Walks through what the control plane does, and checks it on the way. @throws DemoError where it does not. */
export async function takePlainTour(narrator: Narrator, stage: PlainStage): Promise<void> {
  await tellTrunks(narrator, stage);
  const served = await tellPods(narrator, stage, 'Only then does the pod run.');
  const move = await tellFixedAddress(narrator, stage);
  const release = await tellRelease(narrator, stage, scaleDown(stage), served.length);
  await tellSummary(narrator, stage, { served, move, release });
}
