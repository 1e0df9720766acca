import { type Lab, run } from './lab.ts';

/** Objects of ours on the node, by looking with other tools. */
export function leftovers(lab: Lab): string[] {
  const lines = (text: string) => text.split('\n').filter((line) => line.trim() !== '');
  return [
    ...lines(lab.ip('-o', 'link')).filter((line) => line.includes('cali')),
    ...lines(lab.ip('route', 'show', 'table', 'all', 'proto', '84')),
    ...lines(lab.ip('-6', 'route', 'show', 'table', 'all', 'proto', '84')),
    ...lines(lab.ip('rule')).filter((line) => !/^(0|32766|32767):/.test(line)),
    ...lines(lab.ip('-6', 'rule')).filter((line) => !/^(0|32766|32767):/.test(line)),
    ...lines(lab.ip('-o', 'addr')).filter((line) => /192\.168\.0\.10|fd10::10/.test(line)),
    // Of an ENI the empty hook stays, as nobody can tell whose it is; of a pod's veth it goes with the veth.
    ...lines(run('tc', '-n', lab.node, 'qdisc')).filter((line) => /clsact .* dev cali/.test(line)),
  ];
}
