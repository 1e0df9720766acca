import * as z from 'zod';
import type { FailureKind } from '../ecs/failure.ts';
import { errorMessage } from '../util/errors.ts';

/** Thrown by every failed call of the cloud layer. */
export class CloudError extends Error {
  override readonly name = 'CloudError';
  readonly kind: FailureKind;
  /** The API action, such as `CreateNetworkInterface`. */
  readonly action: string;
  /** The cloud's error code; `RequestTimeout` or `ConnectionFailed` when no response came. */
  readonly code: string;
  readonly requestId: string | undefined;
  readonly statusCode: number | undefined;

  constructor(fields: {
    kind: FailureKind;
    action: string;
    code: string;
    message: string;
    requestId?: string | undefined;
    statusCode?: number | undefined;
    cause?: unknown;
  }) {
    super(fields.message, { cause: fields.cause });
    this.kind = fields.kind;
    this.action = fields.action;
    this.code = fields.code;
    this.requestId = fields.requestId;
    this.statusCode = fields.statusCode;
  }
}

const KIND_BY_CODE: ReadonlyMap<string, FailureKind> = new Map(
  Object.entries({
    'InvalidVSwitchId.IpNotEnough': 'exhausted',
    'QuotaExceeded.PrivateIpAddress': 'exhausted',
    EniPerInstanceLimitExceeded: 'limit',
    'InvalidOperation.Ipv4CountExceeded': 'limit',
    'InvalidOperation.Ipv6CountExceeded': 'limit',
    SecurityGroupInstanceLimitExceed: 'limit',
    'InvalidIp.IpUnassigned': 'unassigned',
    IdempotentFailed: 'token',
    IdempotentParameterMismatch: 'token',
    'InvalidOperation.InvalidEniState': 'state',
    'InvalidOperation.InvalidEcsState': 'state',
    IncorrectInstanceStatus: 'state',
    IncorrectEniStatus: 'state',
    'Operation.Conflict': 'state',
    OperationConflict: 'state',
    InternalError: 'unavailable',
    ServiceUnavailable: 'unavailable',
  } as const),
);

/** Classifies an error code; the HTTP status decides for unknown codes. */
export function kindOf(code: string, statusCode: number | undefined): FailureKind {
  const known = KIND_BY_CODE.get(code);
  if (known !== undefined) return known;
  if (code.startsWith('Throttling')) return 'throttled';
  if (
    code.startsWith('Forbidden') ||
    code.startsWith('InvalidAccessKeyId') ||
    code.startsWith('InvalidSecurityToken')
  ) {
    return 'forbidden';
  }
  if (code === 'SignatureDoesNotMatch' || code === 'NoPermission') return 'forbidden';
  if (/^Invalid\w*Id\.NotFound$/.test(code)) return 'notFound';
  if (statusCode === 429) return 'throttled';
  if (statusCode === undefined || statusCode >= 500) return 'unavailable';
  return 'invalid';
}

const sdkErrorSchema = z.object({
  name: z.string().optional(),
  code: z.string().optional(),
  message: z.string().optional(),
  statusCode: z.number().optional(),
  requestId: z.string().optional(),
  data: z.object({ Message: z.string().optional(), RequestId: z.string().optional() }).optional(),
});

/**
 * Translates whatever the SDK threw. Its timeouts carry neither a code nor an accurate message, so an error without a
 * code counts as "no answer": the effect of the call is unknown.
 */
export function toCloudError(action: string, thrown: unknown): CloudError {
  if (thrown instanceof CloudError) return thrown;
  const parsed = sdkErrorSchema.safeParse(thrown);
  const error = parsed.success ? parsed.data : {};
  if (error.code === undefined || error.statusCode === undefined) {
    const timedOut = /timeout/i.test(`${error.name} ${error.message}`);
    return new CloudError({
      kind: 'unavailable',
      action,
      code: timedOut ? 'RequestTimeout' : 'ConnectionFailed',
      message: `${action}: no answer (${errorMessage(thrown)})`,
      cause: thrown,
    });
  }
  const requestId = error.requestId ?? error.data?.RequestId;
  const text = error.data?.Message ?? error.message ?? '';
  return new CloudError({
    kind: kindOf(error.code, error.statusCode),
    action,
    code: error.code,
    message: `${action}: ${error.code}: ${text}${requestId === undefined ? '' : ` (request id ${requestId})`}`,
    requestId,
    statusCode: error.statusCode,
    cause: thrown,
  });
}
