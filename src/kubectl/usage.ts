const GLOBAL = `
  --kubeconfig FILE        kubeconfig (default: as kubectl finds it)
  --context NAME           context of the kubeconfig
  -n, --namespace NS       namespace of the pod (default: that of the context)
  -o, --output FORMAT      table, json or yaml (default table)
  --no-color               no colours; they are used on a terminal only
  --socket PATH            admin socket of a control plane that runs as a process; also TERWAY_ADMIN_SOCKET
  --system-namespace NS    namespace of the control plane (default kube-system)
  --control-plane NAME     name of the control plane (default: from the labels of its pods)

Exit code: 0; 1 when something is wrong or could not be checked; 2 when the command line is wrong.
`;

const COMMANDS: Readonly<Record<string, { form: string; about: string; more: string }>> = {
  status: {
    form: 'status',
    about: 'a health check in ten lines',
    more: 'Exit code 1 when a line is BAD; a line with ? could not be checked.',
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
  pool: {
    form: 'pool NODE',
    about: 'addresses of the ENIs that the pods of a node share',
    more: 'Exit code 1 when pods wait for an address, or a condition of the pool is False.',
  },
  vswitches: {
    form: 'vswitches',
    about: 'free and reserved addresses of the vSwitches in use',
    more: 'Exit code 1 when one is full.',
  },
  gc: {
    form: 'gc --plan | --apply',
    about: 'ENIs that no object refers to; release them now',
    more: `--apply releases what the collector would release by its own rules: seen without an owner in two rounds, older than
collector.minimumAge. While the brake is on because too many look orphaned, only --override-brake releases any.`,
  },
  quota: {
    form: 'quota',
    about: 'cloud API calls in this minute, by API',
    more: 'Exit code 1 when calls wait for the next minute.',
  },
  adopt: {
    form: 'adopt [--apply]',
    about: 'what another control plane created, and whether this one manages it',
    more: `Records of Terway's control plane are adopted automatically; this lists which are, and what blocks the others. --apply has
    the control plane check those again now. Exit code 1 when something is not adopted.`,
  },
  'go-back': {
    form: 'go-back --check',
    about: "whether Terway's control plane can take over",
    more: `Exit code 0 when no ENI or address is on its way and no pool asks for more, as with poolGrowth: false in the configuration
of the control plane. It changes nothing.`,
  },
  bundle: {
    form: 'bundle [-o FILE.tar.gz]',
    about: 'objects, events, logs and answers in one file, without secrets',
    more: 'errors.json inside lists what could not be collected.',
  },
  uninstall: {
    form: 'uninstall --check',
    about: 'whether ENIs of this cluster are left in the cloud, and how to remove them',
    more: 'Exit code 0 only when it is proven that none is left. It removes nothing.',
  },
};

const WIDTH = Math.max(...Object.values(COMMANDS).map(({ form }) => form.length)) + 3;

/** All commands. */
export const USAGE = `kubectl terway: inspects the network that terway-controlplane gives to pods

${Object.values(COMMANDS)
  .map(({ form, about }) => `  ${form.padEnd(WIDTH)}${about}`)
  .join('\n')}
${GLOBAL}`;

/** One command. */
export function commandUsage(command: string): string {
  const known = COMMANDS[command];
  return known === undefined ? USAGE : `kubectl terway ${known.form}: ${known.about}\n\n${known.more}\n${GLOBAL}`;
}
