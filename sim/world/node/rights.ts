import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import * as z from 'zod';
import type { ApiCall, FaultPlan } from '../../kube/faults.ts';

const FILE = join(import.meta.dirname, '..', '..', '..', 'config', 'rbac', 'agent.yaml');

const roleSchema = z.object({
  kind: z.literal('ClusterRole'),
  rules: z.array(
    z.object({ apiGroups: z.array(z.string()), resources: z.array(z.string()), verbs: z.array(z.string()) }),
  ),
});

/** `verb resource`, or `verb resource/subresource`, of the role that is shipped for node agents. */
const RIGHTS: ReadonlySet<string> = new Set(
  parseAllDocuments(readFileSync(FILE, 'utf8')).flatMap((document) => {
    const { data } = roleSchema.safeParse(document.toJS());
    return (data?.rules ?? []).flatMap(({ apiGroups: [group = ''], resources, verbs }) =>
      resources.flatMap((resource) => verbs.map((verb) => `${verb} ${inGroup(resource, group)}`)),
    );
  }),
);

function inGroup(resource: string, group: string): string {
  const [plural = '', subresource = ''] = resource.split('/');
  return `${plural}${group === '' ? '' : `.${group}`}${subresource === '' ? '' : `/${subresource}`}`;
}

/** What the chart adds for `podIPsAnnotation`. */
const POD_IPS_RIGHT = 'patch pods/status';

/** The API server refuses a node agent what its role does not allow; other faults come on top. */
export function withRights(faults: FaultPlan = {}, podIPsAnnotation = false): FaultPlan {
  const refusal = ({ verb, resource, subresource }: ApiCall) => {
    const right = `${verb} ${resource}${subresource === '' ? '' : `/${subresource}`}`;
    return RIGHTS.has(right) || (podIPsAnnotation && right === POD_IPS_RIGHT)
      ? undefined
      : ({ kind: 'refused', status: 403 } as const);
  };
  return {
    ...faults,
    onRequest: (call) => refusal(call) ?? faults.onRequest?.(call),
    onWatch: (call) => refusal(call) ?? faults.onWatch?.(call),
  };
}
