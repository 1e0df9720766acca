import { isErrno, type Kernel, NODE } from './kernel/kernel.ts';
import { LEAVING_GROUP } from './names.ts';
import { changeLink, deleteLink, deleteLinksOfGroup } from './netlink/link.ts';

interface Removal {
  kernel: Kernel;
  index: number;
  resolve: () => void;
  reject: (error: unknown) => void;
}

/**
 * Removes links of the node. A deletion blocks all other changes for some 20 ms, however many links it covers. So links that are
 * to go while one deletion runs are put into a group and deleted together afterwards.
 */
export class LinkRemover {
  #waiting: Removal[] = [];
  #isRunning = false;

  /**
   * Resolves when there is no link with this index. A link that is already gone is no failure.
   *
   * @throws KernelError
   */
  remove(kernel: Kernel, index: number): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#waiting.push({ kernel, index, resolve, reject });
    if (!this.#isRunning) void this.#run();
    return promise;
  }

  async #run(): Promise<void> {
    this.#isRunning = true;
    for (let batch = this.#take(); batch.length > 0; batch = this.#take()) {
      const [first, ...others] = batch;
      if (first === undefined) break;
      if (others.length === 0 || !(await removeTogether(batch))) {
        for (const removal of batch) await removeOne(removal);
      }
      for (const { resolve } of batch) resolve();
    }
    this.#isRunning = false;
  }

  #take(): Removal[] {
    return this.#waiting.splice(0);
  }
}

/** @returns false on any failure; deleting them one by one then shows which link failed. */
async function removeTogether(batch: readonly Removal[]): Promise<boolean> {
  try {
    for (const { kernel, index } of batch) {
      await unlessGone(kernel.netlink(NODE, changeLink(index, { group: LEAVING_GROUP })));
    }
    const [{ kernel } = { kernel: undefined }] = batch;
    if (kernel !== undefined) await unlessGone(kernel.netlink(NODE, deleteLinksOfGroup(LEAVING_GROUP)));
    return true;
  } catch {
    return false;
  }
}

async function removeOne({ kernel, index, reject }: Removal): Promise<void> {
  try {
    await unlessGone(kernel.netlink(NODE, deleteLink(index)));
  } catch (error) {
    reject(error);
  }
}

async function unlessGone(work: Promise<unknown>): Promise<void> {
  try {
    await work;
  } catch (error) {
    // A group without links is ENODEV, too.
    if (!isErrno(error, 'ENODEV')) throw error;
  }
}
