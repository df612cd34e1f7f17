/** The keys and tokens of a broker with accounts (decentralised JWT authentication), as `nsc` makes them. */
import { createRequire } from 'node:module';

interface KeyPair {
  getPublicKey(): string;
  getSeed(): Uint8Array;
  sign(bytes: Uint8Array): Uint8Array;
}
interface Nkeys {
  createOperator(): KeyPair;
  createAccount(): KeyPair;
  createUser(): KeyPair;
}

/** A part of the client of NATS, so it is found from there. */
function nkeys(): Nkeys {
  const client = createRequire(import.meta.url).resolve('@nats-io/transport-node');
  return createRequire(client)('@nats-io/nkeys') as Nkeys;
}

const encode = (bytes: string | Uint8Array): string => Buffer.from(bytes).toString('base64url');

function token(issuer: KeyPair, subject: KeyPair, name: string, nats: object): string {
  const claims = {
    jti: name,
    iat: Math.floor(Date.now() / 1000),
    iss: issuer.getPublicKey(),
    sub: subject.getPublicKey(),
    name,
    nats: { ...nats, version: 2 },
  };
  const signed = `${encode(JSON.stringify({ typ: 'JWT', alg: 'ed25519-nkey' }))}.${encode(JSON.stringify(claims))}`;
  return `${signed}.${encode(issuer.sign(Buffer.from(signed)))}`;
}

/** A configuration of nats-server with one account, the credentials of a user of it, and those of a user it does not know. */
export function makeCredentials(): { config: string; creds: string; strange: string } {
  const keys = nkeys();
  const operator = keys.createOperator();
  const account = keys.createAccount();
  const operatorToken = token(operator, operator, 'operator', { type: 'operator' });
  const limits = { subs: -1, data: -1, payload: -1, conn: -1, leaf: -1, imports: -1, exports: -1, wildcards: true };
  const accountToken = token(operator, account, 'account', { type: 'account', limits });
  const config = [
    `operator: ${operatorToken}`,
    'resolver: MEMORY',
    `resolver_preload: { ${account.getPublicKey()}: ${accountToken} }`,
    '',
  ].join('\n');
  const credsOf = (issuer: KeyPair): string => {
    const user = keys.createUser();
    const userToken = token(issuer, user, 'user', { type: 'user', subs: -1, data: -1, payload: -1 });
    const seed = Buffer.from(user.getSeed()).toString();
    return [
      '-----BEGIN NATS USER JWT-----',
      userToken,
      '------END NATS USER JWT------',
      '',
      '-----BEGIN USER NKEY SEED-----',
      seed,
      '------END USER NKEY SEED------',
      '',
    ].join('\n');
  };
  return { config, creds: credsOf(account), strange: credsOf(keys.createAccount()) };
}
