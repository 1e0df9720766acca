import type { Style } from '../src/util/terminal/style.ts';
import { type Column, layoutTable, renderTable } from '../src/util/terminal/table.ts';
import type { SeenFrame } from './frame-watch.ts';

const ICMP = 1;
const TCP = 6;
const UDP = 17;
const ECHO_REPLY = 0;
const ECHO_REQUEST = 8;

/** What a line about a frame says. */
export interface FrameRow {
  /** Since the first frame. */
  time: string;
  direction: string;
  eniId: string;
  vlan: string;
  addresses: string;
  what: string;
  refused: boolean;
}

/** @param nodeOf name of the node that has the device of an ENI. */
export function frameRows(frames: readonly SeenFrame[], nodeOf: (deviceEniId: string) => string): FrameRow[] {
  const startMs = frames[0]?.seenMs ?? 0;
  return frames.map((frame) => ({
    time: `${(frame.seenMs - startMs).toFixed(2)} ms`,
    direction: frame.direction === 'fromNode' ? `${nodeOf(frame.device)} → VPC` : `VPC → ${nodeOf(frame.device)}`,
    eniId: frame.eni,
    vlan: frame.vlan === 0 ? 'none' : String(frame.vlan),
    addresses: `${frame.src} → ${frame.dst}`,
    what: frame.verdict === 'refused' ? frame.reason : kindOf(frame),
    refused: frame.verdict === 'refused',
  }));
}

/** The lines of a table of frames that take at most `width` columns. */
export function frameTable(rows: readonly FrameRow[], width: number, style: Style): string[] {
  const columns: Column<FrameRow>[] = [
    { title: 'TIME', value: (row) => row.time, align: 'right', dropOrder: 2 },
    { title: 'DIRECTION', value: (row) => row.direction },
    { title: 'ENI', value: (row) => row.eniId, minWidth: 8, keep: 'end' },
    { title: 'VLAN', value: (row) => row.vlan, align: 'right', paint: (text) => style.cyan(text) },
    { title: 'SOURCE → DESTINATION', value: (row) => row.addresses },
    {
      title: 'WHAT',
      value: (row) => row.what,
      dropOrder: 1,
      paint: (text, row) => (row.refused ? style.red(text) : text),
    },
  ];
  return renderTable(layoutTable(columns, rows, width), rows, style);
}

function kindOf({ protocol, icmpType, dstPort }: SeenFrame): string {
  switch (protocol) {
    case ICMP:
      if (icmpType === ECHO_REQUEST) return 'request';
      return icmpType === ECHO_REPLY ? 'reply' : `ICMP ${icmpType}`;
    case TCP:
      return `TCP ${dstPort}`;
    case UDP:
      return `UDP ${dstPort}`;
    default:
      return `protocol ${protocol}`;
  }
}
