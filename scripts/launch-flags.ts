/**
 * With what flags Node runs the control plane. Its garbage is short-lived, so a young generation of the default size (three
 * times 16 MB and more) would only be a third of the process's memory; what is promoted from a small one is mostly garbage by
 * the time of the next look, so the old generation is collected early. By itself Node takes no more than half of a container's
 * memory for the heap, and ends where the other half would have been enough.
 */
export const LAUNCH_FLAGS: readonly string[] = [
  '--max-semi-space-size=8',
  '--heap-growing-percent=20',
  '--max-old-space-size-percentage=75',
];

/**
 * With what flags Node runs the node agent, which is there once per node: it works seldom and for milliseconds, so what
 * optimised code would cost in memory is not worth it. `make bench` shows ADD within its budget; without these flags the agent
 * has 105 MB resident, with them 76.
 */
export const AGENT_FLAGS: readonly string[] = ['--max-semi-space-size=1', '--lite-mode', '--no-jitless'];
