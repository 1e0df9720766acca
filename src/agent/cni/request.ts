import * as z from 'zod';
import { errorMessage } from '../../util/errors.ts';
import { firstIssue } from '../../util/issues.ts';
import { CNI_ERROR, CniError } from './errors.ts';

/** Versions of the CNI specification whose results we can give, oldest first. */
export const CNI_VERSIONS = ['0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'] as const;
export type CniVersion = (typeof CNI_VERSIONS)[number];

/**
 * Limits in bits per second. containerd writes the keys with capitals (`IngressRate`), other runtimes as the convention has
 * them; plugins in Go, whose decoder ignores case, never notice.
 */
const bandwidthSchema = z.preprocess(
  (raw) =>
    typeof raw === 'object' && raw !== null
      ? Object.fromEntries(
          Object.entries(raw).map(([key, value]) => [key.charAt(0).toLowerCase() + key.slice(1), value]),
        )
      : raw,
  z.looseObject({ ingressRate: z.number().min(0).optional(), egressRate: z.number().min(0).optional() }),
);

/**
 * The network configuration. Unknown keys are ignored, as the specification asks. So are upstream's keys for the data path: the
 * agent's own configuration decides there.
 */
const networkConfigSchema = z.looseObject({
  cniVersion: z.enum(CNI_VERSIONS),
  name: z.string().min(1),
  mtu: z.int().min(576).max(65_535).optional(),
  vlan_strip_type: z.enum(['filter', 'vlan']).optional(),
  runtimeConfig: z
    .looseObject({
      bandwidth: bandwidthSchema.optional(),
    })
    .optional(),
  'cni.dev/valid-attachments': z.array(z.looseObject({ containerID: z.string(), ifname: z.string() })).optional(),
});
export type NetworkConfig = z.infer<typeof networkConfigSchema>;

/** What ADD, DEL and CHECK are about. */
export interface AttachmentRequest {
  containerId: string;
  /** May be empty for DEL. */
  netnsPath: string;
  ifName: string;
  pod: { namespace: string; name: string /** Given by runtimes since containerd 1.6. */; uid?: string };
  config: NetworkConfig;
}

export type CniRequest =
  | { command: 'ADD' | 'DEL' | 'CHECK'; attachment: AttachmentRequest }
  | { command: 'STATUS'; config: NetworkConfig }
  | { command: 'GC'; config: NetworkConfig; valid: { containerId: string; ifName: string }[] };

const CONTAINER_ID = /^[A-Za-z0-9][A-Za-z0-9_.-]*$/;

/**
 * Reads what the plugin sent (native/cni): `NAME=VALUE` strings, each ended by NUL, then one more NUL, then standard input.
 *
 * @throws CniError with the code that the specification has for the mistake, naming what is wrong
 */
export function parseRequest(bytes: Buffer): CniRequest {
  const end = bytes.indexOf('\0\0');
  if (end < 0 && bytes[0] !== 0) throw new CniError(CNI_ERROR.decodeFailure, 'the request has no end of its variables');
  const header = end < 0 ? '' : bytes.subarray(0, end).toString('utf8');
  const input = bytes.subarray(end < 0 ? 1 : end + 2).toString('utf8');
  const variables = new Map(
    header.split('\0').flatMap((entry): [string, string][] => {
      const equals = entry.indexOf('=');
      return equals < 0 ? [] : [[entry.slice(0, equals), entry.slice(equals + 1)]];
    }),
  );
  const command = required(variables, 'CNI_COMMAND');
  switch (command) {
    case 'ADD':
    case 'CHECK':
      required(variables, 'CNI_NETNS');
      return { command, attachment: attachmentOf(variables, parseConfig(input)) };
    case 'DEL':
      return { command, attachment: attachmentOf(variables, parseConfig(input)) };
    case 'STATUS':
      return { command, config: parseConfig(input) };
    case 'GC': {
      const config = parseConfig(input);
      const valid = config['cni.dev/valid-attachments'];
      if (valid === undefined) {
        throw new CniError(CNI_ERROR.invalidConfig, 'GC: the network configuration has no cni.dev/valid-attachments');
      }
      return {
        command,
        config,
        valid: valid.map(({ containerID, ifname }) => ({ containerId: containerID, ifName: ifname })),
      };
    }
    default:
      throw new CniError(
        CNI_ERROR.invalidEnvironment,
        `CNI_COMMAND is "${command}"; it must be ADD, DEL, CHECK, STATUS, GC or VERSION`,
      );
  }
}

function attachmentOf(variables: ReadonlyMap<string, string>, config: NetworkConfig): AttachmentRequest {
  const containerId = required(variables, 'CNI_CONTAINERID');
  if (!CONTAINER_ID.test(containerId) || containerId.length > 200) {
    throw new CniError(
      CNI_ERROR.invalidEnvironment,
      `CNI_CONTAINERID "${containerId.slice(0, 60)}" must begin with a letter or digit and hold letters, digits, _ . - only`,
    );
  }
  const ifName = required(variables, 'CNI_IFNAME');
  if (ifName.length > 15 || ifName === '.' || ifName === '..' || /[\s/:]/.test(ifName)) {
    throw new CniError(
      CNI_ERROR.invalidEnvironment,
      `CNI_IFNAME "${ifName}" is no interface name: at most 15 characters, no space, slash or colon`,
    );
  }
  const args = parseArgs(variables.get('CNI_ARGS') ?? '');
  const name = args.get('K8S_POD_NAME') ?? '';
  const namespace = args.get('K8S_POD_NAMESPACE') ?? '';
  if (name === '' || namespace === '') {
    const missing = name === '' ? 'K8S_POD_NAME' : 'K8S_POD_NAMESPACE';
    throw new CniError(
      CNI_ERROR.invalidEnvironment,
      `CNI_ARGS has no ${missing}; this plugin serves Kubernetes pods only`,
    );
  }
  const uid = args.get('K8S_POD_UID') ?? '';
  return {
    containerId,
    netnsPath: variables.get('CNI_NETNS') ?? '',
    ifName,
    pod: { namespace, name, ...(uid === '' ? {} : { uid }) },
    config,
  };
}

function parseArgs(text: string): Map<string, string> {
  const args = new Map<string, string>();
  for (const part of text.split(';').filter((piece) => piece !== '')) {
    const equals = part.indexOf('=');
    if (equals <= 0) {
      throw new CniError(CNI_ERROR.invalidEnvironment, `CNI_ARGS: "${part}" is not KEY=VALUE`);
    }
    args.set(part.slice(0, equals), part.slice(equals + 1));
  }
  return args;
}

function required(variables: ReadonlyMap<string, string>, name: string): string {
  const value = variables.get(name) ?? '';
  if (value === '') throw new CniError(CNI_ERROR.invalidEnvironment, `${name} is not set`);
  return value;
}

function parseConfig(input: string): NetworkConfig {
  let raw: unknown;
  try {
    raw = JSON.parse(input);
  } catch (error) {
    const what = input.trim() === '' ? 'is empty' : `is not JSON: ${errorMessage(error).replace(/\s+/g, ' ')}`;
    throw new CniError(CNI_ERROR.decodeFailure, `the network configuration on standard input ${what}`);
  }
  const parsed = networkConfigSchema.safeParse(raw);
  if (parsed.success) return parsed.data;
  const { field, rule } = firstIssue(parsed.error);
  if (field === 'cniVersion') {
    throw new CniError(
      CNI_ERROR.incompatibleVersion,
      `cniVersion ${versionText(raw)} is not supported`,
      `supported are ${CNI_VERSIONS.join(', ')}`,
    );
  }
  throw new CniError(CNI_ERROR.invalidConfig, `the network configuration: ${field}: ${rule}`);
}

function versionText(raw: unknown): string {
  const version: unknown = typeof raw === 'object' && raw !== null && 'cniVersion' in raw ? raw.cniVersion : undefined;
  return version === undefined ? '(none)' : JSON.stringify(version).slice(0, 60);
}

/** The version to answer in, also when the request could not be parsed. */
export function versionOf(bytes: Buffer): CniVersion {
  const [, version] = /"cniVersion"\s*:\s*"([0-9.]+)"/.exec(bytes.toString('utf8')) ?? [];
  return CNI_VERSIONS.find((known) => known === version) ?? '1.1.0';
}
