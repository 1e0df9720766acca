import { ApiError } from '../model/errors.ts';

/**
 * Refusals of the API gateway, before a request reaches an API. The codes are documented. HTTP statuses without documentation are
 * assumed.
 */
export const gatewayErrors = {
  missing: (parameter: string) =>
    new ApiError(`Missing${parameter}`, 400, `${parameter} is mandatory for this action.`),
  incompleteSignature: (reason: string) =>
    new ApiError('IncompleteSignature', 400, `The request signature does not conform to the standards: ${reason}.`),
  unknownAccessKey: () => new ApiError('InvalidAccessKeyId.NotFound', 404, 'Specified access key is not found.'),
  signatureMismatch: (stringToSign: string) =>
    new ApiError(
      'SignatureDoesNotMatch',
      400,
      `Specified signature is not matched with our calculation. server string to sign is:${stringToSign}`,
    ),
  bodyHashMismatch: () =>
    new ApiError('SignatureDoesNotMatch', 400, 'x-acs-content-sha256 is not the hash of the request body.'),
  badTimestamp: (parameter: string) =>
    new ApiError('InvalidTimeStamp.Format', 400, `Specified time stamp "${parameter}" is not well formatted.`),
  expired: () => new ApiError('InvalidTimeStamp.Expired', 400, 'Specified time stamp or date value is expired.'),
  nonceUsed: () => new ApiError('SignatureNonceUsed', 400, 'Specified signature nonce was used already.'),
  missingSecurityToken: () => new ApiError('MissingSecurityToken', 400, 'SecurityToken is mandatory for this action.'),
  securityTokenMismatch: () =>
    new ApiError(
      'InvalidSecurityToken.MismatchWithAccessKey',
      400,
      'Specified SecurityToken mismatch with the AccessKey.',
    ),
  invalidVersion: () => new ApiError('InvalidVersion', 400, 'Specified parameter Version is not valid.'),
  invalidParameter: (parameter: string) =>
    new ApiError('InvalidParameter', 400, `Specified parameter ${parameter} is not valid.`),
  methodNotAllowed: () => new ApiError('UnsupportedHTTPMethod', 405, 'This http method is not supported.'),
  urlTooLong: () => new ApiError('RequestURITooLarge', 414, 'The request URL is too long.'),
  bodyTooLarge: () => new ApiError('RequestEntityTooLarge', 413, 'The request body is too large.'),
};
