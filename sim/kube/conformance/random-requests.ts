import { isRecord } from '../../../src/util/json.ts';
import type { Random } from '../../../src/util/random.ts';
import { CUSTOM_VERSION } from './server.ts';

/** What a server is asked; placeholders such as `$uid:PodENI/a` stand for what that server said before. */
export interface RandomRequest {
  method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  path: string;
  body?: unknown;
  contentType?: string;
}

const NAMES = ['a', 'b', 'c'];
const MERGE = 'application/merge-patch+json';
const JSON_PATCH = 'application/json-patch+json';

/** Requests that meet each other: few names, few values, some of them wrong. */
export class RandomRequests {
  readonly #random: Random;
  readonly #namespace: string;

  constructor(random: Random, namespace: string) {
    this.#random = random;
    this.#namespace = namespace;
  }

  next(): RandomRequest {
    const kind = this.#pick(['PodENI', 'PodENI', 'ConfigMap', 'Pod']);
    const collection = this.#collection(kind);
    const name = this.#pick(NAMES);
    const path = `${collection}/${name}`;
    const where = kind === 'ConfigMap' ? path : this.#pick([path, path, `${path}/status`]);
    return this.#pick([
      () => this.#creation(kind, collection, name),
      () => this.#creation(kind, collection, name),
      () => ({ method: 'PATCH' as const, path: where, contentType: MERGE, body: this.#object(kind, name, where) }),
      () => ({ method: 'PATCH' as const, path: where, contentType: MERGE, body: this.#object(kind, name, where) }),
      () => ({ method: 'PATCH' as const, path: where, contentType: JSON_PATCH, body: this.#operations(kind) }),
      () => ({ method: 'PUT' as const, path: where, body: this.#replacement(kind, name, where) }),
      () => ({ method: 'DELETE' as const, path, body: this.#deletion(kind, name) }),
      () => ({
        method: 'GET' as const,
        path: this.#pick([path, `${collection}?limit=2`, `${collection}?${this.#selector()}`]),
      }),
    ])();
  }

  #creation(kind: string, collection: string, name: string): RandomRequest {
    const object = this.#object(kind, name, collection);
    const { resourceVersion: _, uid: __, ...metadata } = isRecord(object['metadata']) ? object['metadata'] : {};
    const body = { ...this.#type(kind), ...this.#content(kind), ...object, metadata: { ...metadata, name } };
    return { method: 'POST', path: collection, body };
  }

  #replacement(kind: string, name: string, where: string): object {
    const object = this.#object(kind, name, where);
    const metadata = isRecord(object['metadata']) ? object['metadata'] : {};
    const current = this.#chance(0.8) ? { resourceVersion: `$version:${kind}/${name}` } : {};
    return { ...this.#type(kind), ...this.#content(kind), ...object, metadata: { name, ...current, ...metadata } };
  }

  #type(kind: string): object {
    return { kind, apiVersion: kind === 'PodENI' ? CUSTOM_VERSION : 'v1' };
  }

  #content(kind: string): object {
    return kind === 'Pod'
      ? { spec: { containers: [{ name: 'c', image: 'i' }], ...this.#some({ nodeName: ['n'] }) } }
      : {};
  }

  /** Part of an object: of a merge patch, or the whole of it. */
  #object(kind: string, name: string, where: string): Record<string, unknown> {
    const metadata = this.#some({
      labels: [{ l: '1' }, { l: '2' }, { l: null }, {}, { 'not good': '1' }, { l: 5 }],
      annotations: [{ a: '1' }, null],
      finalizers: [['t.io/x'], ['t.io/x', 't.io/y'], [], null, ['bare']],
      resourceVersion: [`$version:${kind}/${name}`, `$version:${kind}/${name}`, '1'],
      uid: [`$uid:${kind}/${name}`, `$uid:${kind}/${name}`, 'other'],
      deletionTimestamp: [null],
    });
    const content = this.#some(CONTENT[kind] ?? {});
    // A value of a wrong type in the part that is passed over changes the field managers, and with them the version.
    delete content[where.endsWith('/status') ? 'spec' : 'status'];
    return { ...(Object.keys(metadata).length === 0 ? {} : { metadata }), ...content };
  }

  #operations(kind: string): object[] {
    const ofSpec = [
      { op: 'test', path: '/spec/zone', value: 'z' },
      { op: 'replace', path: '/spec/zone', value: 'y' },
      { op: 'remove', path: '/spec/zone' },
      { op: 'copy', from: '/metadata/labels', path: '/spec' },
    ];
    const all = [
      // A field that a built-in kind does not have is dropped by the real server only.
      ...(kind === 'PodENI' ? ofSpec : []),
      { op: 'test', path: '/metadata/labels/l', value: '1' },
      { op: 'add', path: '/metadata/labels', value: { l: '3' } },
      { op: 'remove', path: '/metadata/finalizers' },
      { op: 'remove', path: '/metadata/finalizers/0' },
      { op: 'add', path: '/metadata/finalizers/-', value: 't.io/z' },
      { op: 'add', path: '/status', value: { phase: 'Bind' } },
      { op: 'add', path: '/data', value: { z: '1' } },
    ];
    return Array.from({ length: 1 + Math.floor(this.#random.next() * 2) }, () => this.#pick(all));
  }

  #deletion(kind: string, name: string): object {
    const preconditions = this.#some({
      uid: [`$uid:PodENI/${name}`, `$uid:Pod/${name}`],
      resourceVersion: [`$version:PodENI/${name}`, '1'],
    });
    const options = this.#some({
      gracePeriodSeconds: [0, 5, 60],
      // What a policy does to a pod that is ending already is not modelled.
      ...(kind === 'Pod' ? {} : { propagationPolicy: ['Background', 'Foreground', 'Odd'] }),
    });
    return { kind: 'DeleteOptions', apiVersion: 'v1', ...(this.#chance(0.3) ? { preconditions } : {}), ...options };
  }

  #selector(): string {
    return this.#pick([
      'labelSelector=l',
      'labelSelector=l%3D1',
      'labelSelector=l!%3D1',
      'fieldSelector=metadata.name%3Da',
    ]);
  }

  #collection(kind: string): string {
    if (kind === 'PodENI') return `/apis/${CUSTOM_VERSION}/namespaces/${this.#namespace}/podenis`;
    return `/api/v1/namespaces/${this.#namespace}/${kind === 'Pod' ? 'pods' : 'configmaps'}`;
  }

  /** Some of the members, each with one of its values. */
  #some(choices: Choices): Record<string, unknown> {
    const chosen = Object.entries(choices).filter(() => this.#chance(0.3));
    return Object.fromEntries(chosen.map(([key, values]) => [key, this.#pick(values)]));
  }

  #chance(share: number): boolean {
    return this.#random.next() < share;
  }

  #pick<T>(values: readonly T[]): T {
    const value = values[Math.floor(this.#random.next() * values.length)];
    if (value === undefined) throw new RangeError('nothing to pick from');
    return value;
  }
}

type Choices = Readonly<Record<string, readonly unknown[]>>;

const CONTENT: Readonly<Record<string, Choices>> = {
  PodENI: {
    spec: [
      { zone: 'z' },
      { zone: 'y', unknown: 1 },
      { zone: 5 },
      null,
      {},
      { allocations: [{ allocationType: {} }] },
      { allocations: [{ allocationType: { type: 'Odd' } }, null] },
      { target: { nodeName: 'n' } },
      { target: { nodeName: 'n', instanceID: 'i' }, zone: null },
    ],
    status: [
      { phase: 'Bind' },
      { phase: 7 },
      null,
      { eniInfos: { e: { type: 'Member', vid: 1, junk: 1 } } },
      { conditions: [{ type: 'Ready', status: 'True' }] },
    ],
  },
  ConfigMap: { data: [{ x: '1' }, { y: '2' }, { x: null }, null, { 'no/key': '1' }] },
  Pod: { status: [{ phase: 'Running' }, { phase: 'Succeeded' }, { phase: 'Failed' }] },
};
