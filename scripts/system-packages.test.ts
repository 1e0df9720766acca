import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { missingPackages, SYSTEM_PACKAGES } from './system-packages.ts';

test('a package is missing when its proof is neither a command on the PATH nor a file', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'terway-packages-'));
  try {
    const command = join(directory, 'some-command-of-ours');
    await writeFile(command, '');
    await writeFile(join(directory, 'not-executable'), '');
    await chmod(command, 0o755);
    const packages = ['some-command-of-ours', 'not-executable', 'another-command', command, `${command}.h`].map(
      (proof) => ({ name: proof, proof, purpose: 'test' }),
    );
    expect(missingPackages(packages, directory).map(({ name }) => name)).toEqual([
      'not-executable',
      'another-command',
      `${command}.h`,
    ]);
  } finally {
    await rm(directory, { recursive: true });
  }
});

test('the list is sorted and names each package once', () => {
  const names = SYSTEM_PACKAGES.map(({ name }) => name);
  expect(names).toEqual([...new Set(names)].sort());
});
