/** A TLS echo server for tests, and the certificates of fixtures/tls. */
import { readFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { createServer, type TlsOptions, type TLSSocket } from 'node:tls';
import type { Test } from 'tap';
import { root } from './environment.js';

export type CertificateName = 'ca' | 'server' | 'expired' | 'self-signed' | 'client';

export function certificateFile(name: CertificateName): string {
  return join(root, 'fixtures', 'tls', `${name}.pem`);
}

/** The file of the private key of a certificate; expired and self-signed ones share that of the server. */
export function keyFile(name: CertificateName): string {
  return join(root, 'fixtures', 'tls', `${name === 'client' ? 'client' : 'server'}.key`);
}

export interface TlsRig {
  readonly port: number;
  /** Complete handshakes, and how many of these resumed a session. */
  handshakes: number;
  resumed: number;
  /** The name that the last client sent (SNI); false: none. */
  serverName: string | false;
}

/** An echo server. @param serve replaces the echo */
export async function startTlsEcho(
  test: Test,
  name: CertificateName,
  options: TlsOptions = {},
  serve: (socket: TLSSocket) => void = (socket) => socket.pipe(socket),
): Promise<TlsRig> {
  const sockets = new Set<TLSSocket>();
  const own = { cert: readFileSync(certificateFile(name)), key: readFileSync(keyFile(name)) };
  const rig = { port: 0, handshakes: 0, resumed: 0, serverName: false as string | false };
  const server = createServer({ ...own, ...options }, (socket) => {
    sockets.add(socket);
    socket.on('error', () => socket.destroy()).on('close', () => sockets.delete(socket));
    rig.handshakes += 1;
    rig.resumed += socket.isSessionReused() ? 1 : 0;
    rig.serverName = (socket as TLSSocket & { servername: string | false }).servername;
    socket.setNoDelay(true);
    serve(socket);
  });
  server.on('tlsClientError', () => undefined);
  await new Promise<void>((resolve) => {
    server.listen({ port: 0, host: '127.0.0.1', backlog: 1024 }, resolve);
  });
  test.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  rig.port = (server.address() as AddressInfo).port;
  return rig;
}
