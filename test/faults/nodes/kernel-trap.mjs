/**
 * Stands between the agent and its kernel helper, and ends the agent without warning at the request that the file `arm`
 * beside it names: before the request is passed on, or after it was done and before the answer is. What it knows of the
 * protocol is the length of frames (native/kernel/frame.h).
 */
import { spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const directory = import.meta.dirname;
const helper = spawn(join(directory, 'terway-kernel.real'), process.argv.slice(2), {
  stdio: ['pipe', 'pipe', 'inherit'],
});
helper.on('exit', (code) => process.exit(code ?? 1));

let armedId = '';
let count = 0;
/** Ids of requests whose answer ends the agent. */
const deadly = new Set();

function arm() {
  try {
    return JSON.parse(readFileSync(join(directory, 'arm'), 'utf8'));
  } catch {
    return undefined;
  }
}

function endAgent() {
  process.kill(process.ppid, 'SIGKILL');
  helper.kill('SIGKILL');
  process.exit(1);
}

/** Calls `onFrame` with every complete frame, its length included. */
function splitter(onFrame) {
  let rest = Buffer.alloc(0);
  return (chunk) => {
    rest = Buffer.concat([rest, chunk]);
    while (rest.length >= 4 && rest.length >= 4 + rest.readUInt32LE(0)) {
      const size = 4 + rest.readUInt32LE(0);
      onFrame(rest.subarray(0, size));
      rest = rest.subarray(size);
    }
  };
}

process.stdin.on(
  'data',
  splitter((frame) => {
    const trap = arm();
    if (trap !== undefined) {
      if (trap.id !== armedId) {
        armedId = trap.id;
        count = 0;
      }
      count += 1;
      writeFileSync(join(directory, 'count'), String(count));
      if (count === trap.at && trap.when === 'before') endAgent();
      if (count === trap.at) deadly.add(frame.readUInt32LE(4));
    }
    helper.stdin.write(frame);
  }),
);
process.stdin.on('end', () => helper.stdin.end());
helper.stdout.on(
  'data',
  splitter((frame) => {
    if (deadly.has(frame.readUInt32LE(4))) endAgent();
    process.stdout.write(frame);
  }),
);
