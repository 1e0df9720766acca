import { DatapathError } from '../errors.ts';

/** A map as its definition in section `maps` describes it. */
export interface MapDefinition {
  name: string;
  type: number;
  keySize: number;
  valueSize: number;
  maxEntries: number;
  flags: number;
}

/** A program whose references to maps still have to be filled in. */
export interface ProgramDefinition {
  name: string;
  instructions: Buffer;
  /** Which instruction (its offset in bytes) refers to which map. */
  references: { offset: number; map: string }[];
}

export interface BpfObject {
  license: string;
  maps: MapDefinition[];
  programs: ProgramDefinition[];
}

interface Section {
  name: string;
  type: number;
  link: number;
  info: number;
  bytes: Buffer;
}

interface Symbol {
  name: string;
  section: number;
  value: number;
}

const MACHINE_BPF = 247;
const SECTION_SYMBOLS = 2;
const SECTION_NO_BITS = 8;
const SECTION_RELOCATIONS = 9;
const RELOCATION_64_64 = 1;
const DEFINITION_SIZE = 20;
/** A load of a 64-bit constant; the source register says that the constant is the descriptor of a map. */
const LOAD_64 = 0x18;
const PSEUDO_MAP_FD = 1;

/**
 * Reads an object file that clang made for the bpf machine. Sections `tc/NAME` hold one program each, section `maps`
 * the definitions of maps; everything else, such as debug information, is ignored.
 *
 * @throws DatapathError when it is no such file or needs more than references to maps.
 */
export function parseBpfObject(file: Buffer): BpfObject {
  try {
    return parse(file);
  } catch (error) {
    if (error instanceof DatapathError) throw error;
    throw new DatapathError('read eBPF object', 'the file is cut off', { cause: error });
  }
}

function parse(file: Buffer): BpfObject {
  const isElf = file.toString('latin1', 0, 6) === '\x7fELF\x02\x01';
  if (!isElf || file.readUInt16LE(18) !== MACHINE_BPF) {
    throw new DatapathError('read eBPF object', 'not a little-endian ELF file for the bpf machine');
  }
  const sections = readSections(file);
  const symbols = readSymbols(sections);
  const mapsAt = sections.findIndex(({ name }) => name === 'maps');
  const definitions = sections[mapsAt]?.bytes ?? Buffer.alloc(0);
  const maps = symbols
    .filter(({ section, name }) => section === mapsAt && name !== '')
    .map(({ name, value }) => mapDefinition(name, definitions.subarray(value, value + DEFINITION_SIZE)));
  const programs = sections.flatMap((section, at) => {
    if (!section.name.startsWith('tc/')) return [];
    const relocations = sections.filter(({ type, info }) => type === SECTION_RELOCATIONS && info === at);
    const references = relocations.flatMap(({ bytes }) => readReferences(section, bytes, symbols, mapsAt));
    return [{ name: section.name.slice('tc/'.length), instructions: section.bytes, references }];
  });
  const license = sections.find(({ name }) => name === 'license')?.bytes ?? Buffer.alloc(0);
  return { license: license.toString('latin1').replace(/\0.*$/s, ''), maps, programs };
}

function mapDefinition(name: string, bytes: Buffer): MapDefinition {
  return {
    name,
    type: bytes.readUInt32LE(0),
    keySize: bytes.readUInt32LE(4),
    valueSize: bytes.readUInt32LE(8),
    maxEntries: bytes.readUInt32LE(12),
    flags: bytes.readUInt32LE(16),
  };
}

function readSections(file: Buffer): Section[] {
  const start = Number(file.readBigUInt64LE(40));
  const size = file.readUInt16LE(58);
  const count = file.readUInt16LE(60);
  const raw = Array.from({ length: count }, (_, at) => {
    const header = file.subarray(start + at * size, start + (at + 1) * size);
    const offset = Number(header.readBigUInt64LE(24));
    const length = Number(header.readBigUInt64LE(32));
    const type = header.readUInt32LE(4);
    const bytes = type === SECTION_NO_BITS ? Buffer.alloc(0) : file.subarray(offset, offset + length);
    return {
      nameAt: header.readUInt32LE(0),
      type,
      link: header.readUInt32LE(40),
      info: header.readUInt32LE(44),
      bytes,
    };
  });
  const names = raw[file.readUInt16LE(62)]?.bytes ?? Buffer.alloc(0);
  return raw.map(({ nameAt, ...section }) => ({ ...section, name: textAt(names, nameAt) }));
}

function readSymbols(sections: readonly Section[]): Symbol[] {
  const table = sections.find(({ type }) => type === SECTION_SYMBOLS);
  if (table === undefined) throw new DatapathError('read eBPF object', 'it has no symbols');
  const names = sections[table.link]?.bytes ?? Buffer.alloc(0);
  return Array.from({ length: Math.floor(table.bytes.length / 24) }, (_, at) => ({
    name: textAt(names, table.bytes.readUInt32LE(at * 24)),
    section: table.bytes.readUInt16LE(at * 24 + 6),
    value: Number(table.bytes.readBigUInt64LE(at * 24 + 8)),
  }));
}

function readReferences(program: Section, bytes: Buffer, symbols: readonly Symbol[], mapsAt: number) {
  return Array.from({ length: Math.floor(bytes.length / 16) }, (_, at) => {
    const offset = Number(bytes.readBigUInt64LE(at * 16));
    const symbol = symbols[bytes.readUInt32LE(at * 16 + 12)];
    const isMap = symbol !== undefined && symbol.section === mapsAt;
    const isLoad = program.bytes.readUInt8(offset) === LOAD_64;
    if (bytes.readUInt32LE(at * 16 + 8) !== RELOCATION_64_64 || !isMap || !isLoad) {
      const name = symbol?.name ?? 'nothing';
      throw new DatapathError('read eBPF object', `${program.name} refers to ${name}, which is no map`);
    }
    return { offset, map: symbol.name };
  });
}

function textAt(names: Buffer, at: number): string {
  return names.toString('latin1', at, names.indexOf(0, at));
}

/**
 * The program with the descriptors of its maps.
 *
 * @throws DatapathError when `handles` lacks one
 */
export function linkProgram(program: ProgramDefinition, handles: ReadonlyMap<string, number>): Buffer {
  const linked = Buffer.from(program.instructions);
  for (const { offset, map } of program.references) {
    const handle = handles.get(map);
    if (handle === undefined) throw new DatapathError(`link program ${program.name}`, `there is no map ${map}`);
    linked.writeUInt8((linked.readUInt8(offset + 1) & 0x0f) | (PSEUDO_MAP_FD << 4), offset + 1);
    linked.writeInt32LE(handle, offset + 4);
  }
  return linked;
}
