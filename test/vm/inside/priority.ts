import assert from 'node:assert/strict';
import { linkMac } from '../../../src/datapath/names.ts';
import { DatapathLab, run } from '../../../src/datapath/test-support/datapath-lab.ts';
import type { PodInterface } from '../../../src/datapath/types.ts';
import { netnsOf, type ScenarioGroup } from './scenario.ts';

/** Number of packets that each band of a link's qdisc `1:` has sent. */
function packetsByBand(lab: DatapathLab, link: string): number[] {
  const text = run('tc', '-n', lab.node, '-s', 'class', 'show', 'dev', link);
  const bands = [0, 0, 0];
  for (const [, band, packets] of text.matchAll(/class prio 1:(\d) .*\n Sent \d+ bytes (\d+) pkt/g)) {
    bands[Number(band) - 1] = Number(packets);
  }
  return bands;
}

/** Priority classes of pods, on a trunk whose qdisc has bands. */
export const priorityClasses: ScenarioGroup = {
  title: 'priority classes',
  scenarios: {
    'each class uses its own band, for IPv4 and IPv6 (weak spot 18)': async () => {
      using lab = new DatapathLab();
      run('tc', '-n', lab.node, 'qdisc', 'replace', 'dev', 'eni1', 'root', 'handle', '1:', 'prio');
      await using datapath = lab.datapath();
      const classes: [NonNullable<PodInterface['priority']>, number][] = [
        ['guaranteed', 3],
        ['burstable', 5],
        ['best-effort', 7],
      ];
      const pods = classes.map(([priority], at) => lab.pod([lab.member(5 + at, 101 + at, { priority })]));
      for (const pod of pods) await datapath.add(pod);
      lab.gateways();
      const before = packetsByBand(lab, 'eni1');
      for (const [at, pod] of pods.entries()) {
        const toMac = linkMac(pod.containerId, 'eth0', 'host');
        const count = classes[at]?.[1] ?? 0;
        const packets = [
          { toMac, source: `10.0.0.${5 + at}`, destination: '10.9.9.9' },
          { toMac, source: `fd00::${5 + at}`, destination: 'fd99::9' },
        ];
        lab.send(netnsOf(pod), 'eth0', packets, { count });
      }
      const sent = packetsByBand(lab, 'eni1').map((packets, at) => packets - (before[at] ?? 0));
      // Neighbour discovery of the node itself also goes through the first and second bands.
      const [guaranteed = 0, burstable = 0, bestEffort] = sent;
      assert.ok(guaranteed >= 6 && burstable >= 10, `${sent.join(', ')} packets by band`);
      assert.equal(bestEffort, 14);
      // A changed class is updated in place.
      const [first] = pods;
      assert.ok(first !== undefined);
      const changed = { ...first, interfaces: [lab.member(5, 101, { priority: 'best-effort' })] };
      assert.deepEqual(
        (await datapath.check(changed)).map(({ object }) => object),
        ['map', 'map'],
      );
      await datapath.add(changed);
      assert.deepEqual(await datapath.check(changed), []);
    },
  },
};
