import { agentReport, agentState, type Deviations } from '../wire/agent-socket.ts';

/** Prints the agent's state as a table; nothing with `json`, which was already printed. Returns the exit code. */
export function printState(body: string, json: boolean): number {
  const state = agentState.parse(JSON.parse(body));
  if (!json) {
    const rows = [['POD', 'INTERFACE', 'ADDRESS', 'KIND', 'VLAN', 'HOST LINK', 'SANDBOX', 'STATE']];
    for (const { phase, attachment, attached } of state.sandboxes) {
      for (const [at, { name, ipv4, ipv6, attachment: how }] of attachment.interfaces.entries()) {
        rows.push([
          `${attachment.namespace}/${attachment.name}`,
          name,
          [ipv4?.address, ipv6?.address].filter(Boolean).join(','),
          how.kind,
          how.vlanId === undefined ? '-' : String(how.vlanId),
          attached?.[at]?.host?.name ?? '-',
          attachment.containerId.slice(0, 12),
          phase,
        ]);
      }
    }
    const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
    for (const row of rows) {
      process.stdout.write(
        `${row
          .map((cell, column) => cell.padEnd(widths[column] ?? 0))
          .join('  ')
          .trimEnd()}\n`,
      );
    }
    process.stdout.write(`\nnode ${state.node}: ${state.problem ?? 'ready'}; ${state.waiting} sandbox(es) waiting\n`);
    const counts = Object.entries(state.verdicts).filter(([, count]) => count > 0);
    process.stdout.write(`trunk packets: ${counts.map(([name, count]) => `${name} ${count}`).join(', ') || 'none'}\n`);
  }
  return state.problem === undefined ? 0 : 1;
}

/** Prints one line per finding. Differences inside pods are not the node's fault. Returns 1 when the node differs or a repair failed. */
export function printReport(body: string, json: boolean, repair: boolean): number {
  const { repaired, removed, failed, inPods } = agentReport.parse(JSON.parse(body));
  if (!json) {
    const print = (heading: string, deviations: Deviations) => {
      for (const { pod, message } of deviations) {
        process.stdout.write(`${heading}  ${pod === undefined ? '' : `${pod}: `}${message}\n`);
      }
    };
    print(repair ? 'mended   ' : 'to mend  ', repaired);
    print(repair ? 'removed  ' : 'to remove', removed);
    print('failed   ', failed);
    print('in pod   ', inPods);
    if (repaired.length + removed.length + failed.length === 0) process.stdout.write('the node is as it should be\n');
  }
  return failed.length > 0 || (!repair && repaired.length + removed.length > 0) ? 1 : 0;
}
