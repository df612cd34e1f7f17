/** Connects a command to the broker that its options, or NATS_URL, name. */
import { Broker } from '../agent/broker.js';
import { BenchError } from '../model/errors.js';
import { isLocalBroker, parseBrokerUrls, type BrokerUrl } from '../model/broker-url.js';

export interface BrokerChoice {
  readonly nats?: BrokerUrl[] | undefined;
  readonly natsCreds?: string | undefined;
  readonly natsTokenFile?: string | undefined;
}

/** @throws BenchError 'usage' if no broker is named, 'unavailable' if there is no connection */
export async function joinBroker(choice: BrokerChoice, label: string): Promise<Broker> {
  const { natsCreds, natsTokenFile } = choice;
  if (natsCreds !== undefined && natsTokenFile !== undefined) {
    throw new BenchError(
      'usage',
      '--nats-creds and --nats-token-file exclude each other',
      'use the one that the broker asks for',
    );
  }
  return await Broker.connect(
    { urls: brokerUrls(choice), credsFile: natsCreds ?? null, tokenFile: natsTokenFile ?? null },
    label,
  );
}

function brokerUrls({ nats }: BrokerChoice): readonly BrokerUrl[] {
  if (nats !== undefined) return nats;
  const named = process.env['NATS_URL'] ?? '';
  if (named !== '') return parseBrokerUrls('NATS_URL')(named);
  throw new BenchError('usage', 'no broker is named', 'use --nats nats://HOST:4222, or set NATS_URL');
}

/** What the agent's owner should know before others can use it; null if only this machine can, or a secret is needed. */
export function openBrokerNote(choice: BrokerChoice): string | null {
  const urls = brokerUrls(choice);
  const hasSecret =
    choice.natsCreds !== undefined || choice.natsTokenFile !== undefined || urls.some(({ user }) => user !== null);
  if (hasSecret || isLocalBroker(urls)) return null;
  return (
    'Warning: no credentials are used. Anyone who can reach the broker can start servers and load on this machine; ' +
    'protect the broker with --nats-creds or --nats-token-file.'
  );
}
