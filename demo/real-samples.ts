import { parse, stringify } from 'yaml';
import * as z from 'zod';
import { POD_VSWITCH, ZONES } from '../test/harness/lab.ts';
import { BUSYBOX_IMAGE } from '../tools/product/image/busybox.ts';

/** Port on which every pod serves a page that says its name and its node. */
export const PAGE_PORT = 8080;
/** Name, and label `app`, of the pod that is in a security group of its own. */
export const GUEST = 'guest';
export const GUEST_SECURITY_GROUP = 'sg-bp1guests';

const objectSchema = z.looseObject({ kind: z.string(), spec: z.record(z.string(), z.unknown()) });
const templateSchema = z.looseObject({
  spec: z.looseObject({ containers: z.array(z.looseObject({ name: z.string() })) }),
});

/** A sample as the tour on real nodes uses it: its pods run an image that the nodes have, and serve a page. */
export function forRealNodes(manifest: string): string {
  const object = objectSchema.parse(parse(manifest));
  if (object.kind === 'PodNetworking') return manifest;
  const template = templateSchema.parse(object.spec['template']);
  const spec = { ...template.spec, ...podSpec(template.spec.containers) };
  return stringify({ ...object, spec: { ...object.spec, template: { ...template, spec } } });
}

/** A PodNetworking with a security group that no other pod has, and a pod that it selects, on this node. */
export function guestManifests(nodeName: string): string[] {
  const metadata = { name: GUEST };
  const networking = {
    apiVersion: 'network.alibabacloud.com/v1beta1',
    kind: 'PodNetworking',
    metadata,
    spec: {
      selector: { podSelector: { matchLabels: { app: GUEST } } },
      vSwitchOptions: ZONES.map((zone) => POD_VSWITCH[zone]),
      securityGroupIDs: [GUEST_SECURITY_GROUP],
    },
  };
  const pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { ...metadata, labels: { app: GUEST } },
    spec: {
      nodeSelector: { 'kubernetes.io/hostname': nodeName },
      ...podSpec([{ name: GUEST }]),
    },
  };
  return [networking, pod].map((object) => stringify(object));
}

/** A page for each container, by an image that the nodes have. */
export function podSpec(containers: readonly Record<string, unknown>[]) {
  const page = `echo "$(hostname) on $NODE_NAME" > /www/index.html`;
  return {
    // The server does not heed SIGTERM.
    terminationGracePeriodSeconds: 1,
    containers: containers.map((container) => ({
      ...container,
      image: BUSYBOX_IMAGE,
      imagePullPolicy: 'Never',
      command: ['sh', '-c', `mkdir /www; ${page}; exec httpd -f -p ${PAGE_PORT} -h /www`],
      env: [{ name: 'NODE_NAME', valueFrom: { fieldRef: { fieldPath: 'spec.nodeName' } } }],
    })),
  };
}
