import { terwayNodeResource } from '../crds/node.ts';
import { podEniResource } from '../crds/pod-eni.ts';
import { podNetworkingResource } from '../crds/pod-networking.ts';
import type { Column } from '../util/terminal/table.ts';
import { count } from '../util/terminal/text.ts';
import { enisResponse } from '../wire/admin-channel.ts';
import { type CommandContext, orProblem } from './command.ts';
import { paragraph, type Report, tableLines } from './report.ts';
import { networkInterfaceResource } from './resources.ts';

/** `uninstall --check`: whether an ENI of this cluster is left: with its tags, or made by Terway and named by a record. 1 unless it is proven that none is. */
export async function uninstallCommand({ cluster, controlPlane }: CommandContext): Promise<Report> {
  const [asked, podNetworkings, podEnis, networkInterfaces, nodes] = await Promise.all([
    orProblem(controlPlane.ask({ command: 'enis' }, enisResponse)),
    cluster.list(podNetworkingResource),
    cluster.list(podEniResource),
    cluster.list(networkInterfaceResource),
    cluster.list(terwayNodeResource),
  ]);
  const objects = {
    podnetworkings: podNetworkings.length,
    podenis: podEnis.length,
    networkinterfaces: networkInterfaces.length,
    nodes: nodes.length,
  };
  const enis = ('answer' in asked ? asked.answer.enis : []).map((eni) => ({
    ...eni,
    remedy: remedyOf(kindOf(eni.namedBy)),
  }));
  const columns: Column<(typeof enis)[number]>[] = [
    { title: 'ENI', value: ({ eniID }) => eniID },
    { title: 'TYPE', value: ({ type }) => type, dropOrder: 1 },
    { title: 'STATUS', value: ({ status }) => status, dropOrder: 2 },
    { title: 'NAMED BY', value: ({ namedBy }) => namedBy ?? 'nothing', minWidth: 14, keep: 'end' },
  ];
  const left = Object.entries(objects).filter(([, number]) => number > 0);
  const leftText = left.map(([kind, number]) => `${number} ${kind}`).join(', ');
  const problem = 'problem' in asked ? asked.problem : undefined;
  return {
    data: {
      proven: problem === undefined && enis.length === 0,
      ...(problem === undefined ? {} : { problem }),
      enis,
      objects,
    },
    lines: (screen) => {
      if (problem !== undefined) {
        const hint =
          left.length === 0
            ? 'None of our objects is left, but that does not prove that no ENI is.'
            : `These objects are left, and ENIs with them: ${leftText}.`;
        return [
          ...paragraph(`The cloud cannot be checked without a control plane: ${problem}.`, screen).map(
            screen.style.red,
          ),
          ...paragraph(hint, screen),
        ];
      }
      const objectsText = left.length === 0 ? 'None of our objects is left.' : `Objects left: ${leftText}.`;
      if (enis.length === 0)
        return [screen.style.green('No ENI of this cluster is left.'), ...paragraph(objectsText, screen)];
      const kinds = [...new Set(enis.map(({ namedBy }) => kindOf(namedBy)))];
      const remedies = kinds.flatMap((kind) => paragraph(`${kind}: ${remedyOf(kind)}`, screen, '    ', '  '));
      return [
        ...tableLines(columns, enis, screen),
        '',
        ...paragraph(
          `${count(enis.length, 'ENI')} of this cluster. ${objectsText} Uninstalling now would leave them behind, and they keep their addresses.`,
          screen,
        ),
        '',
        'How to remove them, by owner:',
        ...remedies,
      ];
    },
    exitCode: problem === undefined && enis.length === 0 ? 0 : 1,
  };
}

/** The kind in `PodENI default/web-0`. */
function kindOf(namedBy = 'nothing'): string {
  return namedBy.split(' ')[0] ?? '';
}

function remedyOf(kind: string): string {
  switch (kind) {
    case 'PodENI':
      return 'delete the pod; for a fixed address without a pod: kubectl delete podeni -n NAMESPACE NAME';
    case 'Node':
      return 'remove the node from the cluster; its shared ENIs and its trunk are deleted once no pod uses them';
    case 'NetworkInterface':
      return 'kubectl delete networkinterfaces.network.alibabacloud.com NAME';
    default:
      return 'kubectl terway gc --apply, or wait: the collector releases it later';
  }
}
