import * as z from 'zod';
import { objectMetaSchema } from '../crds/common.ts';
import type { Resource } from '../kube/types.ts';

const secretSchema = z.object({
  metadata: objectMetaSchema,
  data: z
    .record(z.string(), z.string())
    .nullish()
    .transform((data) => data ?? {}),
  type: z.string().optional(),
});
export type Secret = z.infer<typeof secretSchema>;

/** Values of `data` are base64. */
export const secretResource: Resource<Secret> = {
  group: '',
  version: 'v1',
  plural: 'secrets',
  kind: 'Secret',
  namespaced: true,
  parse: (raw) => secretSchema.parse(raw),
};

const webhookConfigurationSchema = z.object({
  metadata: objectMetaSchema,
  webhooks: z
    .array(z.object({ name: z.string(), clientConfig: z.object({ caBundle: z.string().optional() }) }))
    .nullish()
    .transform((webhooks) => webhooks ?? []),
});
export type WebhookConfiguration = z.infer<typeof webhookConfigurationSchema>;

function webhookConfiguration(kind: string, plural: string): Resource<WebhookConfiguration> {
  return {
    group: 'admissionregistration.k8s.io',
    version: 'v1',
    plural,
    kind,
    namespaced: false,
    parse: (raw) => webhookConfigurationSchema.parse(raw),
  };
}

export const mutatingWebhookResource = webhookConfiguration(
  'MutatingWebhookConfiguration',
  'mutatingwebhookconfigurations',
);
export const validatingWebhookResource = webhookConfiguration(
  'ValidatingWebhookConfiguration',
  'validatingwebhookconfigurations',
);
