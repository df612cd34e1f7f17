/** Makes the TLS settings of a plan, and refuses options that do not fit each other or this build of Node. */
import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { BenchError } from '../model/errors.js';
import type { ModeSpec, PlannedTls } from '../model/plan.js';
import type { TlsSettings } from '../model/tls.js';
import { checkTls } from '../native/binding.js';
import { encodeTls } from '../native/encode-tls.js';
import type { BlastOptions } from './blast-options.js';

/** The options that mean nothing without TLS. */
const tlsKeys = {
  tlsCa: '--tls-ca',
  tlsInsecure: '--tls-insecure',
  tlsServerName: '--tls-server-name',
  tlsCert: '--tls-cert',
  tlsKey: '--tls-key',
  tlsResume: '--tls-resume',
} as const;

function usage(message: string, hint: string): BenchError {
  return new BenchError('usage', message, hint);
}

/**
 * The settings that the options describe; null: without TLS.
 * @throws BenchError 'usage' if options do not fit each other or a file is not usable; 'unavailable' if Node has no OpenSSL to use
 */
export function planTls(options: BlastOptions, servers: readonly ModeSpec[]): PlannedTls | null {
  if (!options.tls && options.target?.http?.isSecure !== true) {
    for (const [key, flag] of Object.entries(tlsKeys)) {
      const value = options[key as keyof typeof tlsKeys];
      if (value !== undefined && value !== false) {
        throw usage(`${flag} needs --tls, or a --target that begins with https://`, 'add --tls, or leave it out');
      }
    }
    return null;
  }
  checkCombinations(options, servers);
  const { tlsCa, tlsCert, tlsKey, tlsInsecure, tlsResume } = options;
  const serverName = options.tlsServerName ?? nameOf(options.target?.host ?? options.host);
  const settings: TlsSettings = {
    serverName,
    serverNameIsAddress: isIP(serverName) !== 0,
    authorities: tlsInsecure ? null : tlsCa === undefined ? 'node' : { pem: read('--tls-ca', tlsCa) },
    client:
      tlsCert === undefined || tlsKey === undefined
        ? null
        : { certificate: read('--tls-cert', tlsCert), key: read('--tls-key', tlsKey) },
    resume: tlsResume,
  };
  checkTls(encodeTls(settings));
  return {
    ...settings,
    words: {
      server_name: serverName,
      verified: !tlsInsecure,
      authorities: tlsCa ?? null,
      client_certificate: settings.client !== null,
      resume: tlsResume,
    },
  };
}

function checkCombinations(options: BlastOptions, servers: readonly ModeSpec[]): void {
  const { tlsCa, tlsCert, tlsKey, tlsInsecure, tlsResume, tlsServerName } = options;
  const own = servers.find(({ serverMode }) => serverMode !== null);
  if (own !== undefined) {
    throw usage(
      `the mode ${own.mode} does not speak TLS`,
      "use --target host:port, or --mode-command 'mine=./server --port {port}'",
    );
  }
  if (options.target?.http !== undefined && !options.target.http.isSecure) {
    throw usage('--tls contradicts a --target that begins with http://', 'write https://, or leave out --tls');
  }
  if (tlsInsecure && tlsCa !== undefined) {
    throw usage('--tls-ca and --tls-insecure exclude each other', '--tls-insecure accepts any certificate');
  }
  if ((tlsCert === undefined) !== (tlsKey === undefined)) {
    const [given, missing] = tlsKey === undefined ? ['--tls-cert', '--tls-key'] : ['--tls-key', '--tls-cert'];
    throw usage(`${given} needs ${missing}`, 'a client certificate is used together with its private key');
  }
  if (tlsKey !== undefined && options.clientsOn !== undefined) {
    throw usage('--tls-key cannot be used with --clients-on', 'a private key is not sent to other machines');
  }
  if (tlsServerName !== undefined && (tlsServerName === '' || Buffer.byteLength(tlsServerName) > 255)) {
    throw usage('--tls-server-name is not a name of 1 to 255 bytes', 'for example --tls-server-name db.example.com');
  }
  const isMadeAgain = options.requestsPerConnection !== undefined || options.target?.http !== undefined;
  if (tlsResume && !isMadeAgain && options.protocol !== 'http') {
    throw usage(
      '--tls-resume only applies to connections that are made again',
      'add --requests-per-connection, or leave it out',
    );
  }
}

/** A certificate names no interface of the client: "fe80::1%eth0" is fe80::1. */
function nameOf(host: string): string {
  return host.replace(/%.*$/, '').replace(/\.$/, '');
}

function read(flag: string, file: string): string {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    const reason = error instanceof Error && 'code' in error ? String(error.code) : String(error);
    throw new BenchError(
      'usage',
      `${flag}: ${file} cannot be read: ${reason}`,
      'a file in PEM form is expected',
      error,
    );
  }
  if (text !== '') return text;
  throw usage(`${flag}: ${file} is empty`, 'a file in PEM form is expected');
}
