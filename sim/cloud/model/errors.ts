/**
 * Refusals of the API. Code, HTTP status and parameter names are as documented. Where the documentation leaves a case open, the
 * comment says "assumed".
 */

/** A refusal that the client sees as `{Code, Message}` with an HTTP status. Thrown by every action of the model. */
export class ApiError extends Error {
  readonly code: string;
  readonly status: number;

  constructor(code: string, status: number, message: string) {
    super(message);
    this.name = 'ApiError';
    this.code = code;
    this.status = status;
  }
}

/** A mandatory parameter is absent. */
export function missingParameter(name: string): ApiError {
  return new ApiError(
    'MissingParameter',
    400,
    `The input parameter "${name}" that is mandatory for processing this request is not supplied.`,
  );
}

/** A parameter has the wrong type or lies outside its range. */
export function invalidParameter(name: string, rule?: string): ApiError {
  return new ApiError(
    'InvalidParameter',
    400,
    `The specified parameter "${name}" is not valid${rule === undefined ? '' : `: ${rule}`}.`,
  );
}

/** Two parameters exclude each other. */
export function conflictingParameters(first: string, second: string): ApiError {
  return new ApiError(
    'InvalidParameter.Conflict',
    400,
    `The parameters "${first}" and "${second}" cannot be specified together.`,
  );
}

export const notFound = {
  eni: (id: string) => new ApiError('InvalidEniId.NotFound', 404, `The specified EniId "${id}" is not found.`),
  /** Attach and Detach name the instance "Ecs". */
  ecs: (id: string) => new ApiError('InvalidEcsId.NotFound', 404, `The specified EcsId "${id}" is not found.`),
  instance: (id: string) =>
    new ApiError('InvalidInstanceId.NotFound', 404, `The specified InstanceId "${id}" does not exist.`),
  vSwitch: (id: string) =>
    new ApiError('InvalidVSwitchId.NotFound', 404, `The specified VSwitchId "${id}" is not found.`),
  vpc: (id: string) => new ApiError('InvalidVpcId.NotFound', 404, `The specified VpcId "${id}" is not found.`),
  securityGroup: (id: string) =>
    new ApiError('InvalidSecurityGroupId.NotFound', 404, `The specified SecurityGroupId "${id}" is not found.`),
  resource: (id: string) =>
    new ApiError('InvalidResourceId.NotFound', 404, `The specified ResourceId "${id}" is not found.`),
};

/** The ENI's status does not allow the operation. */
export function invalidEniState(id: string, expected: string, actual: string): ApiError {
  return new ApiError(
    'InvalidOperation.InvalidEniState',
    400,
    `The operation is not allowed in the current ENI state. "${id}" is "${actual}", expected "${expected}".`,
  );
}

/** The instance's status does not allow the operation. */
export function invalidEcsState(id: string, actual: string): ApiError {
  return new ApiError(
    'InvalidOperation.InvalidEcsState',
    400,
    `The operation is not allowed in the current ECS state. "${id}" is "${actual}".`,
  );
}

/** The type of the ENI (or of the instance behind it) does not allow the operation. */
export function invalidEniType(reason: string): ApiError {
  return new ApiError('InvalidOperation.InvalidEniType', 403, `The operation is not allowed: ${reason}.`);
}

export function vpcMismatch(reason: string): ApiError {
  return new ApiError('InvalidOperation.VpcMismatch', 403, `The operation is not valid: ${reason}.`);
}

export function zoneMismatch(reason: string): ApiError {
  return new ApiError('InvalidOperation.AvailabilityZoneMismatch', 403, `The operation is not valid: ${reason}.`);
}

/** An instance has no slot for another ENI: adapters, members or, assumed, a second trunk. */
export function eniPerInstanceLimit(instanceId: string, kind: string, limit: number): ApiError {
  return new ApiError(
    'EniPerInstanceLimitExceeded',
    403,
    `The maximum number (${limit}) of ${kind} ENIs of the instance "${instanceId}" is exceeded.`,
  );
}

/** No address or prefix is left in the vSwitch. */
export function ipNotEnough(vSwitchId: string): ApiError {
  return new ApiError('InvalidVSwitchId.IpNotEnough', 403, `The specified VSwitch "${vSwitchId}" has not enough IP.`);
}

/** The address does not belong to the vSwitch, or is reserved in it. */
export function ipInvalid(address: string, cidrBlock: string): ApiError {
  return new ApiError(
    'InvalidVSwitchId.IpInvalid',
    403,
    `The specified IP "${address}" is not valid in the VSwitch CIDR block "${cidrBlock}".`,
  );
}
