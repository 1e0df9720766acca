import { execFileSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { chooseFreePorts } from './ports.ts';

test('a chosen port stays reserved for the process that chose it, also while nothing listens there yet', async () => {
  const mine = await chooseFreePorts(3);
  expect(new Set(mine).size).toBe(3);
  // Another process that could choose only among these finds none.
  const script = `
    import { chooseFreePorts } from ${JSON.stringify(`${import.meta.dirname}/ports.ts`)};
    const ports = ${JSON.stringify(mine)};
    let at = 0;
    Math.random = () => (ports[at++ % ports.length] - 20_000 + 0.5) / 10_000;
    await chooseFreePorts(1).then(([port]) => console.log(port), (error) => console.log(error.message));
  `;
  const said = execFileSync(process.execPath, ['--input-type=module', '--eval', script], { encoding: 'utf8' });
  expect(said).toMatch(/^no free TCP ports/);
});
