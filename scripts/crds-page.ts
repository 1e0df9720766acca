import * as z from 'zod';
import { allCrds } from '../src/crds/all.ts';
import { markdownTable } from '../tools/docs/markdown-table.ts';

const INTRODUCTION = `<!-- Generated from src/crds by \`make generate\`; do not edit. -->
# Custom resources

Every field of every kind of \`network.alibabacloud.com/v1beta1\`, as the API server knows it; \`kubectl explain podeni.spec\` says the
same. \`[]\` stands for each item of a list and \`*\` for each value of a map. Times are RFC 3339.
[Concepts](../README.md#concepts) tells what the kinds are for, and who writes what.
`;

const nodeSchema = z.looseObject({
  type: z.string(),
  description: z.string().optional(),
  default: z.unknown().optional(),
  enum: z.array(z.unknown()).optional(),
  format: z.string().optional(),
  minimum: z.number().optional(),
  maximum: z.number().optional(),
  maxItems: z.number().optional(),
  maxLength: z.number().optional(),
  pattern: z.string().optional(),
  required: z.array(z.string()).optional(),
  properties: z.record(z.string(), z.unknown()).optional(),
  items: z.unknown().optional(),
  additionalProperties: z.unknown().optional(),
  'x-kubernetes-validations': z.array(z.object({ message: z.string() })).optional(),
});
type SchemaNode = z.infer<typeof nodeSchema>;

const manifestSchema = z.object({
  spec: z.object({
    versions: z.tuple([
      z.object({
        additionalPrinterColumns: z.array(
          z.object({ name: z.string(), jsonPath: z.string(), priority: z.int().optional() }),
        ),
        schema: z.object({ openAPIV3Schema: nodeSchema }),
      }),
    ]),
  }),
});

/** The reference page of every field of every kind, as Markdown. */
export function crdsPage(): string {
  const sections = allCrds.map((crd) => {
    const [version] = manifestSchema.parse(crd.manifest()).spec.versions;
    const { spec, status } = version.schema.openAPIV3Schema.properties ?? {};
    const columns = version.additionalPrinterColumns.map(({ name, jsonPath, priority = 0 }) => [
      `${name}${priority === 0 ? '' : ' (wide)'}`,
      `\`${jsonPath}\``,
    ]);
    return [
      `\n## ${crd.kind}\n\n${crd.description}\n\n`,
      `Scope: ${crd.scope}. Names for kubectl: \`${[crd.plural, ...crd.shortNames].join('`, `')}\`.\n`,
      `\n### ${crd.kind} spec\n\n${fieldTable(nodeSchema.parse(spec), 'spec')}`,
      `\n### ${crd.kind} status\n\n${fieldTable(nodeSchema.parse(status), 'status')}`,
      `\n### ${crd.kind} columns\n\n${markdownTable([['column', 'field'], ...columns])}`,
    ].join('');
  });
  return `${INTRODUCTION}${sections.join('')}`;
}

function fieldTable(node: SchemaNode, path: string): string {
  const rows = fieldsOf(node, path);
  if (rows.length === 0) return 'It has no fields.\n';
  return markdownTable([['field', 'type', 'default', 'meaning'], ...rows]);
}

/** A row for each field below the node, outer ones first. */
function fieldsOf(node: SchemaNode, path: string): string[][] {
  const children: [name: string, child: SchemaNode, isRequired: boolean][] = Object.entries(node.properties ?? {}).map(
    ([name, child]) => [`${path}.${name}`, nodeSchema.parse(child), node.required?.includes(name) === true],
  );
  return children.flatMap(([name, child, isRequired]) => [rowOf(name, child, isRequired), ...innerOf(child, name)]);
}

/** Fields of an object, of the items of a list, or of the values of a map. */
function innerOf(node: SchemaNode, path: string): string[][] {
  if (node.items !== undefined) return innerOf(nodeSchema.parse(node.items), `${path}[]`);
  const values = nodeSchema.safeParse(node.additionalProperties);
  return values.success ? innerOf(values.data, `${path}.*`) : fieldsOf(node, path);
}

function rowOf(name: string, node: SchemaNode, isRequired: boolean): string[] {
  const fallback = node.default === undefined ? '' : `\`${JSON.stringify(node.default)}\``;
  const meaning = [node.description, ...rulesOf(node), isRequired ? 'Required.' : undefined];
  return [`\`${name}\``, typeOf(node), fallback, meaning.filter(Boolean).join(' ').replaceAll('|', '\\|')];
}

function typeOf(node: SchemaNode): string {
  if (node.items !== undefined) return `list of ${typeOf(nodeSchema.parse(node.items))}`;
  const values = nodeSchema.safeParse(node.additionalProperties);
  if (values.success) return `map of ${typeOf(values.data)}`;
  return node.format === 'date-time' ? 'time' : node.type;
}

/** What the API server demands besides the type. */
function rulesOf(node: SchemaNode): string[] {
  const items = nodeSchema.safeParse(node.items);
  const { minimum, maximum, maxItems, maxLength, pattern } = node;
  return [
    ...(node.enum === undefined ? [] : [`One of ${node.enum.map((value) => `\`${String(value)}\``).join(', ')}.`]),
    ...(minimum === undefined ? [] : [`At least ${minimum}.`]),
    ...(maximum === undefined ? [] : [`At most ${maximum}.`]),
    ...(maxItems === undefined ? [] : [`At most ${maxItems} items.`]),
    ...(maxLength === undefined ? [] : [`At most ${maxLength} characters.`]),
    ...(pattern === undefined ? [] : [`Pattern \`${pattern}\`.`]),
    ...(node['x-kubernetes-validations'] ?? []).map(({ message }) => `Rule: ${message}.`),
    ...(items.success ? rulesOf(items.data).map((rule) => `Each: ${rule}`) : []),
  ];
}
