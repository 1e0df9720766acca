import { mkdir, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { DatapathError } from '../errors.ts';
import { inStep, isErrno, type Kernel } from '../kernel/kernel.ts';
import { type BpfObject, linkProgram, type MapDefinition, type ProgramDefinition, parseBpfObject } from './elf.ts';

export const PROGRAM_NAMES = [
  ...(['trunk_egress', 'trunk_handover', 'trunk_ingress', 'veth_ingress'] as const),
  // In pods with a whole ENI.
  ...(['peer_ingress', 'eni_ingress', 'eni_egress'] as const),
] as const;
export type ProgramName = (typeof PROGRAM_NAMES)[number];

const MAP_NAMES = ['tag4', 'tag6', 'veths', 'vlans', 'flows', 'verdicts', 'settings'] as const;
export type MapName = (typeof MAP_NAMES)[number];

/** A program in the kernel: its handle for attaching, its id for recognising it at a filter. */
export interface LoadedProgram {
  handle: number;
  id: number;
}

const SCHED_CLS = 3;

/**
 * The maps and programs of the object file, pinned in a bpf file system so that they outlive the agent. The name of a map's pin
 * contains the sizes of key and value, so another layout is another map. Old maps stay until {@link forgetOldMaps}, as programs of
 * filters still use them.
 */
export class BpfPrograms {
  readonly #kernel: Kernel;
  readonly #directory: string;
  readonly #maps: ReadonlyMap<string, number>;
  readonly #programs: ReadonlyMap<string, LoadedProgram>;
  readonly #pins: ReadonlySet<string>;
  /** Set when maps of another layout exist: entries have to be written before the programs are switched. */
  readonly hasOldMaps: boolean;

  private constructor(
    kernel: Kernel,
    directory: string,
    maps: ReadonlyMap<string, number>,
    programs: ReadonlyMap<string, LoadedProgram>,
    state: { pins: ReadonlySet<string>; hasOldMaps: boolean },
  ) {
    this.#kernel = kernel;
    this.#directory = directory;
    this.#maps = maps;
    this.#programs = programs;
    this.#pins = state.pins;
    this.hasOldMaps = state.hasOldMaps;
  }

  /**
   * Opens pinned objects and creates missing ones. A pinned program stays if it equals the file's.
   *
   * @throws DatapathError when the file is none, the directory is in no bpf file system, or the kernel refuses a program
   */
  static async open(kernel: Kernel, options: { objectPath: string; directory: string }): Promise<BpfPrograms> {
    const { directory } = options;
    const object = await readObject(options.objectPath);
    await inStep(`make ${directory}`, async () => {
      await mkdir(join(directory, 'maps'), { recursive: true });
      await mkdir(join(directory, 'programs'), { recursive: true });
    });
    const maps = new Map<string, number>();
    for (const map of object.maps) maps.set(map.name, await openMap(kernel, map, directory));
    for (const name of MAP_NAMES) {
      if (!maps.has(name)) throw new DatapathError('read eBPF object', `it has no map ${name}`);
    }
    const programs = new Map<string, LoadedProgram>();
    for (const name of PROGRAM_NAMES) {
      const program = object.programs.find((candidate) => candidate.name === name);
      if (program === undefined) throw new DatapathError('read eBPF object', `it has no program ${name}`);
      programs.set(name, await openProgram(kernel, program, { object, maps, directory }));
    }
    const pins = new Set(object.maps.map(pinName));
    const found = await readdir(join(directory, 'maps'));
    return new BpfPrograms(kernel, directory, maps, programs, {
      pins,
      hasOldMaps: found.some((pin) => !pins.has(pin)),
    });
  }

  map(name: MapName): number {
    return this.#maps.get(name) ?? -1;
  }

  program(name: ProgramName): LoadedProgram {
    return this.#programs.get(name) ?? { handle: -1, id: -1 };
  }

  /** Unpins maps of other layouts. Call it once no filter uses them. */
  async forgetOldMaps(): Promise<void> {
    const found = await readdir(join(this.#directory, 'maps'));
    for (const pin of found.filter((name) => !this.#pins.has(name))) await rm(join(this.#directory, 'maps', pin));
  }

  /** Unpins everything; it lives on as long as a filter uses it. */
  async unpin(): Promise<void> {
    await rm(join(this.#directory, 'maps'), { recursive: true, force: true });
    await rm(join(this.#directory, 'programs'), { recursive: true, force: true });
  }

  async close(): Promise<void> {
    const handles = [...this.#maps.values(), ...[...this.#programs.values()].map(({ handle }) => handle)];
    for (const handle of handles) await this.#kernel.closeHandle(handle);
  }
}

async function readObject(path: string): Promise<BpfObject> {
  return inStep(`read eBPF object ${path}`, async () => parseBpfObject(await readFile(path)));
}

/** Dots are not allowed in a bpf file system. */
function pinName({ name, keySize, valueSize }: MapDefinition): string {
  return `${name}_${keySize}_${valueSize}`;
}

async function openMap(kernel: Kernel, map: MapDefinition, directory: string): Promise<number> {
  return inStep(`open map ${map.name}`, async () => {
    const path = join(directory, 'maps', pinName(map));
    const pinned = await kernel.open(path);
    if (pinned !== undefined) {
      if (isThisMap(await kernel.mapInfo(pinned), map)) return pinned;
      // It stays as one of an older layout until the first sync has filled the new one.
      await kernel.closeHandle(pinned);
      await rename(path, `${path}_replaced`);
    }
    const handle = await kernel.createMap(map);
    await kernel.pin(handle, path);
    return handle;
  });
}

/** A map of another kind under our name would refuse entries, or take them for something else. */
function isThisMap(found: Awaited<ReturnType<Kernel['mapInfo']>>, map: MapDefinition): boolean {
  const sameSizes = found.keySize === map.keySize && found.valueSize === map.valueSize;
  return sameSizes && found.type === map.type && found.maxEntries === map.maxEntries;
}

async function openProgram(
  kernel: Kernel,
  program: ProgramDefinition,
  context: { object: BpfObject; maps: ReadonlyMap<string, number>; directory: string },
): Promise<LoadedProgram> {
  return inStep(`load program ${program.name}`, async () => {
    const path = join(context.directory, 'programs', program.name);
    const handle = await loadProgram(kernel, program, context.object, context.maps);
    const info = await kernel.programInfo(handle);
    const pinned = await kernel.open(path);
    if (pinned !== undefined) {
      const other = await kernel.programInfo(pinned);
      if (other.tag === info.tag && sameIds(other.mapIds, info.mapIds)) {
        await kernel.closeHandle(handle);
        return { handle: pinned, id: other.id };
      }
      await kernel.closeHandle(pinned);
    }
    // Renamed into place, so that the pin exists at every moment.
    await rm(`${path}_new`, { force: true });
    await kernel.pin(handle, `${path}_new`);
    await rename(`${path}_new`, path);
    return { handle, id: info.id };
  });
}

function sameIds(left: readonly number[], right: readonly number[]): boolean {
  return left.length === right.length && left.every((id) => right.includes(id));
}

async function loadProgram(
  kernel: Kernel,
  program: ProgramDefinition,
  object: BpfObject,
  maps: ReadonlyMap<string, number>,
): Promise<number> {
  return kernel.loadProgram({
    type: SCHED_CLS,
    instructions: linkProgram(program, maps),
    license: object.license,
    name: program.name,
  });
}

/**
 * Loads everything on trial and keeps nothing.
 *
 * @throws DatapathError with the verifier's words
 */
export async function tryPrograms(
  kernel: Kernel,
  objectPath: string,
  use: (programs: Map<string, number>) => Promise<void>,
) {
  const object = await readObject(objectPath);
  const handles: number[] = [];
  try {
    const maps = new Map<string, number>();
    for (const map of object.maps) {
      const handle = await inStep(`create map ${map.name}`, () => kernel.createMap(map));
      handles.push(handle);
      maps.set(map.name, handle);
    }
    const programs = new Map<string, number>();
    for (const program of object.programs) {
      const handle = await inStep(`load program ${program.name}`, () => loadProgram(kernel, program, object, maps));
      handles.push(handle);
      programs.set(program.name, handle);
    }
    await use(programs);
  } finally {
    for (const handle of handles) await kernel.closeHandle(handle).catch((error) => isErrno(error, 'EBADF'));
  }
}
