import * as z from 'zod';

/** The fields of `Node.spec` that Terway's daemon writes, or the control plane where no daemon does. */
export const DAEMON_FIELDS = ['eni', 'pool', 'flavor', 'datapath'] as const;
export type DaemonField = (typeof DAEMON_FIELDS)[number];

/** `metadata.managedFields`, as far as it is read; an entry in another shape owns nothing. */
const managedFieldsSchema = z.array(
  z
    .object({
      manager: z.string().default(''),
      fieldsV1: z.object({ 'f:spec': z.record(z.string(), z.unknown()).default({}) }).optional(),
    })
    .catch({ manager: '' }),
);

/** Under this name the API server joins the oldest entries where more than ten clients have updated an object: whose they were is lost. */
const FORGOTTEN = 'ancient-changes';

/** The fields of which somebody else wrote anything. */
export interface ForeignFields {
  all: DaemonField[];
  /** Those of them of which the API server has forgotten who it was; it may have been us. */
  forgotten: DaemonField[];
}

/**
 * The fields of which somebody else wrote anything, according to the API server. An update that leaves a value as it is does not make
 * its author an owner, so a field that no entry names, or ours alone, may be written.
 *
 * @param managedFields of a Node CR
 * @param ours the name under which the API server records our own writes
 */
export function fieldsOfOthers(managedFields: unknown, ours: string): ForeignFields {
  const entries = managedFieldsSchema.safeParse(managedFields);
  if (!entries.success) return { all: [], forgotten: [] };
  const foreign = entries.data.filter(({ manager }) => manager !== ours);
  const writersOf = (field: DaemonField) =>
    foreign.filter(({ fieldsV1 }) => Object.hasOwn(fieldsV1?.['f:spec'] ?? {}, `f:${field}`));
  const all = DAEMON_FIELDS.filter((field) => writersOf(field).length > 0);
  return { all, forgotten: all.filter((field) => writersOf(field).every(({ manager }) => manager === FORGOTTEN)) };
}
