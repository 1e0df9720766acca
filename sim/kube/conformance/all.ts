import { customCases } from './custom.ts';
import { deletionCases } from './deletion.ts';
import { ownerCases } from './field-owners.ts';
import { kindCases } from './kinds.ts';
import { listCases } from './lists.ts';
import { objectCases } from './objects.ts';
import type { Cases } from './server.ts';
import { watchCases } from './watches.ts';
import { writeCases } from './writes.ts';

/** Every case, by its theme. */
export const conformance: Readonly<Record<string, Cases>> = {
  objects: objectCases,
  writes: writeCases,
  'custom kinds': customCases,
  deletion: deletionCases,
  'field owners': ownerCases,
  'built-in kinds': kindCases,
  lists: listCases,
  watches: watchCases,
};
