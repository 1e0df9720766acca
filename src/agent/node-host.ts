import type { Server } from 'node:net';
import { join } from 'node:path';
import type { AgentConfig } from '../config/agent.ts';
import { closeServer } from '../telemetry/http-server.ts';
import { startAdminServer } from './admin-server.ts';
import { startCniServer } from './cni/server.ts';
import { installConflist } from './cni-files.ts';
import type { AgentHost } from './host.ts';
import { recordFilesIn } from './record-files.ts';
import { sandboxNetnsIn } from './sandbox-netns.ts';

/** This machine. */
export function nodeHost(
  { paths, datapath }: Pick<AgentConfig, 'paths' | 'datapath'>,
  monotonicMs: () => number,
): AgentHost {
  return {
    records: recordFilesIn(join(paths.state, 'pods')),
    netns: sandboxNetnsIn(paths.netns),
    async serve(handlers) {
      const cni = await startCniServer({
        socketPath: join(paths.run, 'cni.sock'),
        handle: (request, gone) => handlers.cni(request, gone),
        onAnswer: (answer) => handlers.onCniAnswer(answer),
        monotonicMs,
      });
      const admin = await startAdminServer(join(paths.run, 'agent.sock'), handlers);
      return {
        async [Symbol.asyncDispose]() {
          await Promise.all([closed(cni), closeServer(admin)]);
        },
      };
    },
    openForPods: () =>
      installConflist(paths.cniConf, { binDirectory: paths.cniBin, masqueradeMark: datapath.masqueradeMark }),
  };
}

/** Ends a server once its connections have ended. */
async function closed(server: Server): Promise<void> {
  await new Promise<void>((resolve) => {
    server.close(() => resolve());
  });
}
