/** What a failed call means for its caller; derived from the error code and the HTTP status. */
export type FailureKind =
  /** The quota is used up; nothing happened. */
  | 'throttled'
  /** Connection, timeout or 5xx: whether it took effect is unknown. */
  | 'unavailable'
  /** The vSwitch has no free address. */
  | 'exhausted'
  /** The instance takes no more ENIs. */
  | 'limit'
  /** The object is not in a state that allows the call. */
  | 'state'
  | 'notFound'
  /** The ClientToken was used with other parameters or is unusable. */
  | 'token'
  /** Credentials or RAM policy. */
  | 'forbidden'
  /** The operator has told the control plane not to make such calls. */
  | 'degraded'
  /** Any other refusal; repeating it unchanged will not help soon. */
  | 'invalid';
