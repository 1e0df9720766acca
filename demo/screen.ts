import type { Style } from '../src/util/terminal/style.ts';

/** What a live region may take. */
export interface View {
  width: number;
  /** Lines; a region that draws more is cut. */
  height: number;
}

/** Where the demo writes. */
export interface Screen {
  readonly style: Style;
  /** Columns that a line may have. */
  readonly width: number;
  /** Whether live regions are shown. Where not, whoever draws one also prints what happens, line by line. */
  readonly isLive: boolean;
  /** Writes lines that stay. */
  print(...lines: string[]): void;
  /**
   * Shows what `draw` returns below the lines that stay, and draws it anew until the returned function is called. One
   * region at a time.
   */
  live(draw: (view: View) => string[]): () => void;
  /** Removes the live region and gives the cursor back. Any number of calls; `print` still works. */
  restore(): void;
}
