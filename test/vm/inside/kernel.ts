import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { release } from 'node:os';
import { join } from 'node:path';
import { openNodeDatapath } from '../../../src/agent/open-datapath.ts';
import { agentConfigSchema } from '../../../src/config/agent.ts';
import { DatapathLab, run, TOOLS } from '../../../src/datapath/test-support/datapath-lab.ts';
import { systemClock } from '../../../src/util/clock.ts';
import { isUdp, netnsOf, type ScenarioGroup, shownFilters, until } from './scenario.ts';

/** Unloads a module once nothing uses it. That can take a moment, because the kernel removes namespaces in the background. */
async function without(module: string): Promise<Disposable> {
  await until(() => {
    try {
      run('rmmod', module);
      return true;
    } catch (error) {
      if (String(error).includes('is in use')) return false;
      throw error;
    }
  });
  return {
    [Symbol.dispose]: () => {
      run('insmod', `/run/modules/${module}.ko`);
    },
  };
}

async function probed(lab: DatapathLab, tagProgram: 'ebpf' | 'tc') {
  await using datapath = lab.datapath(tagProgram === 'tc' ? { tagProgram, layout: 'perPod' } : {});
  return new Map((await datapath.probe()).map((result) => [result.feature, result]));
}

/** What this older kernel supports, and whether the product detects it. */
export const olderKernel: ScenarioGroup = {
  title: "Debian's kernel",
  scenarios: {
    'the probe finds every feature': async () => {
      using lab = new DatapathLab();
      const features = await probed(lab, 'ebpf');
      // A file system that the product mounts when needed.
      features.delete('bpffs');
      // Needs kernel 6.6.
      features.delete('TCX');
      assert.deepEqual(
        [...features.values()].filter(({ available }) => !available),
        [],
      );
      for (const feature of ['eBPF programs', 'cls_bpf', 'act_vlan', '8021q', 'tbf', 'clsact']) {
        assert.ok(features.has(feature), feature);
      }
      assert.equal(features.get('kernel 5.10')?.message, `this is ${release()}`);
    },

    'without a module, the probe names it and says what to do': async () => {
      using lab = new DatapathLab();
      {
        using _ = await without('act_vlan');
        const features = await probed(lab, 'tc');
        const { available, required, message } = features.get('act_vlan') ?? {};
        assert.deepEqual({ available, required }, { available: false, required: true });
        assert.match(message ?? '', /load modules cls_u32 and act_vlan/);
        assert.equal((await probed(lab, 'ebpf')).get('act_vlan')?.required, false);
        const pod = lab.pod([lab.member(5, 101)]);
        await using datapath = lab.datapath({ tagProgram: 'tc', layout: 'perPod' });
        await assert.rejects(datapath.add(pod), { name: 'DatapathError', message: /VLAN/ });
        assert.doesNotMatch(lab.ip('-o', 'link'), /cali/);
      }
      {
        using _ = await without('cls_u32');
        assert.equal((await probed(lab, 'tc')).get('act_vlan')?.available, false);
      }
      {
        using _ = await without('8021q');
        const features = await probed(lab, 'tc');
        assert.equal(features.get('8021q')?.available, false);
        assert.match(features.get('8021q')?.message ?? '', /load module 8021q/);
        assert.equal(features.get('act_vlan')?.available, true);
      }
      assert.equal((await probed(lab, 'tc')).get('8021q')?.available, true);
    },

    'where bpf(2) is refused, the agent says what to do; with tagProgram tc, the classic filters tag packets':
      async () => {
        using lab = new DatapathLab();
        const lib = join(lab.directory, 'lib');
        mkdirSync(lib);
        const launcher = `#!/bin/sh\nexec ${TOOLS.frames} without-bpf ${TOOLS.helper} "$@"\n`;
        writeFileSync(join(lib, 'terway-kernel'), launcher, { mode: 0o755 });
        copyFileSync(TOOLS.object, join(lib, 'terway.bpf.o'));
        const { nodeAddress, bpfDirectory } = lab.settings();
        const open = (datapath: { tagProgram?: 'tc' }) =>
          openNodeDatapath({
            config: agentConfigSchema.parse({ paths: { bpf: bpfDirectory }, datapath }),
            nodeAddress,
            lib,
            nodeNetns: lab.netnsPath(lab.node),
            clock: systemClock,
            signal: AbortSignal.timeout(30_000),
            log: { debug: () => undefined },
          });
        await assert.rejects(open({}), {
          name: 'DatapathError',
          message: /eBPF programs: .*EPERM.*set `datapath\.tagProgram: tc`/,
        });
        await using datapath = await open({ tagProgram: 'tc' });
        const pod = lab.pod([lab.member(5, 101)]);
        const [attached] = await datapath.add(pod);
        lab.gateways();
        await using wire = await lab.receiver(lab.switchNs, 'sw1');
        await using inside = await lab.receiver(netnsOf(pod), 'eth0');
        const toMac = attached?.host?.mac ?? '';
        lab.send(netnsOf(pod), 'eth0', [{ toMac, source: '10.0.0.5', destination: '10.9.9.9' }]);
        assert.deepEqual(
          (await wire.collect(1, isUdp)).map(({ source, vlan }) => [source, vlan]),
          [['10.0.0.5', 101]],
        );
        const back = { toMac: lab.trunk.mac, source: '10.9.9.9', destination: '10.0.0.5', vlans: [101] };
        lab.send(lab.switchNs, 'sw1', [back]);
        await inside.collect(1, (frame) => isUdp(frame) && frame.destination === '10.0.0.5');
        assert.deepEqual(await datapath.check(pod), []);
        const rejected = lab.pod([
          { ...lab.member(6, 102), attachment: { kind: 'vlanDevice', trunk: lab.trunk, vlanId: 102 } },
        ]);
        assert.throws(() => datapath.assertCoexistence(rejected, [pod]), { name: 'CoexistenceError' });
        // What `terway-agent uninstall` calls.
        await datapath.removeAll();
        assert.deepEqual(shownFilters(lab.node, 'eni1', 'egress'), []);
        assert.doesNotMatch(lab.ip('-o', 'link'), /cali/);
      },

    'the eBPF programs load, tag both families and drop packets without the right tag': async () => {
      using lab = new DatapathLab();
      await using datapath = lab.datapath();
      const pod = lab.pod([lab.member(5, 101)]);
      const [attached] = await datapath.add(pod);
      lab.gateways();
      await using wire = await lab.receiver(lab.switchNs, 'sw1');
      await using inside = await lab.receiver(netnsOf(pod), 'eth0');
      const toMac = attached?.host?.mac ?? '';
      lab.send(netnsOf(pod), 'eth0', [
        { toMac, source: '10.0.0.5', destination: '10.9.9.9' },
        { toMac, source: 'fd00::5', destination: 'fd99::9' },
      ]);
      const out = await wire.collect(2, isUdp);
      assert.deepEqual(
        out.map(({ source, vlan }) => [source, vlan]),
        [
          ['10.0.0.5', 101],
          ['fd00::5', 101],
        ],
      );
      const packet = { toMac: lab.trunk.mac, source: '10.9.9.9', destination: '10.0.0.5' };
      lab.send(lab.switchNs, 'sw1', [
        { ...packet, vlans: [999], payload: 'wrong' },
        { ...packet, vlans: [101, 6], payload: 'twice' },
        { ...packet, payload: 'plain' },
        { ...packet, vlans: [101], payload: 'right' },
      ]);
      const arrived = await inside.collect(1, (frame) => isUdp(frame) && frame.destination === '10.0.0.5');
      assert.deepEqual(
        arrived.map(({ payload }) => Buffer.from(payload, 'hex').toString()),
        ['right'],
      );
      const verdicts = await datapath.verdicts();
      assert.deepEqual(
        [verdicts.droppedWrongVlan, verdicts.droppedDoubleTag, verdicts.droppedMissingTag, verdicts.untagged],
        [1, 1, 1, 1],
      );
      assert.deepEqual(await datapath.check(pod), []);
      await datapath.remove(pod);
      await datapath.removeAll();
    },
  },
};
