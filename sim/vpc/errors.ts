/** Anything that goes wrong with the VPC switch itself; the message says what to do where something can be done. */
export class VpcSwitchError extends Error {
  override readonly name: string = 'VpcSwitchError';
}

/** The forwarding program could not be built or run. */
export class SwitchProgramError extends VpcSwitchError {
  override readonly name = 'SwitchProgramError';
}

/** The forwarding program ended, or the switch was closed, while something was still wanted of it. */
export class SwitchEndedError extends VpcSwitchError {
  override readonly name = 'SwitchEndedError';
}

/** An ENI's device could not be made in the node's network namespace. */
export class DeviceFailedError extends VpcSwitchError {
  override readonly name = 'DeviceFailedError';
}

/** What was waited for did not come in time. */
export class WaitTimeoutError extends VpcSwitchError {
  override readonly name = 'WaitTimeoutError';
}
