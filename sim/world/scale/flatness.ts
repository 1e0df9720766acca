/**
 * Measures whether the work for one event depends on how many pods are settled: `node sim/world/scale/flatness.ts 1000 20000`.
 * Exits with 1 when it does, with the functions that grow.
 */
import { markdownTable } from '../../../tools/docs/markdown-table.ts';
import { WorkCounter } from './work.ts';

const counter = await WorkCounter.start();
// What is counted must be loaded after the counter has started.
const { eventCosts, growthOf, shownCost } = await import('./events.ts');

const costs = await eventCosts(process.argv.slice(2).map(Number), counter);
const head = ['event', 'settled pods', 'reconciles', 'requests', 'cloud calls', 'executed blocks'];
process.stdout.write(markdownTable([head, ...costs.map(shownCost)]));
const growth = growthOf(costs);
for (const line of growth) process.stdout.write(`GROWS: ${line}\n`);
process.exitCode = growth.length === 0 ? 0 : 1;
