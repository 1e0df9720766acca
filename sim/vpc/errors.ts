/** Any error of the VPC switch itself. The message says what to do if anything can be done. */
export class VpcSwitchError extends Error {
  override readonly name: string = 'VpcSwitchError';
}

/** The forwarding program could not be built or run. */
export class SwitchProgramError extends VpcSwitchError {
  override readonly name = 'SwitchProgramError';
}

/** The forwarding program ended, or the switch was closed, during a request or wait. */
export class SwitchEndedError extends VpcSwitchError {
  override readonly name = 'SwitchEndedError';
}

/** An ENI's device could not be made in the node's network namespace. */
export class DeviceFailedError extends VpcSwitchError {
  override readonly name = 'DeviceFailedError';
}

/** An event did not arrive in time. */
export class WaitTimeoutError extends VpcSwitchError {
  override readonly name = 'WaitTimeoutError';
}
