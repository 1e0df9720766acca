/** Class of a failed call; derived from error code and HTTP status. */
export type FailureKind =
  /** The quota is used up; the call had no effect. */
  | 'throttled'
  /** Connection error, timeout or 5xx: the call may have taken effect. */
  | 'unavailable'
  /** The vSwitch has no free address. */
  | 'exhausted'
  /**
   * The instance supports no more ENIs, the ENI no more addresses, or the security group no more members. Where there
   * should be room, the record and the cloud disagree.
   */
  | 'limit'
  /** The object is not in a state that allows the call. */
  | 'state'
  | 'notFound'
  /** The ENI does not have one of the addresses, or has it as its primary one. Nothing was unassigned. */
  | 'unassigned'
  /** The ClientToken was used with other parameters or is unusable. */
  | 'token'
  /** Credentials or RAM policy. */
  | 'forbidden'
  /** The configured degradation level forbids such calls. */
  | 'degraded'
  /** Any other refusal; an unchanged retry will not help soon. */
  | 'invalid';
