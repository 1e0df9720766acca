import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import * as $ecs from '@alicloud/ecs20140526';
import * as $vpc from '@alicloud/vpc20160428';
import * as $dara from '@darabonba/typescript';
import * as z from 'zod';
import type { CloudSimulator } from '../../sim/cloud/server.ts';
import { REGION } from '../../sim/cloud/test-network.ts';
import { sdkClients } from '../../sim/cloud/test-sdk.ts';
import { ensurePythonSdks } from '../../tools/programs/python-sdks.ts';

export type Product = 'Ecs' | 'Vpc';
export type Params = Readonly<Record<string, unknown>>;

/** A response as an SDK returns it: the body, with the API's field names, or the refusal. */
const responseSchema = z.union([
  z.object({ body: z.record(z.string(), z.unknown()) }),
  z.object({ code: z.string(), status: z.number() }),
]);
export type SdkResponse = z.output<typeof responseSchema>;

/** One SDK, pointed at a simulator. */
export interface SdkClient extends AsyncDisposable {
  call(product: Product, action: string, params: Params): Promise<SdkResponse>;
}

export type ConnectSdk = (simulator: CloudSimulator) => Promise<SdkClient>;

/** Runs the Python SDKs in a separate process. @param generation `core` is the older, `tea` the newer. */
export function pythonSdk(generation: 'core' | 'tea'): ConnectSdk {
  return async (simulator) => {
    const python = await ensurePythonSdks();
    const [key] = simulator.accessKeys;
    const args = [join(import.meta.dirname, 'driver.py'), generation, simulator.endpoint];
    const child = spawn(python, [...args, key?.accessKeyId ?? '', key?.accessKeySecret ?? '', REGION], {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: { ...process.env, NO_PROXY: '127.0.0.1', no_proxy: '127.0.0.1' },
    });
    const closed = new Promise<void>((resolve) => child.once('close', () => resolve()));
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    return {
      call: async (product, action, params) => {
        child.stdin.write(`${JSON.stringify({ product, action, params })}\n`);
        const { value, done } = await lines.next();
        if (done === true) throw new Error(`the ${generation} driver ended during ${action}`);
        const response = responseSchema.safeParse(JSON.parse(value));
        if (!response.success) throw new Error(`${generation}: ${action}: ${value}`);
        return response.data;
      },
      [Symbol.asyncDispose]: async () => {
        child.stdin.end();
        await closed;
      },
    };
  };
}

const modelClass = z.custom<{ new (map: object): $dara.Model }>((value) => typeof value === 'function');
const method = z.custom<(request: $dara.Model) => Promise<{ body?: $dara.Model }>>(
  (value) => typeof value === 'function',
);
const refusalSchema = z.object({ code: z.string(), statusCode: z.number() });

/** The official SDK that the product uses. */
export const typescriptSdk: ConnectSdk = async (simulator) => {
  const clients = sdkClients(simulator);
  return {
    call: async (product, action, params) => {
      const [client, models] = product === 'Ecs' ? [clients.ecs, $ecs] : [clients.vpc, $vpc];
      const Request = modelClass.parse(Reflect.get(models, `${action}Request`));
      const request = $dara.cast(params, new Request({}));
      const name = `${action.charAt(0).toLowerCase()}${action.slice(1)}`;
      try {
        const { body } = await method.parse(Reflect.get(client, name)).call(client, request);
        return responseSchema.parse({ body: body?.toMap() });
      } catch (error) {
        const refusal = refusalSchema.safeParse(error);
        if (!refusal.success) throw error;
        return { code: refusal.data.code, status: refusal.data.statusCode };
      }
    },
    [Symbol.asyncDispose]: async () => {},
  };
};
