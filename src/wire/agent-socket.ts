import * as z from 'zod';

/** Responses of the node agent on its socket, used by both ends. */

const addressSchema = z.object({ address: z.string() });

/** `terway-agent show`. */
export const agentState = z.object({
  node: z.string(),
  /** Why the node cannot serve pods; absent when it can. */
  problem: z.string().exactOptional(),
  waiting: z.number(),
  /** Packets by verdict of the tag programs. */
  verdicts: z.record(z.string(), z.number()),
  sandboxes: z.array(
    z.object({
      phase: z.string(),
      attachment: z.object({
        namespace: z.string(),
        name: z.string(),
        containerId: z.string(),
        interfaces: z.array(
          z.object({
            name: z.string(),
            ipv4: addressSchema.optional(),
            ipv6: addressSchema.optional(),
            attachment: z.object({ kind: z.string(), vlanId: z.number().optional() }),
          }),
        ),
      }),
      attached: z.array(z.object({ host: z.object({ name: z.string() }).optional() })).optional(),
    }),
  ),
});
/** The response may have more fields, which `--json` prints. */
export type AgentState = z.input<typeof agentState>;

const deviations = z.array(z.object({ pod: z.string().optional(), message: z.string() }));
export type Deviations = z.output<typeof deviations>;

/** `terway-agent check` and `repair`. */
export const agentReport = z.object({
  repaired: deviations,
  removed: deviations,
  failed: deviations,
  inPods: deviations.default([]),
});
export type AgentReport = z.input<typeof agentReport>;
