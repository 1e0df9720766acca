import * as z from 'zod';

/** What the background process of `cli.ts start` tells the one that started it. */
export const supervisorMessageSchema = z.discriminatedUnion('type', [
  z.object({ type: z.literal('log'), line: z.string() }),
  z.object({ type: z.literal('ready') }),
  z.object({ type: z.literal('failed'), reason: z.string() }),
]);
export type SupervisorMessage = z.infer<typeof supervisorMessageSchema>;
