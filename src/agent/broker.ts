/** The connection to a NATS broker. The client library is loaded here, when it is first needed: local runs do not load it. */
import { readFileSync } from 'node:fs';
import type { Authenticator, Msg, NatsConnection, Subscription } from '@nats-io/transport-node';
import { BenchError } from '../model/errors.js';
import type { BrokerUrl } from '../model/broker-url.js';

export interface BrokerOptions {
  readonly urls: readonly BrokerUrl[];
  /** File with the credentials (JWT and seed) of a NATS user. */
  readonly credsFile: string | null;
  /** File that contains the token and nothing else. */
  readonly tokenFile: string | null;
}

/** How long the first connection may take. */
const connectDeadlineMs = 5_000;
/** The client looks for the broker again this often. A broker that restarts is back within seconds. */
const reconnectEveryMs = 100;

/** Bytes that were received; `answer` replies to a request. */
export type Receive = (bytes: Uint8Array, subject: string, answer: (bytes: Uint8Array) => void) => void;

/** A request that nobody answered. */
export class NoAnswer extends Error {
  /** @param isAbsent true: nobody listens on the subject; false: the time ran out */
  constructor(readonly isAbsent: boolean) {
    super(isAbsent ? 'nobody listens' : 'no answer in time');
  }
}

export class Broker {
  private lostAt: number | null = null;
  private closedBy: Error | null = null;
  private isClosing = false;
  private readonly lostListeners = new Set<() => void>();

  private constructor(
    private readonly connection: NatsConnection,
    readonly where: string,
  ) {
    void this.watch();
  }

  /** @param label shown in the broker's own list of connections */
  static async connect(options: BrokerOptions, label: string): Promise<Broker> {
    const { urls, credsFile, tokenFile } = options;
    const where = urls.map(({ server }) => server).join(', ');
    const [first] = urls;
    const creds = credsFile === null ? null : readSecret('--nats-creds', credsFile);
    const token = tokenFile === null ? null : readSecret('--nats-token-file', tokenFile).trim();
    const nats = await loadClient();
    const authenticator = creds === null ? null : nats.credsAuthenticator(new TextEncoder().encode(creds));
    if (authenticator !== null) checkCredentials(authenticator, credsFile ?? '');
    try {
      const connection = await nats.connect({
        servers: urls.map(({ server }) => server),
        name: `iocp-bench ${label}`,
        timeout: connectDeadlineMs,
        maxReconnectAttempts: -1,
        reconnectTimeWait: reconnectEveryMs,
        reconnectJitter: 50,
        reconnectJitterTLS: 50,
        pingInterval: 5_000,
        ...(first?.tls === true && { tls: {} }),
        ...(token !== null && { token }),
        ...(typeof first?.user === 'string' && { user: first.user, pass: first.password ?? '' }),
        ...(authenticator !== null && { authenticator }),
      });
      return new Broker(connection, where);
    } catch (error) {
      throw cannotConnect(where, error);
    }
  }

  /** Time since the connection was lost in ms; null while it is up. */
  lostForMs(): number | null {
    return this.lostAt === null ? null : performance.now() - this.lostAt;
  }

  /** Why the client gave the connection up; null if it did not. */
  get failure(): Error | null {
    return this.closedBy;
  }

  /** Calls back when the connection is lost or made again. */
  onChange(listener: () => void): void {
    this.lostListeners.add(listener);
  }

  /** Does nothing without a connection: what is published is only of use now. */
  publish(subject: string, bytes: Uint8Array): void {
    if (this.lostAt !== null || this.connection.isClosed()) return;
    this.connection.publish(subject, bytes);
  }

  subscribe(subject: string, receive: Receive): Subscription {
    return this.connection.subscribe(subject, {
      callback: (error, message) => {
        if (error !== null) return;
        receive(message.data, message.subject, (bytes) => {
          this.respond(message, bytes);
        });
      },
    });
  }

  /** @throws NoAnswer; anything else that is thrown is a refusal of the broker */
  async request(subject: string, bytes: Uint8Array, deadlineMs: number): Promise<Uint8Array> {
    try {
      const message = await this.connection.request(subject, bytes, { timeout: Math.max(1, deadlineMs) });
      return message.data;
    } catch (error) {
      const { name, cause } = error as Error & { cause?: { name?: string } };
      if (
        name === 'NoRespondersError' ||
        cause?.name === 'NoRespondersError' ||
        String(error).includes('no responders')
      ) {
        throw new NoAnswer(true);
      }
      if (name === 'TimeoutError' || cause?.name === 'TimeoutError') throw new NoAnswer(false);
      if (this.lostAt !== null || this.connection.isClosed()) throw new NoAnswer(false);
      throw refusedByBroker(this.where, error);
    }
  }

  /** Every answer that arrives within the time. */
  async requestMany(subject: string, bytes: Uint8Array, durationMs: number): Promise<Uint8Array[]> {
    const found: Uint8Array[] = [];
    try {
      const answers = await this.connection.requestMany(subject, bytes, {
        strategy: 'timer',
        maxWait: Math.max(1, durationMs),
      });
      for await (const message of answers) found.push(message.data);
    } catch (error) {
      if (!String(error).includes('no responders')) throw refusedByBroker(this.where, error);
    }
    return found;
  }

  /** The longest message that the broker takes. */
  get longestBytes(): number {
    return this.connection.info?.max_payload ?? 1_048_576;
  }

  /** Waits until the broker has everything that was sent; never longer than the time. */
  async flush(deadlineMs = 500): Promise<void> {
    if (this.lostAt !== null || this.connection.isClosed()) return;
    await Promise.race([
      this.connection.flush().catch(() => undefined),
      new Promise((resolve) => setTimeout(resolve, deadlineMs).unref()),
    ]);
  }

  async close(): Promise<void> {
    this.isClosing = true;
    await this.flush();
    await this.connection.close();
  }

  private respond(message: Msg, bytes: Uint8Array): void {
    if (this.lostAt !== null || this.connection.isClosed()) return;
    message.respond(bytes);
  }

  private async watch(): Promise<void> {
    for await (const status of this.connection.status()) {
      if (this.isClosing) return;
      if (status.type === 'disconnect') this.lostAt ??= performance.now();
      else if (status.type === 'reconnect') {
        this.lostAt = null;
      } else if (status.type === 'close') {
        this.lostAt ??= performance.now();
      } else continue;
      for (const listener of this.lostListeners) listener();
    }
    const reason = await this.connection.closed();
    if (this.isClosing) return;
    this.closedBy = reason instanceof Error ? reason : new Error('the broker closed the connection');
    for (const listener of this.lostListeners) listener();
  }
}

async function loadClient(): Promise<typeof import('@nats-io/transport-node')> {
  try {
    return await import('@nats-io/transport-node');
  } catch (error) {
    throw new BenchError(
      'unavailable',
      'the package @nats-io/transport-node, which connects to NATS, cannot be loaded',
      'install iocp-bench again',
      error,
    );
  }
}

function readSecret(option: string, path: string): string {
  try {
    const text = readFileSync(path, 'utf8');
    if (text.trim() === '') throw new BenchError('usage', `${option} ${path} is empty`, 'it must contain the secret');
    return text;
  } catch (error) {
    if (error instanceof BenchError) throw error;
    const code = error instanceof Error && 'code' in error ? String(error.code) : '';
    throw new BenchError('usage', `${option} ${path} cannot be read: ${code}`, 'does the file exist?', error);
  }
}

/** @throws BenchError 'usage' if the file has no key that can sign */
function checkCredentials(authenticator: Authenticator, path: string): void {
  try {
    authenticator('nonce');
  } catch (error) {
    throw new BenchError(
      'usage',
      `--nats-creds ${path} has no credentials of a NATS user`,
      'it must be a file as nsc writes it, with a JWT and a seed',
      error,
    );
  }
}

function cannotConnect(where: string, error: unknown): BenchError {
  const { name, message } = error instanceof Error ? error : { name: '', message: String(error) };
  if (name === 'AuthorizationError' || /authorization/i.test(message)) {
    return new BenchError(
      'unavailable',
      `the broker ${where} refuses these credentials`,
      'check --nats-creds, --nats-token-file, or user and password in the URL',
      error,
    );
  }
  if (/tls|certificate|ssl/i.test(message)) {
    return new BenchError(
      'unavailable',
      `no TLS connection to the broker ${where}: ${message}`,
      'for a certificate of your own, set NODE_EXTRA_CA_CERTS to the file of its authority',
      error,
    );
  }
  return new BenchError(
    'unavailable',
    `no connection to the broker ${where}: ${message}`,
    'is nats-server running there? It is one program: apt-get install nats-server',
    error,
  );
}

function refusedByBroker(where: string, error: unknown): BenchError {
  const message = error instanceof Error ? error.message : String(error);
  return new BenchError(
    'unavailable',
    `the broker ${where} refused a message: ${message}`,
    'do the permissions of this user include iocp-bench.> and _INBOX.>?',
    error,
  );
}
