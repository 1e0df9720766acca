import * as z from 'zod';

/** Messages from the background process of `cli.ts start` to the process that started it. */
export const supervisorMessageSchema = z.discriminatedUnion('type', [
  z.object({ type: z.literal('log'), line: z.string() }),
  z.object({ type: z.literal('ready') }),
  z.object({ type: z.literal('failed'), reason: z.string() }),
]);
export type SupervisorMessage = z.infer<typeof supervisorMessageSchema>;
