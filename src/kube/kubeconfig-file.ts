import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { parse } from 'yaml';
import * as z from 'zod';
import { errorMessage, fileProblem } from '../util/errors.ts';
import { firstIssue } from '../util/issues.ts';
import { KubeConfigError } from './errors.ts';

/** An empty entry is null in YAML, which is common in kubeconfig files edited by hand. */
const text = z.string().nullish();

const clusterSchema = z.object({
  server: z.url({ protocol: /^https?$/, error: 'is not an http(s) URL' }),
  'certificate-authority': text,
  'certificate-authority-data': text,
  'insecure-skip-tls-verify': z.boolean().nullish(),
  'tls-server-name': text,
  'proxy-url': text,
});

const userSchema = z.object({
  token: text,
  tokenFile: text,
  'client-certificate': text,
  'client-certificate-data': text,
  'client-key': text,
  'client-key-data': text,
  username: text,
  password: text,
  as: text,
  exec: z
    .looseObject({
      apiVersion: text,
      command: z.string(),
      args: z.array(z.string()).nullish(),
      env: z.array(z.object({ name: z.string(), value: z.string() })).nullish(),
    })
    .nullish(),
  'auth-provider': z.looseObject({ name: z.string() }).nullish(),
});

const contextSchema = z.object({ cluster: z.string(), user: text, namespace: text });

const fileSchema = z.object({
  'current-context': text,
  clusters: z.array(z.object({ name: z.string(), cluster: clusterSchema })).nullish(),
  contexts: z.array(z.object({ name: z.string(), context: contextSchema })).nullish(),
  users: z.array(z.object({ name: z.string(), user: userSchema.nullish() })).nullish(),
});

export type ClusterEntry = z.infer<typeof clusterSchema>;
export type UserEntry = z.infer<typeof userSchema>;

/** One context of a kubeconfig with its cluster and user; paths are absolute. */
export interface SelectedContext {
  /** The file, for messages. */
  file: string;
  cluster: ClusterEntry;
  user: UserEntry;
  namespace: string;
}

/**
 * Reads kubeconfig files and picks one context. When several files define an entry or the current context, the first one
 * wins, as with kubectl.
 *
 * @throws KubeConfigError naming the file, the field and why
 */
export async function selectContext(files: readonly string[], contextName?: string): Promise<SelectedContext> {
  const parsed: ParsedFile[] = [];
  for (const file of files) parsed.push({ file, content: await parseFile(file) });
  const all = files.join(', ');
  const wanted = contextName ?? firstOf(parsed, ({ content }) => content['current-context'] ?? undefined);
  if (!wanted)
    throw new KubeConfigError(
      `kubeconfig ${all}: current-context is not set; choose one with \`kubectl config use-context\``,
    );
  const found = firstOf(parsed, ({ content }) => content.contexts?.find((entry) => entry.name === wanted)?.context);
  if (found === undefined) {
    const known = parsed.flatMap(({ content }) => content.contexts?.map(({ name }) => name) ?? []);
    const there = known.length === 0 ? 'it has no contexts' : `its contexts are ${known.join(', ')}`;
    throw new KubeConfigError(`kubeconfig ${all}: no context '${wanted}'; ${there}`);
  }
  const cluster = firstOf(parsed, (origin) => {
    const entry = origin.content.clusters?.find(({ name }) => name === found.cluster);
    return entry && { file: origin.file, cluster: withAbsolutePaths(origin.file, entry.cluster, clusterPaths) };
  });
  if (cluster === undefined) {
    throw new KubeConfigError(
      `kubeconfig ${all}: context '${wanted}' refers to the unknown cluster '${found.cluster}'`,
    );
  }
  const user = found.user
    ? firstOf(parsed, (origin) => {
        const entry = origin.content.users?.find(({ name }) => name === found.user);
        if (!entry) return undefined;
        const { exec, ...rest } = withAbsolutePaths(origin.file, entry.user ?? {}, userPaths);
        return exec ? { ...rest, exec: { ...exec, command: commandPath(origin.file, exec.command) } } : rest;
      })
    : {};
  if (user === undefined) {
    throw new KubeConfigError(`kubeconfig ${all}: context '${wanted}' refers to the unknown user '${found.user}'`);
  }
  return { ...cluster, user, namespace: found.namespace ?? 'default' };
}

const clusterPaths = ['certificate-authority'] as const;
const userPaths = ['tokenFile', 'client-certificate', 'client-key'] as const;

interface ParsedFile {
  file: string;
  content: z.infer<typeof fileSchema>;
}

async function parseFile(file: string): Promise<ParsedFile['content']> {
  const fail = (why: string, cause?: unknown) => new KubeConfigError(`kubeconfig ${file}: ${why}`, cause);
  let source: string;
  try {
    source = await readFile(file, 'utf8');
  } catch (cause) {
    throw fail(`cannot be read: ${fileProblem(cause)}; --kubeconfig or KUBECONFIG names another file`, cause);
  }
  let raw: unknown;
  try {
    raw = parse(source);
  } catch (cause) {
    throw fail(`is not YAML: ${errorMessage(cause).split('\n')[0]?.replace(/:$/, '')}`, cause);
  }
  if (raw === null || raw === undefined) throw fail('is empty');
  const result = fileSchema.safeParse(raw);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const path = (issue?.path ?? [])
    .map((part) => (typeof part === 'number' ? `[${part}]` : `.${String(part)}`))
    .join('');
  throw fail(`${path === '' ? 'the file' : path.slice(1)}: ${firstIssue(result.error).rule}`);
}

function firstOf<T, R>(values: readonly T[], pick: (value: T) => R | undefined): R | undefined {
  for (const value of values) {
    const picked = pick(value);
    if (picked !== undefined) return picked;
  }
  return undefined;
}

/** A bare name is looked up in PATH, as in a shell. */
function commandPath(file: string, command: string): string {
  return command.includes('/') ? resolve(dirname(file), command) : command;
}

/** Paths in a kubeconfig are relative to the file that holds them. */
function withAbsolutePaths<E extends object, K extends keyof E>(file: string, entry: E, fields: readonly K[]): E {
  const copy = { ...entry };
  for (const field of fields) {
    const path = copy[field];
    if (typeof path === 'string' && path !== '') Object.assign(copy, { [field]: resolve(dirname(file), path) });
  }
  return copy;
}
