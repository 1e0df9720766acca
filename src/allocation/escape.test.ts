import { describe, expect, test } from 'vitest';
import { type PodToJudge, recreatingOwner, webhookOutcome } from './escape.ts';

const pod = (changes: Partial<PodToJudge> = {}): PodToJudge => ({
  annotations: {},
  createdAt: '2026-01-01T12:00:00Z',
  hasNetwork: false,
  owners: [],
  namespaceLabels: {},
  ...changes,
});

const OPTED_OUT = { 'k8s.aliyun.com/pod-eni': 'false' };

describe('#12: whether a pod bypassed the webhook', () => {
  test.each([
    ['seen', pod({ annotations: { 'k8s.aliyun.com/pod-eni': 'true' } }), ['2026-01-01T11:00:00Z'], 'admitted'],
    ['younger than its PodNetworking', pod(), ['2026-01-01T11:00:00Z'], 'escaped'],
    ['younger than the youngest of them', pod(), ['2026-01-01T10:00:00Z', '2026-01-01T11:00:00Z'], 'escaped'],
    ['older', pod(), ['2026-01-01T12:30:00Z'], 'unasked'],
    ['of the same age', pod(), ['2026-01-01T11:59:56Z'], 'unasked'],
    ['in a namespace that opted out', pod({ namespaceLabels: OPTED_OUT }), ['2026-01-01T11:00:00Z'], 'unasked'],
    [
      'in such a namespace, with a network',
      pod({ namespaceLabels: OPTED_OUT, hasNetwork: true }),
      ['2026-01-01T11:00:00Z'],
      'settled',
    ],
    ['with a network of another kind', pod({ hasNetwork: true }), ['2026-01-01T11:00:00Z'], 'settled'],
  ])('%s', (_name, judged, createdAt, passage) => {
    expect(webhookOutcome(judged, createdAt)).toBe(passage);
  });

  test('only a controller that creates another pod counts as recreating it', () => {
    const owner = { kind: 'ReplicaSet', uid: 'u', controller: true };
    expect(recreatingOwner(pod({ owners: [owner] }))).toBe('u');
    expect(recreatingOwner(pod({ owners: [{ ...owner, controller: false }] }))).toBeUndefined();
    expect(recreatingOwner(pod({ owners: [{ ...owner, kind: 'Node' }] }))).toBeUndefined();
    expect(recreatingOwner(pod())).toBeUndefined();
  });
});
