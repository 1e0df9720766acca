/** Runs tasks from standard input, a line each, until that ends, and writes a line about each. */
import { createInterface } from 'node:readline';
import { resultOf, taskSchema } from './tasks.ts';

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await resultOf(taskSchema.parse(JSON.parse(line))))}\n`);
}
