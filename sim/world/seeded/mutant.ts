/** The product with one deliberate mistake. The text that is replaced occurs exactly once in its file. */
export interface Mutant {
  name: string;
  file: string;
  from: string;
  to: string;
}
