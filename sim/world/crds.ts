import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { resourceOfCrd } from '../kube/model/crd.ts';

const DIRECTORY = join(import.meta.dirname, '..', '..', 'config', 'crd');

/** Our kinds, read once: the files do not change while a world runs. */
export const CRDS = readdirSync(DIRECTORY)
  .sort()
  .map((file) => resourceOfCrd(parse(readFileSync(join(DIRECTORY, file), 'utf8'))));
