/** For `node --import`: loads the product with the mutant that `TERWAY_MUTANT` names. */
import { registerHooks } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { MUTANTS } from './mutants.ts';

const root = join(import.meta.dirname, '..', '..', '..');
const mutant = MUTANTS.find(({ name }) => name === process.env['TERWAY_MUTANT']);
if (mutant === undefined) throw new RangeError(`TERWAY_MUTANT names no mutant: ${process.env['TERWAY_MUTANT']}`);
const { file, from, to } = mutant;
const changed = pathToFileURL(join(root, file)).href;

registerHooks({
  load(url, context, nextLoad) {
    const loaded = nextLoad(url, context);
    if (url !== changed) return loaded;
    const text = typeof loaded.source === 'string' ? loaded.source : new TextDecoder().decode(loaded.source);
    return { ...loaded, source: text.replace(from, () => to) };
  },
});
