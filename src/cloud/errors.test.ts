import { describe, expect, test } from 'vitest';
import type { FailureKind } from '../ecs/failure.ts';
import { CloudError, kindOf, toCloudError } from './errors.ts';

test.each<[string, number, FailureKind]>([
  ['Throttling', 400, 'throttled'],
  ['Throttling.User', 400, 'throttled'],
  ['Throttling.Api', 503, 'throttled'],
  ['InvalidVSwitchId.IpNotEnough', 403, 'exhausted'],
  ['QuotaExceeded.PrivateIpAddress', 403, 'exhausted'],
  ['EniPerInstanceLimitExceeded', 403, 'limit'],
  ['InvalidOperation.Ipv4CountExceeded', 403, 'limit'],
  ['InvalidOperation.Ipv6CountExceeded', 403, 'limit'],
  ['SecurityGroupInstanceLimitExceed', 403, 'limit'],
  ['InvalidIp.IpUnassigned', 403, 'unassigned'],
  ['IdempotentFailed', 400, 'token'],
  ['IdempotentParameterMismatch', 400, 'token'],
  ['InvalidOperation.InvalidEniState', 400, 'state'],
  ['InvalidOperation.InvalidEcsState', 400, 'state'],
  ['IncorrectInstanceStatus', 403, 'state'],
  ['Operation.Conflict', 409, 'state'],
  ['InvalidEniId.NotFound', 404, 'notFound'],
  ['InvalidEcsId.NotFound', 404, 'notFound'],
  ['InvalidVSwitchId.NotFound', 404, 'notFound'],
  ['InvalidSecurityGroupId.NotFound', 404, 'notFound'],
  ['Forbidden.RAM', 403, 'forbidden'],
  ['InvalidAccessKeyId.NotFound', 404, 'forbidden'],
  ['InvalidSecurityToken.Expired', 403, 'forbidden'],
  ['SignatureDoesNotMatch', 400, 'forbidden'],
  ['InternalError', 500, 'unavailable'],
  ['ServiceUnavailable', 503, 'unavailable'],
  ['SomethingNew', 502, 'unavailable'],
  ['SomethingNew', 429, 'throttled'],
  ['InvalidParameter', 400, 'invalid'],
  ['InvalidOperation.AvailabilityZoneMismatch', 403, 'invalid'],
  ['constructor', 400, 'invalid'],
])('%s (%i) is %s', (code, status, kind) => {
  expect(kindOf(code, status)).toBe(kind);
});

describe('what the SDK throws', () => {
  const thrown = Object.assign(new Error('Throttling.User: code: 400, too fast request id: R-1'), {
    name: 'ThrottlingError',
    code: 'Throttling.User',
    statusCode: 400,
    requestId: 'R-1',
    data: { Code: 'Throttling.User', Message: 'Request was denied.', RequestId: 'R-1', HostId: 'h' },
  });

  test('keeps code, request id, the cloud’s message and the cause', () => {
    const error = toCloudError('AttachNetworkInterface', thrown);
    expect(error).toMatchObject({ kind: 'throttled', code: 'Throttling.User', requestId: 'R-1', statusCode: 400 });
    expect(error.message).toBe('AttachNetworkInterface: Throttling.User: Request was denied. (request id R-1)');
    expect(error.cause).toBe(thrown);
  });

  test('takes the request id from the body when the error has none', () => {
    const { requestId: _requestId, ...rest } = thrown;
    const error = toCloudError('a', Object.assign(new Error('m'), rest));
    expect(error.requestId).toBe('R-1');
  });

  test.each([
    ['its timeout', Object.assign(new Error('ConnectTimeout'), { name: 'RequestTimeoutError' }), 'RequestTimeout'],
    ['a refused connection', Object.assign(new Error('connect'), { code: 'ECONNREFUSED' }), 'ConnectionFailed'],
    ['a reset', Object.assign(new Error('socket hang up'), { code: 'ECONNRESET' }), 'ConnectionFailed'],
    ['a body that is not JSON', new SyntaxError('Unexpected token <'), 'ConnectionFailed'],
    ['anything else', 'oops', 'ConnectionFailed'],
    ['nothing', undefined, 'ConnectionFailed'],
    ['fields of other types', { code: 7, statusCode: 'x', data: 'y' }, 'ConnectionFailed'],
  ])('as %s: the effect of the call is unknown', (_name, cause, code) => {
    expect(toCloudError('DescribeInstances', cause)).toMatchObject({ kind: 'unavailable', code, cause });
  });

  test('is not translated twice', () => {
    const error = new CloudError({ kind: 'limit', action: 'a', code: 'c', message: 'm' });
    expect(toCloudError('b', error)).toBe(error);
  });
});
