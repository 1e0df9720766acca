/**
 * With what flags Node runs the control plane. Its garbage is short-lived; a young generation of the default size (16 MB and
 * more, times three) would be a third of the process's memory. What is promoted from it is mostly garbage by then, so the old generation is collected early.
 */
export const LAUNCH_FLAGS: readonly string[] = ['--max-semi-space-size=8', '--heap-growing-percent=20'];
