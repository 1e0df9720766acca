import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { connect, createServer } from 'node:tls';
import { describe, expect, test } from 'vitest';
import { createAuthority, issueCertificate } from './x509.ts';

const VALIDITY = { notBeforeMs: Date.now() - 3_600_000, notAfterMs: Date.now() + 3_600_000 };

describe('certificates', () => {
  test('satisfy a TLS client that checks chain, name and address', async () => {
    const authority = createAuthority('some authority', VALIDITY);
    const hosts = ['localhost', '127.0.0.1', '::1'];
    const server = issueCertificate(authority, { commonName: 's', usage: 'server', hosts }, VALIDITY);
    const listener = createServer({ cert: server.certificatePem, key: server.privateKeyPem });
    listener.listen(0, '127.0.0.1');
    await once(listener, 'listening');
    const address = listener.address();
    if (address === null || typeof address === 'string') throw new Error('no port');
    try {
      for (const host of ['localhost', '127.0.0.1']) {
        const socket = connect({
          host: '127.0.0.1',
          port: address.port,
          ca: authority.certificatePem,
          servername: host === 'localhost' ? host : '',
        });
        await once(socket, 'secureConnect');
        expect(socket.authorized).toBe(true);
        socket.destroy();
      }
    } finally {
      listener.close();
    }
    expect(new X509Certificate(server.certificatePem).checkIP('::1')).toBe('::1');
  });

  test('carry user and groups in the form that Kubernetes reads', () => {
    const authority = createAuthority('some authority', VALIDITY);
    const client = issueCertificate(
      authority,
      { commonName: 'jane', organizations: ['a', 'ü'], usage: 'client' },
      VALIDITY,
    );
    const certificate = new X509Certificate(client.certificatePem);
    expect(certificate.subject).toBe('O=a\nO=ü\nCN=jane');
    expect(certificate.checkIssued(new X509Certificate(authority.certificatePem))).toBe(true);
    expect(certificate.ca).toBe(false);
  });

  test('are valid for exactly the requested time, in this century and the next', () => {
    for (const notAfter of ['2030-02-03T04:05:06.000Z', '2149-12-31T23:59:59.000Z']) {
      const validity = { notBeforeMs: Date.parse('2026-01-01T00:00:00Z'), notAfterMs: Date.parse(notAfter) };
      const certificate = new X509Certificate(createAuthority('a', validity).certificatePem);
      expect(certificate.validToDate.toISOString()).toBe(notAfter);
      expect(certificate.validFromDate.toISOString()).toBe('2026-01-01T00:00:00.000Z');
    }
  });
});
