import { X509Certificate } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createAuthority, issueCertificate } from '../util/x509.ts';
import {
  type CertificateData,
  type CertificatePolicy,
  dataAfter,
  type Issued,
  nextCertificateStep,
  problemOf,
} from './certificate-state.ts';

const START_MS = Date.parse('2026-01-01T00:00:00Z');
const HOUR_MS = 3_600_000;
const POLICY: CertificatePolicy = { hosts: ['web.ns.svc', 'web'], validityMs: 24 * HOUR_MS, settleMs: 60_000 };

let count = 0;

function issue(nowMs: number, hosts: readonly string[] = POLICY.hosts, validityMs = POLICY.validityMs): Issued {
  count += 1;
  const validity = { notBeforeMs: nowMs - HOUR_MS, notAfterMs: nowMs + validityMs };
  const authority = createAuthority(`ca-${count}`, validity);
  const made = issueCertificate(authority, { commonName: 'web', usage: 'server', hosts }, validity);
  return { caPem: authority.certificatePem, ...made };
}

function fresh(nowMs = START_MS): CertificateData {
  const made = dataAfter({ kind: 'replace', because: '' }, undefined, () => issue(nowMs), nowMs);
  if (made === undefined) throw new Error('nothing made');
  return made;
}

/** Whether an API server that trusts the bundle accepts the served certificate. */
function isTrusted(bundle: string, certificatePem: string, nowMs: number): boolean {
  const certificate = new X509Certificate(certificatePem);
  const authorities = (bundle.match(/-----BEGIN[^-]+-----[^-]+-----END[^-]+-----/g) ?? []).map(
    (pem) => new X509Certificate(pem),
  );
  const lives = certificate.validToDate.getTime() > nowMs;
  return (
    lives &&
    authorities.some((authority) => certificate.checkIssued(authority) && certificate.verify(authority.publicKey))
  );
}

describe('the certificate', () => {
  test('is issued when there is none, then left alone until a third of its lifetime is left', () => {
    expect(nextCertificateStep(undefined, POLICY, START_MS, 0)).toMatchObject({ kind: 'replace' });
    const data = fresh();
    expect(nextCertificateStep(data, POLICY, START_MS, 0)).toEqual({ kind: 'wait', forMs: 16 * HOUR_MS });
    expect(nextCertificateStep(data, POLICY, START_MS + 16 * HOUR_MS - 1, 0)).toEqual({ kind: 'wait', forMs: 1 });
    expect(nextCertificateStep(data, POLICY, START_MS + 16 * HOUR_MS, 0)).toMatchObject({ kind: 'announce' });
  });

  test('is reissued at once when it is unusable, whatever the Secret contains', () => {
    const good = fresh();
    const other = fresh();
    for (const [data, because] of [
      [{}, 'tls.crt is missing'],
      [{ ...good, 'tls.crt': 'x' }, 'tls.crt is not a certificate'],
      [{ ...good, 'tls.key': 'x' }, 'tls.key is not the key of tls.crt'],
      [{ ...good, 'tls.key': other['tls.key'] }, 'tls.key is not the key of tls.crt'],
      [{ ...good, 'ca.crt': other['ca.crt'] }, 'tls.crt was not signed by a CA of ca.crt'],
      [{ ...good, 'ca.crt': '' }, 'ca.crt is missing'],
    ] as const) {
      expect(nextCertificateStep(data, POLICY, START_MS, 0)).toEqual({ kind: 'replace', because });
    }
    const late = START_MS + 24 * HOUR_MS;
    expect(nextCertificateStep(good, POLICY, late, 0)).toMatchObject({
      kind: 'replace',
      because: expect.stringMatching(/expired/),
    });
    const replaced = dataAfter({ kind: 'replace', because: '' }, good, () => issue(late), late);
    expect(problemOf(replaced ?? {}, 'tls', late)).toBeUndefined();
  });

  test('is rotated when its lifetime exceeds the configured one', () => {
    const policy = { ...POLICY, validityMs: HOUR_MS };
    expect(nextCertificateStep(fresh(), policy, START_MS, 0)).toEqual({
      kind: 'announce',
      because: 'the certificate is valid longer than webhook.certificateValidity',
    });
  });

  test('is rotated when it lacks a name by which the API server connects', () => {
    const policy = { ...POLICY, hosts: [...POLICY.hosts, '10.0.0.1'] };
    expect(nextCertificateStep(fresh(), policy, START_MS, 0)).toEqual({
      kind: 'announce',
      because: 'the certificate is not valid for 10.0.0.1',
    });
  });

  test('#27: with any bytes reports what is wrong and throws nothing', () => {
    const good = fresh();
    const part = fc.oneof(fc.string(), fc.constantFrom(...Object.values(good)));
    const anyData = fc.record(
      { 'ca.crt': part, 'tls.crt': part, 'tls.key': part, 'next.crt': part, 'next.key': part },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(anyData, fc.nat(100_000), (data, unchangedForMs) => {
        const step = nextCertificateStep(data, POLICY, START_MS, unchangedForMs);
        const next = dataAfter(step, data, () => issue(START_MS), START_MS);
        if (next !== undefined) expect(problemOf(next, 'tls', START_MS)).toBeUndefined();
      }),
      { numRuns: 60 },
    );
  });
});

describe('a rotation', () => {
  test('never shows a lagging reader a certificate that it does not trust', () => {
    // For ten lifetimes: the certificates served by replicas and the CAs trusted by API servers may each be as old as
    // settleMs.
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1000, max: 30_000 }), { minLength: 5, maxLength: 20 }), (paces) => {
        const policy = { ...POLICY, validityMs: 600_000, settleMs: 60_000 };
        let nowMs = START_MS;
        let data = fresh(nowMs);
        data = {
          ...data,
          ...dataAfter(
            { kind: 'replace', because: '' },
            undefined,
            () => issue(nowMs, policy.hosts, policy.validityMs),
            nowMs,
          ),
        };
        const history = [{ atMs: nowMs, data }];
        const kinds: string[] = [];
        for (let at = 0; nowMs < START_MS + 3 * policy.validityMs; at += 1) {
          nowMs += paces[at % paces.length] ?? 1000;
          const since = history.at(-1)?.atMs ?? nowMs;
          const step = nextCertificateStep(data, policy, nowMs, nowMs - since);
          const next = dataAfter(step, data, () => issue(nowMs, policy.hosts, policy.validityMs), nowMs);
          if (next !== undefined) {
            kinds.push(step.kind);
            data = next;
            history.push({ atMs: nowMs, data });
          }
          const from = history.findLastIndex(({ atMs }) => atMs <= nowMs - policy.settleMs);
          const visible = history.slice(Math.max(0, from));
          for (const shown of visible) {
            for (const trusted of visible)
              expect(isTrusted(trusted.data['ca.crt'], shown.data['tls.crt'], nowMs)).toBe(true);
          }
        }
        expect(kinds.slice(0, 6)).toEqual(['announce', 'switch', 'finish', 'announce', 'switch', 'finish']);
      }),
      { numRuns: 10 },
    );
  });

  test('waits for every reader at each step, and can be continued by any replica', () => {
    const late = START_MS + 20 * HOUR_MS;
    const announced = dataAfter({ kind: 'announce', because: '' }, fresh(), () => issue(late), late);
    expect(nextCertificateStep(announced, POLICY, late, 10_000)).toEqual({ kind: 'wait', forMs: 50_000 });
    expect(nextCertificateStep(announced, POLICY, late, 60_000)).toEqual({ kind: 'switch' });
    const switched = dataAfter({ kind: 'switch' }, announced, () => issue(late), late);
    expect(nextCertificateStep(switched, POLICY, late, 10_000)).toEqual({ kind: 'wait', forMs: 50_000 });
    expect(nextCertificateStep(switched, POLICY, late, 60_000)).toEqual({ kind: 'finish' });
    const finished = dataAfter({ kind: 'finish' }, switched, () => issue(late), late);
    expect(nextCertificateStep(finished, POLICY, late, 0)).toMatchObject({ kind: 'wait' });
    expect(finished?.['ca.crt'].match(/BEGIN/g)).toHaveLength(1);
  });
});
