import { expect } from 'vitest';
import {
  type Answer,
  type Cases,
  call,
  causesOf,
  configMap,
  configMapResource,
  eventually,
  expectRefusal,
  namesOf,
  paths,
  pod,
  podEni,
  type Server,
  succeed,
  versionOf,
} from './server.ts';

async function five(server: Server): Promise<string> {
  const { configMaps } = paths(server);
  for (const name of ['c', 'a', 'e', 'b', 'd']) {
    await succeed(server, 'POST', configMaps, configMap(name, {}, { labels: { n: name } }));
  }
  return configMaps;
}

function token({ metadata }: Answer): string {
  const { continue: text } = metadata;
  return typeof text === 'string' ? text : '';
}

/** Lists: order, pages, selectors, versions. */
export const listCases: Cases = {
  'a list is in the order of names, and has a version': async (server) => {
    const listed = await succeed(server, 'GET', await five(server));
    expect(listed.body).toMatchObject({ kind: 'ConfigMapList', apiVersion: 'v1' });
    expect(namesOf(listed)).toEqual(['a', 'b', 'c', 'd', 'e']);
    const { metadata } = await succeed(server, 'GET', `${paths(server).configMaps}/d`);
    expect(Number(versionOf(listed))).toBeGreaterThanOrEqual(Number(metadata['resourceVersion']));
  },

  'items of built-in kinds do not say their kind, those of custom ones do': async (server) => {
    const { pods, podEnis } = paths(server);
    await succeed(server, 'POST', pods, pod('a'));
    await succeed(server, 'POST', podEnis, podEni('a'));
    const first = async (path: string) => {
      const { items } = (await succeed(server, 'GET', path)).body;
      return Array.isArray(items) ? (items[0] as unknown) : undefined;
    };
    expect(await first(pods)).not.toHaveProperty('kind');
    expect(await first(podEnis)).toMatchObject({ kind: 'PodENI' });
  },

  'pages are of one version, whatever happens in between': async (server) => {
    const path = await five(server);
    const first = await succeed(server, 'GET', `${path}?limit=2`);
    expect(namesOf(first)).toEqual(['a', 'b']);
    expect(first.metadata['remainingItemCount']).toBe(3);
    await succeed(server, 'POST', path, configMap('bb'));
    await succeed(server, 'DELETE', `${path}/d`);
    const second = await succeed(server, 'GET', `${path}?limit=2&continue=${token(first)}`);
    expect(namesOf(second)).toEqual(['c', 'd']);
    const third = await succeed(server, 'GET', `${path}?limit=2&continue=${token(second)}`);
    expect(namesOf(third)).toEqual(['e']);
    expect(token(third)).toBe('');
    expect([versionOf(second), versionOf(third)]).toEqual([versionOf(first), versionOf(first)]);
  },

  'pages of a selection': async (server) => {
    const path = await five(server);
    const selector = `labelSelector=${encodeURIComponent('n in (a,c,e)')}`;
    const first = await succeed(server, 'GET', `${path}?limit=2&${selector}`);
    expect(namesOf(first)).toEqual(['a', 'c']);
    expect(first.metadata).not.toHaveProperty('remainingItemCount');
    const second = await succeed(server, 'GET', `${path}?limit=2&${selector}&continue=${token(first)}`);
    expect([namesOf(second), token(second)]).toEqual([['e'], '']);
  },

  'a page whose version is forgotten has expired': async (server) => {
    const path = await five(server);
    const first = await succeed(server, 'GET', `${path}?limit=2`);
    await succeed(server, 'DELETE', `${path}/d`);
    server.forgetHistory();
    const next = () => call(server, 'GET', `${path}?limit=2&continue=${token(first)}`);
    const refused = await eventually(server, next, ({ status }) => status !== 200);
    expectRefusal(refused, { code: 410, reason: 'Expired' });
    expect(refused.body['message']).toContain('The provided continue parameter is too old');
  },

  'an exact version that is forgotten has expired': async (server) => {
    const path = await five(server);
    const { metadata } = await succeed(server, 'GET', path);
    await succeed(server, 'DELETE', `${path}/d`);
    server.forgetHistory();
    const exact = `${path}?resourceVersionMatch=Exact&resourceVersion=${String(metadata['resourceVersion'])}`;
    const refused = await eventually(
      server,
      () => call(server, 'GET', exact),
      ({ status }) => status !== 200,
    );
    expectRefusal(refused, { code: 410, reason: 'Expired' });
  },

  'pages that make no sense': async (server) => {
    const path = await five(server);
    const expected = { code: 400, reason: 'BadRequest' };
    const first = await succeed(server, 'GET', `${path}?limit=2`);
    expectRefusal(await call(server, 'GET', `${path}?limit=2&continue=garbage`), expected);
    const both = await call(server, 'GET', `${path}?continue=${token(first)}&resourceVersion=${versionOf(first)}`);
    expectRefusal(both, { ...expected, message: 'specifying resource version is not allowed when using continue' });
    expectRefusal(await call(server, 'GET', `${path}?limit=x`), expected);
    expect(namesOf(await call(server, 'GET', `${path}?limit=-1`))).toHaveLength(5);
  },

  'an exact version shows what was': async (server) => {
    const path = await five(server);
    const before = await succeed(server, 'GET', path);
    await succeed(server, 'DELETE', `${path}/a`);
    await succeed(server, 'PUT', `${path}/b`, configMap('b', { data: { new: '1' } }));
    const exact = await succeed(
      server,
      'GET',
      `${path}?resourceVersionMatch=Exact&resourceVersion=${versionOf(before)}`,
    );
    expect(exact.body['items']).toEqual(before.body['items']);
    expect(versionOf(exact)).toBe(versionOf(before));
  },

  'a version asks for something at least as new': async (server) => {
    const path = await five(server);
    const { metadata } = await succeed(server, 'GET', `${path}/d`);
    const asked = String(metadata['resourceVersion']);
    const listed = await succeed(server, 'GET', `${path}?resourceVersion=${asked}&resourceVersionMatch=NotOlderThan`);
    expect(Number(versionOf(listed))).toBeGreaterThanOrEqual(Number(asked));
    expect(namesOf(listed)).toHaveLength(5);
  },

  'any version is good for 0, and then there are no pages': async (server) => {
    const path = await five(server);
    const listed = await succeed(server, 'GET', `${path}?resourceVersion=0&limit=2`);
    expect(token(listed)).toBe('');
  },

  'a version that is still to come is not waited for long': async (server) => {
    const path = await five(server);
    const refused = await call(server, 'GET', `${path}?resourceVersion=999999999&timeoutSeconds=1`);
    expectRefusal(refused, { code: 504, reason: 'Timeout', details: { retryAfterSeconds: 1 } });
    expect(refused.body['message']).toContain('Too large resource version: 999999999');
    expect(refused.retryAfter).toBe('1');
    const causes = [{ reason: 'ResourceVersionTooLarge' }];
    expect(refused.body['details']).toMatchObject({ causes });
  },

  'versions that make no sense': async (server) => {
    const path = await five(server);
    expectRefusal(await call(server, 'GET', `${path}?resourceVersion=x`), { code: 400, reason: 'BadRequest' });
    for (const query of ['resourceVersionMatch=Exact', 'resourceVersionMatch=Exact&resourceVersion=0']) {
      const refused = await call(server, 'GET', `${path}?${query}`);
      expectRefusal(refused, { code: 422, reason: 'Invalid', details: { group: 'meta.k8s.io', kind: 'ListOptions' } });
      expect(causesOf(refused)).toEqual(['resourceVersionMatch FieldValueForbidden']);
    }
  },

  'label selectors': async (server) => {
    const path = await five(server);
    await succeed(server, 'POST', path, configMap('f'));
    const found = async (selector: string) =>
      namesOf(await succeed(server, 'GET', `${path}?labelSelector=${encodeURIComponent(selector)}`));
    expect(await found('n=a')).toEqual(['a']);
    expect(await found('n==a')).toEqual(['a']);
    expect(await found('n!=a')).toEqual(['b', 'c', 'd', 'e', 'f']);
    expect(await found('n in (a, b), n!=b')).toEqual(['a']);
    expect(await found('n notin (a,b,c)')).toEqual(['d', 'e', 'f']);
    expect(await found('n')).toEqual(['a', 'b', 'c', 'd', 'e']);
    expect(await found('!n')).toEqual(['f']);
    expect(await found('n=a,n=b')).toEqual([]);
    const bad = await call(server, 'GET', `${path}?labelSelector=${encodeURIComponent('n=a=b')}`);
    expectRefusal(bad, { code: 400, reason: 'BadRequest' });
  },

  'field selectors': async (server) => {
    const path = await five(server);
    const found = async (where: string, selector: string) =>
      namesOf(await succeed(server, 'GET', `${where}?fieldSelector=${encodeURIComponent(selector)}`));
    expect(await found(path, 'metadata.name=a')).toEqual(['a']);
    expect(await found(path, `metadata.name!=a,metadata.namespace=${server.namespace}`)).toEqual(['b', 'c', 'd', 'e']);
    expect(await found('/api/v1/configmaps', `metadata.name=a,metadata.namespace=${server.namespace}`)).toEqual(['a']);
    const expected = { code: 400, reason: 'BadRequest' };
    expectRefusal(await call(server, 'GET', `${path}?fieldSelector=data.x%3D1`), expected);
    const { podEnis } = paths(server);
    const message = 'field label not supported: spec.zone';
    expectRefusal(await call(server, 'GET', `${podEnis}?fieldSelector=spec.zone%3Dx`), { ...expected, message });
    expect(await found(podEnis, 'metadata.name=x')).toEqual([]);
  },

  'the client reads a list in pages': async (server) => {
    await five(server);
    const { client, namespace } = server;
    const first = await client.list(configMapResource, { namespace, limit: 3 });
    expect(first.items.map(({ metadata }) => metadata.name)).toEqual(['a', 'b', 'c']);
    const { continueToken } = first;
    const second = await client.list(configMapResource, { namespace, limit: 3, continueToken });
    expect(second.items.map(({ metadata }) => metadata.name)).toEqual(['d', 'e']);
    expect(second).toMatchObject({ resourceVersion: first.resourceVersion, continueToken: undefined });
  },
};
