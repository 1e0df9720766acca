import type { Narrator } from './narrator.ts';
import type { Stage } from './stage.ts';
import { pad, textWidth } from './text.ts';

const COMMANDS: readonly [command: string, what: string][] = [
  ['kubectl get podnetworkings,podenis,networkinterfaces -o wide', 'what there is'],
  ['kubectl describe podeni database-0', 'all about one pod’s ENI'],
  ['kubectl scale deployment web --replicas=12', 'more pods'],
  ['kubectl get podenis --watch', 'see them come'],
  ['kubectl delete pod database-1', 'it comes back with its address'],
  ['kubectl get events --field-selector involvedObject.kind=Pod', 'what was done for pods'],
];

/** Says how to use what runs. */
export function tellHowToExplore(narrator: Narrator, stage: Stage): void {
  const { style } = narrator.screen;
  const { cluster, lab, telemetryUrl, binaries } = stage;
  narrator.chapter('Now it is yours', 'Everything goes on running. In another terminal:');
  narrator.lines(`export KUBECONFIG=${shellQuoted(cluster.kubeconfigPath)}`);
  narrator.lines(`alias kubectl=${shellQuoted(`${binaries}/kubectl`)}`, '');
  const width = Math.max(...COMMANDS.map(([command]) => command.length));
  const lines = COMMANDS.map(([command, what]) => `${pad(command, width)}  ${style.dim(`# ${what}`)}`);
  const fits = lines.every((line) => textWidth(line) <= narrator.width);
  narrator.lines(...(fits ? lines : COMMANDS.map(([command]) => command)));
  narrator.lines(
    '',
    `${style.dim('Control plane  ')}  ${telemetryUrl}/readyz`,
    `${style.dim('               ')}  ${telemetryUrl}/metrics`,
    `${style.dim('Simulated cloud')}  http://${lab.endpoint}  ${style.dim('ECS and VPC, for any SDK')}`,
    `${style.dim('its own view   ')}  ${lab.adminUrl}/state`,
    `${style.dim('               ')}  ${lab.adminUrl}/journal`,
    '',
    'Ctrl-C ends everything and removes what was made.',
  );
}

function shellQuoted(text: string): string {
  return /^[\w./@+-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
