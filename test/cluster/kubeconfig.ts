import { readFile } from 'node:fs/promises';
import { parse, stringify } from 'yaml';
import * as z from 'zod';
import { TestClusterError } from './errors.ts';

/** The identity of a client, and how it verifies its server. */
export interface ClientCredentials {
  serverUrl: string;
  authorityPem: string;
  identity: { kind: 'certificate'; certificatePem: string; privateKeyPem: string } | { kind: 'token'; token: string };
}

const base64Schema = z.string().transform((text) => Buffer.from(text, 'base64').toString('utf8'));

const kubeconfigSchema = z.object({
  'current-context': z.string(),
  contexts: z.array(z.object({ name: z.string(), context: z.object({ cluster: z.string(), user: z.string() }) })),
  clusters: z.array(
    z.object({
      name: z.string(),
      cluster: z.object({ server: z.string(), 'certificate-authority-data': base64Schema }),
    }),
  ),
  users: z.array(
    z.object({
      name: z.string(),
      user: z.object({
        'client-certificate-data': base64Schema.optional(),
        'client-key-data': base64Schema.optional(),
        token: z.string().optional(),
      }),
    }),
  ),
});

/** Text of a kubeconfig with one cluster and one user. All data is embedded. */
export function formatKubeconfig(credentials: ClientCredentials): string {
  const { identity } = credentials;
  const base64 = (text: string) => Buffer.from(text, 'utf8').toString('base64');
  const user =
    identity.kind === 'token'
      ? { token: identity.token }
      : {
          'client-certificate-data': base64(identity.certificatePem),
          'client-key-data': base64(identity.privateKeyPem),
        };
  const name = 'test';
  return stringify(
    {
      apiVersion: 'v1',
      kind: 'Config',
      'current-context': name,
      contexts: [{ name, context: { cluster: name, user: name } }],
      clusters: [
        {
          name,
          cluster: { server: credentials.serverUrl, 'certificate-authority-data': base64(credentials.authorityPem) },
        },
      ],
      users: [{ name, user }],
    },
    { lineWidth: 0 },
  );
}

/**
 * Reads a kubeconfig in the form that {@link formatKubeconfig} writes: embedded certificates, and a client certificate or a token.
 *
 * @throws TestClusterError for any other form.
 */
export async function readKubeconfig(path: string): Promise<ClientCredentials> {
  const parsed = kubeconfigSchema.safeParse(parse(await readFile(path, 'utf8')));
  if (!parsed.success) throw new TestClusterError(`${path}: ${z.prettifyError(parsed.error).replaceAll('\n', ' ')}`);
  const config = parsed.data;
  const context = config.contexts.find(({ name }) => name === config['current-context'])?.context;
  const cluster = config.clusters.find(({ name }) => name === context?.cluster)?.cluster;
  const user = config.users.find(({ name }) => name === context?.user)?.user;
  if (!cluster || !user) throw new TestClusterError(`${path}: the current context names no cluster or no user`);
  const { 'client-certificate-data': certificatePem, 'client-key-data': privateKeyPem, token } = user;
  const base = { serverUrl: cluster.server, authorityPem: cluster['certificate-authority-data'] };
  if (token !== undefined) return { ...base, identity: { kind: 'token', token } };
  if (certificatePem === undefined || privateKeyPem === undefined) {
    throw new TestClusterError(`${path}: the user has neither a token nor an embedded client certificate`);
  }
  return { ...base, identity: { kind: 'certificate', certificatePem, privateKeyPem } };
}
