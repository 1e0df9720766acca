import { pad, textWidth } from '../src/util/terminal/text.ts';
import type { Narrator } from './narrator.ts';
import type { PlainStage } from './plain-stage.ts';
import type { RealStage } from './real-stage.ts';
import type { Stage } from './stage.ts';

type Command = readonly [command: string, what: string];

/** What somebody can try out once the tour is over. */
export interface Exploration {
  /** Called first. */
  prepare?: (narrator: Narrator) => Promise<void>;
  /** Lines for a shell that come before the commands. */
  setup: readonly string[];
  commands: readonly Command[];
  /** Where something answers. */
  addresses: readonly Command[];
}

const WHAT_THERE_IS: Command = ['kubectl get podnetworkings,podenis,networkinterfaces -o wide', 'what there is'];
const MORE_PODS: Command = ['kubectl scale deployment web --replicas=12', 'more pods'];
const COMES_BACK: Command = ['kubectl delete pod database-1', 'it comes back with its address'];

export function plainExploration({ telemetryUrl, cluster }: PlainStage): Exploration {
  return {
    setup: [`export KUBECONFIG=${shellQuoted(cluster.kubeconfigPath)}`],
    commands: [
      WHAT_THERE_IS,
      ['kubectl describe podeni database-0', 'all about one pod’s ENI'],
      MORE_PODS,
      ['kubectl get podenis --watch', 'see them come'],
      COMES_BACK,
      ['kubectl get events --field-selector involvedObject.kind=Pod', 'what was done for pods'],
    ],
    addresses: [
      ['Control plane', `${telemetryUrl}/readyz`],
      ['', `${telemetryUrl}/metrics`],
    ],
  };
}

export function realExploration(stage: RealStage): Exploration {
  const { manifests, workloads } = stage.samples;
  return {
    prepare: (narrator) =>
      narrator.step('the samples once more, so that there are pods to try things with', async () => {
        await stage.apply(...manifests);
        for (const { name, replicas } of workloads) {
          await stage.pods.untilServed(name, replicas, { signal: stage.signal });
        }
      }),
    setup: [
      `STATE=${shellQuoted(stage.stateDir)}`,
      `export KUBECONFIG=$STATE/${stage.pathBelowState(stage.cluster.kubeconfigPath)}`,
      `NETNS=$STATE/${netnsOf(stage)}`,
    ],
    commands: [
      ['kubectl get pods,podenis -o wide', 'pods and their ENIs'],
      ['kubectl exec -it database-0 -- sh', 'in a pod: ip addr; ping; wget'],
      COMES_BACK,
      MORE_PODS,
      WHAT_THERE_IS,
      ['kubectl get nodes.network.alibabacloud.com node-1 -o yaml', 'shared ENIs: which pod has which address'],
      ['kubectl exec -n kube-system ds/terway-agent -- terway-agent show', 'what an agent knows'],
      ['kubectl logs -n kube-system deploy/terway-controlplane', 'what the control plane did'],
      ['nsenter --net=$NETNS tcpdump -eni eth1', 'frames of a trunk, with tags'],
      ['tail -f $STATE/vpc/vpc-switch.log', 'what the VPC refuses'],
    ],
    addresses: [],
  };
}

/** Says how to use what runs. */
export async function tellHowToExplore(narrator: Narrator, stage: Stage, exploration: Exploration): Promise<void> {
  const { style } = narrator.screen;
  const { lab, binaries } = stage;
  narrator.chapter('Now it is yours', 'Everything goes on running. In another terminal:');
  if (exploration.prepare !== undefined) {
    await exploration.prepare(narrator);
    narrator.lines('');
  }
  narrator.lines(...exploration.setup, `alias kubectl=${shellQuoted(`${binaries}/kubectl`)}`, '');
  const width = Math.max(...exploration.commands.map(([command]) => textWidth(command)));
  const lines = exploration.commands.map(([command, what]) => `${pad(command, width)}  ${style.dim(`# ${what}`)}`);
  const fits = lines.every((line) => textWidth(line) <= narrator.width);
  narrator.lines(...(fits ? lines : exploration.commands.map(([command]) => command)));
  const addresses: Command[] = [
    ...exploration.addresses,
    ['Simulated cloud', `http://${lab.endpoint}  ${style.dim('ECS and VPC, for any SDK')}`],
    ['its own view', `${lab.adminUrl}/state`],
    ['', `${lab.adminUrl}/journal`],
  ];
  const labelWidth = Math.max(...addresses.map(([label]) => label.length));
  narrator.lines(
    '',
    ...addresses.map(([label, address]) => `${style.dim(pad(label, labelWidth))}  ${address}`),
    '',
    'Ctrl-C ends everything and removes what was made.',
  );
}

function netnsOf(stage: RealStage): string {
  const [node] = stage.wiredNodes;
  return node === undefined ? '' : stage.pathBelowState(node.real.netnsPath);
}

function shellQuoted(text: string): string {
  return /^[\w./@+-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
