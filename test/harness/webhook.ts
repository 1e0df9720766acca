import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { connect, type DetailedPeerCertificate } from 'node:tls';
import { parseAllDocuments, stringify } from 'yaml';
import * as z from 'zod';
import { ApiStatusError } from '../cluster/errors.ts';
import type { ControlPlaneLab } from './lab.ts';

const manifestPath = join(import.meta.dirname, '..', '..', 'config', 'deploy', 'webhook.yaml');

const configurationSchema = z.looseObject({
  kind: z.string(),
  metadata: z.object({ name: z.string() }),
  webhooks: z.array(
    z.looseObject({ clientConfig: z.looseObject({ service: z.object({ path: z.string() }).optional() }) }),
  ),
});

const PATHS: Record<string, string> = {
  MutatingWebhookConfiguration: '/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations',
  ValidatingWebhookConfiguration: '/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations',
};

/** Applies config/deploy/webhook.yaml, changing only the webhook's address: the API server of a lab cannot reach Services. */
export async function applyWebhookConfigurations(lab: ControlPlaneLab, port: number): Promise<void> {
  const documents = parseAllDocuments(await readFile(manifestPath, 'utf8')).map((document): unknown => document.toJS());
  const configurations = documents.flatMap((document) => {
    const parsed = configurationSchema.safeParse(document);
    return parsed.success ? [parsed.data] : [];
  });
  const changed = configurations.map((configuration) => ({
    ...configuration,
    webhooks: configuration.webhooks.map(({ clientConfig, ...webhook }) => ({
      ...webhook,
      clientConfig: { url: `https://127.0.0.1:${port}${clientConfig.service?.path ?? ''}` },
    })),
  }));
  await lab.apply(changed.map((configuration) => stringify(configuration)).join('---\n'));
}

/** Removes the configurations. They apply to the whole cluster, and after the test nothing answers their calls. */
export async function removeWebhookConfigurations(
  lab: ControlPlaneLab,
  options: { keepSecret?: boolean } = {},
): Promise<void> {
  const paths = Object.values(PATHS).map((path) => `${path}/terway-controlplane`);
  if (options.keepSecret !== true)
    paths.push('/api/v1/namespaces/kube-system/secrets/terway-controlplane-webhook-cert');
  for (const path of paths) {
    await lab.api.delete(path).catch((error: unknown) => {
      if (!(error instanceof ApiStatusError && error.status === 404)) throw error;
    });
  }
}

const bundlesSchema = z.object({
  webhooks: z.array(z.object({ clientConfig: z.object({ caBundle: z.string().default('') }) })),
});

/** The CA bundle of every registered webhook. */
export async function bundlesOf(lab: ControlPlaneLab): Promise<string[]> {
  const all = await Promise.all(
    Object.values(PATHS).map(
      async (path) => bundlesSchema.parse(await lab.api.get(`${path}/terway-controlplane`)).webhooks,
    ),
  );
  return all.flat().map(({ clientConfig }) => clientConfig.caBundle);
}

/** The certificate that the server on this port of 127.0.0.1 presents. */
export async function certificateOf(port: number): Promise<DetailedPeerCertificate> {
  const socket = connect({ host: '127.0.0.1', port, rejectUnauthorized: false });
  try {
    await once(socket, 'secureConnect');
    return socket.getPeerCertificate(true);
  } finally {
    socket.destroy();
  }
}
