import * as z from 'zod';
import type { JsonPatchOperation } from '../kube/json-patch.ts';
import { firstIssue } from '../util/issues.ts';

const API_VERSIONS = ['admission.k8s.io/v1', 'admission.k8s.io/v1beta1'] as const;

const reviewSchema = z.object({
  apiVersion: z.enum(API_VERSIONS),
  kind: z.literal('AdmissionReview'),
  request: z.object({
    uid: z.string().min(1).max(256),
    kind: z.object({ group: z.string().default(''), version: z.string(), kind: z.string() }),
    namespace: z.string().default(''),
    name: z.string().default(''),
    operation: z.string(),
    subResource: z.string().default(''),
    dryRun: z.boolean().default(false),
    object: z.record(z.string(), z.unknown()).nullish(),
    oldObject: z.record(z.string(), z.unknown()).nullish(),
  }),
});

/** The request of the API server; `object` is unchanged, including fields unknown here. */
export type AdmissionReview = z.infer<typeof reviewSchema>;
export type AdmissionRequest = AdmissionReview['request'];

/** The response to one request. */
export type Verdict =
  | { kind: 'allowed'; patch: JsonPatchOperation[]; warnings: string[] }
  /** `code` is an HTTP status and `reason` its name in Kubernetes. */
  | { kind: 'denied'; code: 403 | 422 | 500 | 504; message: string };

export const UNCHANGED: Verdict = { kind: 'allowed', patch: [], warnings: [] };

const REASONS = { 403: 'Forbidden', 422: 'Invalid', 500: 'InternalError', 504: 'Timeout' } as const;

/** Kubernetes recommends at most 120 characters and truncates long warnings. */
const MAX_WARNING_LENGTH = 256;

/**
 * Parses the body of a request.
 *
 * @returns the review, or one line that names field and rule.
 */
export function parseReview(body: unknown): { review: AdmissionReview } | { error: string } {
  const parsed = reviewSchema.safeParse(body);
  if (parsed.success) return { review: parsed.data };
  const { field, rule } = firstIssue(parsed.error);
  return { error: `not an AdmissionReview of ${API_VERSIONS.join(' or ')}: ${field}: ${rule}` };
}

/** The response in the AdmissionReview version of the request. */
export function answerTo(review: Pick<AdmissionReview, 'apiVersion'> & { request: { uid: string } }, verdict: Verdict) {
  const { uid } = review.request;
  const response =
    verdict.kind === 'denied'
      ? {
          uid,
          allowed: false,
          status: { status: 'Failure', code: verdict.code, reason: REASONS[verdict.code], message: verdict.message },
        }
      : {
          uid,
          allowed: true,
          ...(verdict.patch.length === 0
            ? {}
            : { patchType: 'JSONPatch', patch: Buffer.from(JSON.stringify(verdict.patch)).toString('base64') }),
          ...(verdict.warnings.length === 0
            ? {}
            : { warnings: verdict.warnings.map((warning) => warning.slice(0, MAX_WARNING_LENGTH)) }),
        };
  return { apiVersion: review.apiVersion, kind: 'AdmissionReview', response };
}
