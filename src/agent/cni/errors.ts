/** Error codes of the CNI specification 1.1, section "Error"; from 100 on they are a plugin's own. */
export const CNI_ERROR = {
  incompatibleVersion: 1,
  unsupportedField: 2,
  unknownContainer: 3,
  invalidEnvironment: 4,
  ioFailure: 5,
  decodeFailure: 6,
  invalidConfig: 7,
  tryAgain: 11,
  notAvailable: 50,
  limitedConnectivity: 51,
  /** CHECK: what is there differs from what was promised. */
  deviation: 100,
} as const;

/** What the runtime gets instead of a result, and the kubelet shows in an event of the pod. */
export class CniError extends Error {
  readonly code: number;
  readonly details: string;

  /** @param message one line that stands alone: runtimes often drop the details. */
  constructor(code: number, message: string, details = '') {
    super(message);
    this.name = 'CniError';
    this.code = code;
    this.details = details;
  }
}
