import { join } from 'node:path';
import type * as z from 'zod';
import type { ClusterAccess } from '../cluster/access.ts';
import type { CommandResult } from '../cluster/command.ts';
import type { OperatorLab } from './support.ts';

/** How the plugin is called. */
export interface Asked {
  /** Of the control plane's admin channel. Default: that of the operator's control plane. */
  socket?: string;
  /** Folders in front of the PATH. */
  path?: readonly string[];
  /** By kubectl, which finds the plugin on the PATH, instead of by itself: that costs as much again. */
  byKubectl?: boolean;
}

/** `kubectl terway` against the control plane of a operator, as shipped. */
export class Plugin {
  readonly #cluster: ClusterAccess;
  readonly #operator: OperatorLab;

  constructor(cluster: ClusterAccess, operator: OperatorLab) {
    this.#cluster = cluster;
    this.#operator = operator;
  }

  /** Where its executable and that of the control plane are. */
  get dist(): string {
    return join(this.#operator.lab.stateDir, 'dist');
  }

  run(args: readonly string[], { socket, path = [], byKubectl = false }: Asked = {}): Promise<CommandResult> {
    const options = {
      path: [...path, this.dist],
      env: { TERWAY_ADMIN_SOCKET: socket ?? this.#operator.controlPlane.adminSocket },
    };
    return byKubectl
      ? this.#cluster.run('kubectl', ['terway', ...args], options)
      : this.#cluster.run(join(this.dist, 'kubectl-terway'), args, options);
  }

  async json<T>(args: readonly string[], schema: z.ZodType<T>, asked: Asked = {}): Promise<{ code: number; data: T }> {
    const { stdout, stderr, code } = await this.run([...args, '-o', 'json'], asked);
    if (stdout === '') throw new Error(`no output: ${stderr}`);
    return { code, data: schema.parse(JSON.parse(stdout)) };
  }
}
