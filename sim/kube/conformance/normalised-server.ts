import type { ApiTransport } from '../../../src/kube/transport.ts';
import { isRecord } from '../../../src/util/json.ts';
import type { RandomRequest } from './random-requests.ts';

/**
 * Sends requests to one server and normalises the responses so that two servers can be compared: uids and versions become
 * numbers in order of first appearance.
 */
export class NormalisedServer {
  readonly #send: ApiTransport['request'];
  readonly #seen = { uid: new Map<unknown, number>(), resourceVersion: new Map<unknown, number>() };
  /** `uid:PodENI/a` and `version:PodENI/a`, as the server last showed them. */
  readonly #known = new Map<string, string>();

  constructor(send: ApiTransport['request']) {
    this.#send = send;
  }

  async ask({ method, path, body, contentType }: RandomRequest): Promise<unknown> {
    const text =
      body === undefined
        ? undefined
        : JSON.stringify(body).replaceAll(
            /\$([a-z]+:[A-Za-z]+\/[a-z])/g,
            (_, what: string) => this.#known.get(what) ?? '1',
          );
    const answer = await this.#send({ method, path, body: text, contentType });
    const value: unknown = JSON.parse(answer.body);
    this.#learn(value);
    return { status: answer.status, body: this.#normalised(value) };
  }

  /** Lines of a watch, as {@link ask} tells answers. */
  events(lines: string): unknown[] {
    return lines
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => this.#normalised(JSON.parse(line)));
  }

  #learn(value: unknown): void {
    if (!isRecord(value) || !isRecord(value['metadata'])) return;
    const { name, uid, resourceVersion } = value['metadata'];
    if (typeof uid !== 'string' || typeof resourceVersion !== 'string') return;
    this.#known.set(`uid:${String(value['kind'])}/${String(name)}`, uid);
    this.#known.set(`version:${String(value['kind'])}/${String(name)}`, resourceVersion);
  }

  #normalised(value: unknown): unknown {
    if (Array.isArray(value)) return value.map((one) => this.#normalised(one));
    if (!isRecord(value)) return value;
    if (value['kind'] === 'Status') return this.#status(value);
    const { managedFields: _, remainingItemCount: __, continue: token, ...members } = value;
    const { spec, status } = members;
    if (isRecord(spec) && Array.isArray(spec['containers'])) {
      // The real server adds pod defaults that nothing here reads.
      members['spec'] = { nodeName: spec['nodeName'] };
      members['status'] = { phase: isRecord(status) ? status['phase'] : undefined };
    }
    // Other clients write to the real server too, which changes list versions.
    if (String(members['kind']).endsWith('List')) delete members['metadata'];
    const result: Record<string, unknown> = token === undefined || token === '' ? {} : { hasMore: true };
    for (const [key, member] of Object.entries(members)) {
      if (key === 'uid' || key === 'resourceVersion') result[key] = this.#order(key, member);
      else if (key.endsWith('Timestamp')) result[key] = 'a time';
      else result[key] = this.#normalised(member);
    }
    return result;
  }

  /** Of a refusal what a program can read. */
  #status({ status, reason, code, details }: Record<string, unknown>): unknown {
    const { name, group, kind, causes } = isRecord(details) ? details : {};
    const list: unknown[] = Array.isArray(causes) ? causes : [];
    const fields = list.map((one) => (isRecord(one) ? `${String(one['field'])} ${String(one['reason'])}` : ''));
    return { status, reason, code, name, group, kind, causes: [...new Set(fields)].sort((a, b) => (a < b ? -1 : 1)) };
  }

  #order(kind: 'uid' | 'resourceVersion', value: unknown): number {
    const seen = this.#seen[kind];
    if (!seen.has(value)) seen.set(value, seen.size);
    return seen.get(value) ?? -1;
  }
}
