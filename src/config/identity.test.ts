import { describe, expect, test } from 'vitest';
import { ConfigError } from './errors.ts';
import { findIdentity, type IdentitySources } from './identity.ts';

const sources = (given: { profile?: Record<string, string>; metadata?: Record<string, string> }) => {
  const asked: string[] = [];
  const ask: IdentitySources = {
    clusterProfile: async () => {
      asked.push('profile');
      return given.profile;
    },
    metadata: async (path) => {
      asked.push(path);
      const value = given.metadata?.[path];
      if (value === undefined) throw new Error('no answer from http://100.100.100.200');
      return value;
    },
  };
  return { ask, asked };
};

describe('#64: where the cluster lives', () => {
  test('configured values are not looked up', async () => {
    const { ask, asked } = sources({});
    const config = { regionID: 'cn-hangzhou', clusterID: 'c1', vpcID: 'vpc-1' };
    expect(await findIdentity(config, ask)).toEqual(config);
    expect(asked).toEqual([]);
  });

  test('on ACK it comes from the cluster’s profile and the instance’s metadata, each read once', async () => {
    const { ask, asked } = sources({
      profile: { clusterid: 'c2', vpcid: 'vpc-2' },
      metadata: { 'region-id': 'cn-beijing\n' },
    });
    expect(await findIdentity({}, ask)).toEqual({ regionID: 'cn-beijing', clusterID: 'c2', vpcID: 'vpc-2' });
    expect(asked.sort()).toEqual(['profile', 'region-id']);
  });

  test('on ECS without a profile the VPC comes from the instance’s metadata', async () => {
    const { ask } = sources({ metadata: { 'region-id': 'cn-beijing', 'vpc-id': 'vpc-3' } });
    expect(await findIdentity({ clusterID: 'c3' }, ask)).toMatchObject({ vpcID: 'vpc-3' });
  });

  test('the error for a value that is found nowhere says where it was looked up and what to set', async () => {
    const failure = await findIdentity({ regionID: 'r', vpcID: 'vpc-1' }, sources({}).ask).catch((e: unknown) => e);
    expect(failure).toBeInstanceOf(ConfigError);
    expect(failure).toHaveProperty(
      'message',
      'clusterID: is not configured and was not found: ConfigMap kube-system/ack-cluster-profile has no clusterid; set clusterID in the configuration (controlPlane.config.clusterID of the chart) to an id that no other cluster of the account has: every ENI carries it as a tag',
    );
  });
});
