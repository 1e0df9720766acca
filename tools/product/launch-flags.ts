/**
 * Node's flags for the control plane. Its garbage is short-lived, so a young generation of the default size (three times 16 MB
 * and more) would waste a third of the process's memory. With a small one, most objects that are promoted soon become garbage,
 * so the old generation is collected early. By default Node limits the heap to half of a container's memory, and would run out
 * of heap with the other half unused.
 */
export const LAUNCH_FLAGS: readonly string[] = [
  '--max-semi-space-size=8',
  '--heap-growing-percent=20',
  '--max-old-space-size-percentage=75',
];

/**
 * Node's flags for the node agent, which runs on every node. It is active rarely and for milliseconds, so optimised code is not
 * worth its memory. With these flags ADD stays within its budget (`make bench`), and the agent has 76 MB resident instead
 * of 105.
 */
export const AGENT_FLAGS: readonly string[] = ['--max-semi-space-size=1', '--lite-mode', '--no-jitless'];
