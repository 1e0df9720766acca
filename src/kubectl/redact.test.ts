import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { REDACTED, redact, redactText } from './redact.ts';

const SECRET = 'hunter2hunter2';

describe('what is named like a secret is removed', () => {
  test.each([
    ['a credential file', `accessKey: LTAI5tabcdefgh\naccessSecret: ${SECRET}\n`],
    ['JSON inside of a text', JSON.stringify({ eni_conf: { access_key: SECRET, region: 'cn-hangzhou' } })],
    ['a flag', `--password=${SECRET} --verbose`],
    ['a header', `Authorization: Bearer ${SECRET}`],
    ['an address with a password', `https://admin:${SECRET}@example.com/path`],
    ['a private key', `-----BEGIN EC PRIVATE KEY-----\n${SECRET}\n-----END EC PRIVATE KEY-----`],
    ['a private key that is cut off', `-----BEGIN PRIVATE KEY-----\n${SECRET}`],
    ['a token in a log line', `{"level":30,"msg":"x","token":"${SECRET}"}`],
    ['a quoted value with quotes in it', `"secretKey": "a\\"${SECRET}"`],
  ])('%s', (_, text) => {
    expect(redactText(text)).not.toContain(SECRET);
    expect(redactText(text)).toContain(REDACTED);
  });

  test('a JSON web token and an access key, whatever their key is', () => {
    const token = 'eyJhbGciOiJSUzI1NiIsImtpZCI6IiJ9.eyJpc3MiOiJrdWJlcm5ldGVzIn0.c2lnbmF0dXJl';
    expect(redactText(`x=${token} y=LTAI5tQnKxaPqRsTuVwX`)).toBe(`x=${REDACTED} y=${REDACTED}`);
  });

  test('variables of an environment', () => {
    const env = [
      { name: 'API_TOKEN', value: SECRET },
      { name: 'POD_NAME', value: 'a' },
    ];
    expect(redact({ env })).toEqual({
      env: [
        { name: 'API_TOKEN', value: REDACTED },
        { name: 'POD_NAME', value: 'a' },
      ],
    });
  });

  test('at any depth, in objects and in texts of objects', () => {
    const word = fc.stringMatching(/^[a-z]{3,8}$/);
    const holder = fc.constantFrom('password', 'accessSecret', 'securityToken', 'access_key', 'credential');
    const leaf = holder.map((key): unknown => ({ [key]: SECRET }));
    const nested = fc.letrec<{ node: unknown }>((tie) => ({
      node: fc.oneof(
        { maxDepth: 4 },
        leaf,
        fc.array(tie('node'), { minLength: 1, maxLength: 2 }),
        fc.dictionary(word, tie('node'), { minKeys: 1, maxKeys: 2 }),
        tie('node').map((inner) => ({ data: JSON.stringify(inner) })),
        leaf.map((inner) => ({ 'config.yaml': stringify(inner) })),
      ),
    })).node;
    fc.assert(
      fc.property(nested, (value) => {
        expect(JSON.stringify(redact(value))).not.toContain(SECRET);
      }),
    );
  });
});

test('what only sounds like a secret stays, because diagnosis needs it', () => {
  const spec = {
    intent: { clientToken: 't-1', attempt: 1 },
    volumes: [{ secret: { secretName: 'terway-controlplane-credential' } }],
    status: 'InUse',
    count: 3,
    message: 'eni-1 lacks the tags of this cluster',
  };
  expect(redact(spec)).toEqual({ ...spec, volumes: [{ secret: { secretName: 'terway-controlplane-credential' } }] });
});
