const GLOBAL = `
  --kubeconfig FILE        kubeconfig (default: as kubectl finds it)
  --context NAME           context of the kubeconfig
  -n, --namespace NS       namespace of the pod (default: that of the context)
  -o, --output FORMAT      table, json or yaml (default table)
  --no-color               no colours; they are used on a terminal only
  --socket PATH            admin socket of a control plane that runs as a process; also TERWAY_ADMIN_SOCKET
  --system-namespace NS    namespace of the control plane (default kube-system)
  --control-plane NAME     name of the control plane (default: as its pods are labelled)

Exit code: 0, 1 when something is wrong or could not be asked, 2 when the command line is.
`;

const COMMANDS: Readonly<Record<string, { form: string; about: string; more: string }>> = {
  status: {
    form: 'status',
    about: 'whether all is well, in ten lines',
    more: 'Exit code 1 when a line is BAD; a line with ? could not be known.',
  },
  explain: {
    form: 'explain pod NS/NAME',
    about: "what happened to a pod's network, and why it waits",
    more: 'Also: explain pod -n NS NAME. Exit code 1 for a pod that does not work, or does not exist.',
  },
  nodes: {
    form: 'nodes',
    about: 'trunk, member ENIs and waiting pods of each node',
    more: 'Exit code 1 when a node that should have a trunk has none.',
  },
  vswitches: {
    form: 'vswitches',
    about: 'free and reserved addresses of the vSwitches in use',
    more: 'Exit code 1 when one is full.',
  },
  gc: {
    form: 'gc --plan | --apply',
    about: 'ENIs that nothing names; release them now',
    more: `--apply releases what the collector would release by its own rules: seen without an owner in two rounds, older than
collector.minimumAge. When so many look orphaned that the brake is on, it releases none but with --override-brake.`,
  },
  quota: {
    form: 'quota',
    about: 'calls to the cloud of this minute, by API',
    more: 'Exit code 1 when calls wait for the next minute.',
  },
  adopt: {
    form: 'adopt [--apply]',
    about: 'what another control plane made, and whether this one looks after it',
    more: `Records of Terway's control plane are adopted by themselves; this tells which are, and what hinders the others. --apply has
the control plane look at those again now. Exit code 1 when something is not adopted.`,
  },
  bundle: {
    form: 'bundle [-o FILE.tar.gz]',
    about: 'objects, events, logs and answers in one file, without secrets',
    more: 'What could not be had is told in errors.json inside.',
  },
  uninstall: {
    form: 'uninstall --check',
    about: 'whether ENIs of this cluster are left in the cloud, and how they go',
    more: 'Exit code 0 only when it is proven that none is left. It removes nothing.',
  },
};

const WIDTH = Math.max(...Object.values(COMMANDS).map(({ form }) => form.length)) + 3;

/** All commands. */
export const USAGE = `kubectl terway: looks into the network that terway-controlplane gives to pods

${Object.values(COMMANDS)
  .map(({ form, about }) => `  ${form.padEnd(WIDTH)}${about}`)
  .join('\n')}
${GLOBAL}`;

/** One command. */
export function commandUsage(command: string): string {
  const known = COMMANDS[command];
  return known === undefined ? USAGE : `kubectl terway ${known.form}: ${known.about}\n\n${known.more}\n${GLOBAL}`;
}
