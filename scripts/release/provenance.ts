import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

/** One file of a release. */
export interface ReleaseFile {
  name: string;
  sha256: string;
}

/**
 * Where the files of a release come from, as an in-toto statement with SLSA's provenance predicate
 * (in-toto attestation v1, slsa.dev/spec/v1.0/provenance).
 *
 * @param options.root a work tree of git
 * @param options.lockFile of the dependencies
 * @throws Error when the work tree is no repository
 */
export async function provenanceOf(options: {
  root: string;
  files: readonly ReleaseFile[];
  lockFile: ReleaseFile;
  startedAt: Date;
  finishedAt: Date;
}): Promise<object> {
  const git = async (...args: string[]) =>
    (await promisify(execFile)('git', args, { cwd: options.root })).stdout.trim();
  const commit = await git('rev-parse', 'HEAD');
  const isChanged = (await git('status', '--porcelain', '--untracked-files=no')) !== '';
  return {
    _type: 'https://in-toto.io/Statement/v1',
    subject: options.files.map(({ name, sha256 }) => ({ name, digest: { sha256 } })),
    predicateType: 'https://slsa.dev/provenance/v1',
    predicate: {
      buildDefinition: {
        buildType: 'urn:terway-controlplane:make-release:v1',
        externalParameters: { target: 'release' },
        internalParameters: { workTree: isChanged ? 'changed' : 'as committed' },
        resolvedDependencies: [
          { name: 'source', digest: { gitCommit: commit } },
          { name: options.lockFile.name, digest: { sha256: options.lockFile.sha256 } },
        ],
      },
      runDetails: {
        builder: { id: 'urn:terway-controlplane:make-release' },
        metadata: { startedOn: options.startedAt.toISOString(), finishedOn: options.finishedAt.toISOString() },
      },
    },
  };
}
