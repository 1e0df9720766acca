import { expect } from 'vitest';
import type { KubeClient } from '../../../src/kube/client.ts';
import type { ApiTransport } from '../../../src/kube/transport.ts';
import type { HasMetadata, Resource } from '../../../src/kube/types.ts';
import type { Clock } from '../../../src/util/clock.ts';
import { isRecord } from '../../../src/util/json.ts';

/** An API server, real or modelled, that a case is run against. */
export interface Server {
  transport: ApiTransport;
  client: KubeClient;
  clock: Clock;
  /** Empty, and for this case alone. */
  namespace: string;
  /** Makes the server forget its history, at once or after a while. */
  forgetHistory(): void;
}

/** By their titles. Each must hold for both kinds of server; where they differ, the real one decides. */
export type Cases = Readonly<Record<string, (server: Server) => Promise<void>>>;

export const GROUP = 'network.alibabacloud.com';
export const CUSTOM_VERSION = `${GROUP}/v1beta1`;
const WAIT_MS = 60_000;

/** Collections that cases use. `secrets` is one that the real server keeps no cache of. */
export function paths({ namespace }: Server) {
  const core = `/api/v1/namespaces/${namespace}`;
  const custom = `/apis/${CUSTOM_VERSION}`;
  return {
    configMaps: `${core}/configmaps`,
    secrets: `${core}/secrets`,
    pods: `${core}/pods`,
    podEnis: `${custom}/namespaces/${namespace}/podenis`,
    podNetworkings: `${custom}/podnetworkings`,
    leases: `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases`,
    events: `/apis/events.k8s.io/v1/namespaces/${namespace}/events`,
  };
}

export interface TestObject extends HasMetadata {
  data?: Record<string, string>;
  spec?: Record<string, unknown>;
  status?: Record<string, unknown>;
}

export const configMapResource: Resource<TestObject> = {
  group: '',
  version: 'v1',
  plural: 'configmaps',
  kind: 'ConfigMap',
  namespaced: true,
};
export const podResource: Resource<TestObject> = {
  group: '',
  version: 'v1',
  plural: 'pods',
  kind: 'Pod',
  namespaced: true,
};
export const podEniResource: Resource<TestObject> = {
  group: GROUP,
  version: 'v1beta1',
  plural: 'podenis',
  kind: 'PodENI',
  namespaced: true,
};

export function configMap(name: string, rest: object = {}, metadata: object = {}): object {
  return { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, ...metadata }, ...rest };
}

export function podEni(name: string, rest: object = {}, metadata: object = {}): object {
  return { apiVersion: CUSTOM_VERSION, kind: 'PodENI', metadata: { name, ...metadata }, ...rest };
}

export function pod(name: string, spec: object = {}, metadata: object = {}): object {
  const containers = [{ name: 'main', image: 'pause' }];
  return { apiVersion: 'v1', kind: 'Pod', metadata: { name, ...metadata }, spec: { containers, ...spec } };
}

/** An answer whose body was read. */
export interface Answer {
  status: number;
  retryAfter: string | undefined;
  body: Record<string, unknown>;
  metadata: Record<string, unknown>;
}

export async function call(
  { transport }: Server,
  method: string,
  path: string,
  body?: unknown,
  contentType?: string,
): Promise<Answer> {
  const text = body === undefined || typeof body === 'string' ? body : JSON.stringify(body);
  const answer = await transport.request({ method, path, body: text, contentType });
  const parsed: unknown = JSON.parse(answer.body);
  const read = isRecord(parsed) ? parsed : {};
  return { ...answer, body: read, metadata: isRecord(read['metadata']) ? read['metadata'] : {} };
}

/** {@link call} of something that must succeed. */
export async function succeed(
  server: Server,
  method: string,
  path: string,
  body?: unknown,
  contentType?: string,
): Promise<Answer> {
  const answer = await call(server, method, path, body, contentType);
  if (answer.status >= 300) throw new Error(`${method} ${path}: ${JSON.stringify(answer.body)}`);
  return answer;
}

export const MERGE = 'application/merge-patch+json';
export const JSON_PATCH = 'application/json-patch+json';
export const STRATEGIC_MERGE = 'application/strategic-merge-patch+json';

export function merge(server: Server, path: string, body: object): Promise<Answer> {
  return call(server, 'PATCH', path, body, MERGE);
}

export function jsonPatch(server: Server, path: string, body: unknown): Promise<Answer> {
  return call(server, 'PATCH', path, body, JSON_PATCH);
}

/** A refusal as clients read it: status, reason, and what of message and details the case names. */
export function expectRefusal(
  { status, body }: Answer,
  expected: { code: number; reason: string; message?: string; details?: Record<string, unknown> },
): void {
  expect({ status, ...body }).toMatchObject({
    status: 'Failure',
    kind: 'Status',
    apiVersion: 'v1',
    ...expected,
  });
  expect(status).toBe(expected.code);
}

/** Fields and reasons of what a 422 objects to, each once: the real server names some twice. */
export function causesOf({ body }: Answer): string[] {
  const details = isRecord(body['details']) ? body['details'] : {};
  const causes: unknown[] = Array.isArray(details['causes']) ? details['causes'] : [];
  const texts = causes.map((cause) => (isRecord(cause) ? `${String(cause['field'])} ${String(cause['reason'])}` : ''));
  return [...new Set(texts)].sort();
}

export function namesOf({ body }: Answer): unknown[] {
  const items: unknown[] = Array.isArray(body['items']) ? body['items'] : [];
  return items.map((item) => (isRecord(item) && isRecord(item['metadata']) ? item['metadata']['name'] : undefined));
}

export function versionOf({ metadata }: Answer): string {
  return String(metadata['resourceVersion']);
}

/** One line of a watch. */
export interface RawEvent {
  type: unknown;
  object: Record<string, unknown>;
  metadata: Record<string, unknown>;
}

/** Reads a watch until `isEnough` says so or it ends. */
export async function watch(
  { transport, clock }: Server,
  path: string,
  isEnough: (events: readonly RawEvent[]) => boolean = () => false,
): Promise<RawEvent[]> {
  const abort = new AbortController();
  const timer = clock.schedule(WAIT_MS, () => abort.abort(new Error(`the watch of ${path} is not over yet`)));
  try {
    const answer = await transport.openStream({ method: 'GET', path, signal: abort.signal });
    if (answer.state === 'refused') throw new Error(`the watch was refused: ${answer.body}`);
    const events: RawEvent[] = [];
    let rest = '';
    for await (const chunk of answer.chunks) {
      const lines = (rest + chunk).split('\n');
      rest = lines.pop() ?? '';
      events.push(...lines.filter((line) => line !== '').map(eventOf));
      if (isEnough(events)) break;
    }
    return events;
  } finally {
    timer.cancel();
  }
}

function eventOf(line: string): RawEvent {
  const parsed: unknown = JSON.parse(line);
  const { type, object } = isRecord(parsed) ? parsed : {};
  const read = isRecord(object) ? object : {};
  return { type, object: read, metadata: isRecord(read['metadata']) ? read['metadata'] : {} };
}

/** `ADDED a`, `BOOKMARK`. */
export function summary(events: readonly RawEvent[]): string[] {
  return events.map(({ type, metadata: { name } }) =>
    typeof name === 'string' ? `${String(type)} ${name}` : String(type),
  );
}

export const atLeast = (count: number) => (events: readonly RawEvent[]) => events.length >= count;

/** The refusal of a watch. */
export async function refusedWatch({ transport }: Server, path: string): Promise<Answer> {
  const answer = await transport.openStream({ method: 'GET', path });
  if (answer.state === 'open') throw new Error('the watch was not refused');
  const body: unknown = JSON.parse(answer.body);
  return { ...answer, body: isRecord(body) ? body : {}, metadata: {} };
}

/** Repeats a question until the answer satisfies. */
export async function eventually<T>(
  server: Server,
  ask: () => Promise<T>,
  isRight: (answer: T) => boolean,
): Promise<T> {
  const untilMs = server.clock.monotonicMs() + WAIT_MS;
  for (;;) {
    const answer = await ask();
    if (isRight(answer)) return answer;
    if (server.clock.monotonicMs() > untilMs) throw new Error(`still not as expected: ${JSON.stringify(answer)}`);
    await server.clock.sleep(200);
  }
}
