/** TLS settings as the native library takes them: struct ib_tls and its texts, see the header. */
import { readFileSync } from 'node:fs';
import { rootCertificates } from 'node:tls';
import type { TlsSettings } from '../model/tls.js';
import { encodeStruct } from './abi.js';

/** The certificates that Node trusts: its own list, and those of NODE_EXTRA_CA_CERTS. */
function trustedByNode(): string {
  const extra = process.env['NODE_EXTRA_CA_CERTS'];
  return [...rootCertificates, ...(extra === undefined || extra === '' ? [] : [readOrNothing(extra)])].join('\n');
}

/** Node itself only warns if the file cannot be read. */
function readOrNothing(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}

export function encodeTls({ serverName, serverNameIsAddress, authorities, client, resume }: TlsSettings): Uint8Array {
  const trusted = authorities === null ? '' : authorities === 'node' ? trustedByNode() : authorities.pem;
  const texts = [serverName, trusted, client?.certificate ?? '', client?.key ?? ''].map((text) => Buffer.from(text));
  const [name = 0, trust = 0, certificate = 0, key = 0] = texts.map(({ length }) => length);
  const head = encodeStruct('ib_tls', {
    insecure: authorities === null ? 1 : 0,
    resume: resume ? 1 : 0,
    server_name_is_address: serverNameIsAddress ? 1 : 0,
    server_name_bytes: name,
    authorities_bytes: trust,
    certificate_bytes: certificate,
    key_bytes: key,
  });
  return Buffer.concat([head, ...texts]);
}
