import { once } from 'node:events';
import { Agent, request } from 'node:https';
import { setTimeout as delay } from 'node:timers/promises';
import { stringify } from 'yaml';
import { type ControlPlaneLab, POD_SECURITY_GROUP, POD_VSWITCH, ZONES } from '../test/harness/lab.ts';
import { chooseFreePorts } from '../tools/machine/ports.ts';

const PER_SECOND = 200;
const SECONDS = 20;
const NETWORKINGS = 50;
/** Like the API server, uses one connection per concurrent request. */
const CONNECTIONS = 16;

/**
 * Sends 200 pod reviews a second to the webhook of a second replica at a fixed rate, with the number of PodNetworkings of a
 * large cluster. @returns latency of each response in milliseconds, from when its request was due
 */
export async function reviewLatencies(lab: ControlPlaneLab): Promise<number[]> {
  const [port = 0] = await chooseFreePorts(1);
  await lab.apply(Array.from({ length: NETWORKINGS }, (_, at) => networking(at)).join('---\n'));
  const { process } = await lab.startControlPlane({
    config: { webhook: { port, bindHost: '127.0.0.1', drain: '100ms' } },
  });
  const agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS, rejectUnauthorized: false });
  try {
    const answers: Promise<number>[] = [];
    const startedMs = performance.now();
    for (let at = 0; at < PER_SECOND * SECONDS; at += 1) {
      const dueMs = startedMs + (at * 1000) / PER_SECOND;
      await delay(Math.max(0, dueMs - performance.now()));
      answers.push(ask(agent, port, at, dueMs));
    }
    const latencies = await Promise.all(answers);
    // Earlier requests include cold code and connection setup.
    return latencies.slice(PER_SECOND);
  } finally {
    agent.destroy();
    await process.stop();
    await lab.api.delete('/apis/network.alibabacloud.com/v1beta1/podnetworkings', {
      query: { labelSelector: 'bench=webhook' },
    });
  }
}

async function ask(agent: Agent, port: number, at: number, dueMs: number): Promise<number> {
  const outgoing = request({
    host: '127.0.0.1',
    port,
    agent,
    path: '/mutating',
    method: 'POST',
    headers: { 'content-type': 'application/json' },
  });
  outgoing.end(JSON.stringify(review(at)));
  const [response] = await once(outgoing, 'response');
  let text = '';
  for await (const chunk of response) text += String(chunk);
  if (!text.includes('"JSONPatch"')) throw new Error(`the webhook did not choose: ${text}`);
  return performance.now() - dueMs;
}

function review(at: number) {
  const env = Array.from({ length: 30 }, (_, index) => ({ name: `VARIABLE_${index}`, value: 'x'.repeat(40) }));
  return {
    apiVersion: 'admission.k8s.io/v1',
    kind: 'AdmissionReview',
    request: {
      uid: `u-${at}`,
      kind: { group: '', version: 'v1', kind: 'Pod' },
      operation: 'CREATE',
      namespace: 'default',
      object: {
        metadata: {
          generateName: 'web-',
          labels: { bench: `b-${at % NETWORKINGS}` },
          ownerReferences: [{ kind: 'ReplicaSet' }],
        },
        spec: {
          containers: [
            { name: 'a', env },
            { name: 'b', env },
          ],
        },
      },
    },
  };
}

function networking(at: number): string {
  return stringify({
    apiVersion: 'network.alibabacloud.com/v1beta1',
    kind: 'PodNetworking',
    metadata: { name: `bench-${at}`, labels: { bench: 'webhook' } },
    spec: {
      selector: { podSelector: { matchLabels: { bench: `b-${at}` } } },
      vSwitchOptions: ZONES.map((zone) => POD_VSWITCH[zone]),
      securityGroupIDs: [POD_SECURITY_GROUP],
    },
  });
}
