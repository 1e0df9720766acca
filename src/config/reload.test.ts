import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { VirtualClock } from '../util/test-support/virtual-clock.ts';
import { type Reload, watchConfig } from './reload.ts';

let directory: string;
let abort = new AbortController();
let ended = Promise.resolve();

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'terway-reload-'));
});

afterEach(async () => {
  abort.abort();
  await ended;
  await rm(directory, { recursive: true });
});

/** Follows a file; time stands still unless the test moves it. */
function follow(path: string, text: string): { told: Reload[]; clock: VirtualClock } {
  const told: Reload[] = [];
  const clock = new VirtualClock();
  abort = new AbortController();
  ended = watchConfig({ path, text, clock, onReload: (reload) => told.push(reload) }, abort.signal);
  return { told, clock };
}

const limit = (n: number) => `rateLimit: { CreateNetworkInterface: ${n} }\n`;
const limitOf = (reload: Reload | undefined) =>
  reload?.kind === 'changed' ? reload.read.config.rateLimit['CreateNetworkInterface'] : reload?.message;

describe('a configuration file', () => {
  test('that changes is read again; an invalid one is reported once and changes nothing', async () => {
    const path = join(directory, 'ctrl-config.yaml');
    await writeFile(path, limit(1));
    const { told } = follow(path, limit(1));
    await writeFile(`${path}.tmp`, limit(2));
    await rename(`${path}.tmp`, path);
    await vi.waitFor(() => expect(told.map(limitOf)).toEqual([2]));

    await writeFile(`${path}.tmp`, 'rateLimit: { CreateNetworkInterface: -1 }\n');
    await rename(`${path}.tmp`, path);
    await vi.waitFor(() => expect(told).toHaveLength(2));
    expect(limitOf(told[1])).toMatch(/rateLimit\.CreateNetworkInterface: /);
    await writeFile(join(directory, 'other'), 'x');

    await writeFile(`${path}.tmp`, limit(3));
    await rename(`${path}.tmp`, path);
    await vi.waitFor(() => expect(told.map(limitOf)).toEqual([2, expect.any(String), 3]));
  });

  test('in a ConfigMap volume is read again when Kubernetes swaps the symlink', async () => {
    const version = async (name: string, text: string) => {
      await mkdir(join(directory, name));
      await writeFile(join(directory, name, 'ctrl-config.yaml'), text);
      await symlink(name, join(directory, '..data_tmp'));
      await rename(join(directory, '..data_tmp'), join(directory, '..data'));
    };
    await version('..1', limit(1));
    await symlink(join('..data', 'ctrl-config.yaml'), join(directory, 'ctrl-config.yaml'));
    const { told } = follow(join(directory, 'ctrl-config.yaml'), limit(1));
    await version('..2', limit(2));
    await vi.waitFor(() => expect(told.map(limitOf)).toEqual([2]));
  });

  test('is also polled, for changes that the file system does not report', async () => {
    const path = join(directory, 'late', 'ctrl-config.yaml');
    const { told, clock } = follow(path, limit(1));
    // The folder did not exist, so it could not be watched.
    await mkdir(join(directory, 'late'));
    await writeFile(path, limit(2));
    await vi.waitFor(async () => {
      await clock.advance(30_000);
      expect(told.map(limitOf).at(-1)).toBe(2);
    });
  });
});
