import { describe, expect, test } from 'vitest';
import { applyJsonPatch } from '../kube/test-support/json-patch.ts';
import { defaultNetworking, validateNetworking } from './pod-networking.ts';

const DEFAULTS = { vSwitchOptions: ['vsw-a', 'vsw-b'], securityGroupIDs: ['sg-a'] };
const RULES = { enableTrunk: true, stableNameKinds: [], injectResources: true };
const SOUND = { vSwitchOptions: ['vsw-1'], securityGroupIDs: ['sg-1'] };

const networking = (spec: object, metadata: object = {}): Record<string, unknown> => ({
  metadata: { name: 'web', ...metadata },
  spec,
});

describe('missing fields of a PodNetworking are filled in', () => {
  const filled = (raw: Record<string, unknown>) => {
    const verdict = defaultNetworking(raw, DEFAULTS);
    return verdict.kind === 'allowed' ? applyJsonPatch(raw, verdict.patch) : verdict;
  };
  test.each([
    ['vSwitches', { securityGroupIDs: ['sg-1'] }, { securityGroupIDs: ['sg-1'], vSwitchOptions: ['vsw-a', 'vsw-b'] }],
    ['security groups', { vSwitchOptions: ['vsw-1'] }, { vSwitchOptions: ['vsw-1'], securityGroupIDs: ['sg-a'] }],
    ['both', { newer: { field: 1 } }, { newer: { field: 1 }, ...DEFAULTS }],
    ['nothing', SOUND, SOUND],
  ])('%s', (_name, spec, expected) => {
    expect(filled(networking(spec))).toEqual(networking(expected));
  });

  test('even the whole spec, but nothing while the cluster has no defaults or the schema will refuse the object', () => {
    expect(filled({ metadata: { name: 'web' } })).toEqual(networking(DEFAULTS));
    expect(defaultNetworking(networking({}), { message: 'none' })).toMatchObject({ patch: [] });
    expect(defaultNetworking(networking({ vSwitchOptions: 'vsw-1' }), DEFAULTS)).toMatchObject({ patch: [] });
  });
});

describe('#58: a PodNetworking is refused with field, value and rule', () => {
  const refusal = (spec: object, rules = RULES, missing?: string) => {
    const verdict = validateNetworking(networking({ ...SOUND, ...spec }), undefined, rules, missing);
    return verdict.kind === 'denied' ? verdict.message : 'allowed';
  };
  const selector = (...matchExpressions: object[]) => ({ selector: { podSelector: { matchExpressions } } });
  test.each([
    [
      { vSwitchOptions: [] },
      /^spec\.vSwitchOptions: empty; name at least one vSwitch, and there is no default: because$/,
    ],
    [{ securityGroupIDs: [] }, /^spec\.securityGroupIDs: empty/],
    [
      selector({ key: 'a', operator: 'Like' }),
      /^spec\.selector\.podSelector\.matchExpressions\[0\]\.operator: "Like" is not one of In, NotIn, /,
    ],
    [selector({ key: 'a', operator: 'In' }), /matchExpressions\[0\]\.values: empty; operator In needs/],
    [selector({ key: 'a', operator: 'Exists', values: ['x'] }), /values: must be empty with operator Exists/],
    [selector({ key: 'a b', operator: 'Exists' }), /matchExpressions\[0\]\.key: "a b" is not a label key/],
    [selector({ key: 'UPPER/a', operator: 'Exists' }), /"UPPER\/a" is not a label key/],
    [selector({ key: 'constructor', operator: 'constructor' }), /"constructor" is not one of/],
    [
      { selector: { namespaceSelector: { matchLabels: { a: '-x' } } } },
      /^spec\.selector\.namespaceSelector\.matchLabels\[a\]: "-x" is not a label value/,
    ],
  ])('%j', (spec, message) => {
    expect(refusal(spec, RULES, 'because')).toMatch(message);
  });

  test('an eniType that needs an explicit resource request while none is injected', () => {
    const off = { ...RULES, injectResources: false };
    expect(refusal({ eniOptions: { eniType: 'ENI' } }, off)).toMatch(
      /ENI needs a selector while webhook\.injectResources is false/,
    );
    expect(refusal({ eniOptions: { eniType: 'Default' } }, off)).toBe('allowed');
  });

  test('but not for an unchanged spec: an invalid object can still lose a finalizer', () => {
    const old = networking({ vSwitchOptions: [] });
    expect(validateNetworking({ ...old, metadata: { name: 'web', labels: {} } }, old, RULES, undefined).kind).toBe(
      'allowed',
    );
    expect(validateNetworking(networking({}), old, RULES, undefined).kind).toBe('denied');
  });

  test('and warned about what is allowed but probably a mistake', () => {
    const warnings = (spec: object, rules = RULES) => {
      const verdict = validateNetworking(networking({ ...SOUND, ...spec }), undefined, rules, undefined);
      return verdict.kind === 'allowed' ? verdict.warnings : [];
    };
    expect(warnings({ selector: { podSelector: {} } })).toEqual(['spec.selector: selects every pod of the cluster']);
    expect(warnings({ eniOptions: { eniType: 'Trunk' } }, { ...RULES, enableTrunk: false })).toHaveLength(1);
    expect(warnings({ selector: { podSelector: { matchLabels: { a: 'b' } } } })).toEqual([]);
  });
});
