/**
 * TLS around the protocol: what clients verify of a server, and what they present to it. The settings also travel as JSON to agents on
 * other machines. They never contain a private key there.
 */
import { z } from 'zod';

export const tlsSchema = z.object({
  /** The name or address that the server's certificate must be for; a name is also sent to the server. */
  serverName: z.string().min(1).max(255),
  serverNameIsAddress: z.boolean(),
  /** Trusted certificates in PEM form; `node`: those that Node trusts where the client runs; null: any certificate is accepted. */
  authorities: z.union([z.literal('node'), z.object({ pem: z.string().min(1) })]).nullable(),
  /** The client's own certificate with its chain, and its private key, in PEM form; null: it has none. */
  client: z.object({ certificate: z.string().min(1), key: z.string().min(1) }).nullable(),
  /** A connection that is made again resumes its earlier session, if the server allows it. */
  resume: z.boolean(),
});
export type TlsSettings = z.infer<typeof tlsSchema>;

/** The settings as a report has them. */
export const tlsPlanSchema = z.object({
  server_name: z.string().describe("the name that the server's certificate had to be for"),
  verified: z.boolean().describe('false: any certificate was accepted (--tls-insecure)'),
  authorities: z
    .string()
    .nullable()
    .describe('file of the trusted certificates; null: those that Node.js trusts, or not verified'),
  client_certificate: z.boolean().describe('the client presented a certificate of its own'),
  resume: z.boolean().describe('connections made again resumed their session where the server allowed it'),
});
export type TlsPlan = z.infer<typeof tlsPlanSchema>;

/** "TLS, certificate verified for localhost". */
export function tlsInWords({ server_name, verified, authorities, client_certificate, resume }: TlsPlan): string {
  const trust = authorities === null ? '' : ` by ${authorities}`;
  const parts = [
    verified
      ? `over TLS, certificate verified for ${server_name}${trust}`
      : 'over TLS, certificate NOT verified (--tls-insecure)',
    ...(client_certificate ? ['with a client certificate'] : []),
    ...(resume ? ['sessions resumed'] : []),
  ];
  return parts.join(', ');
}
