/** Addresses of a NATS broker, as options and NATS_URL give them. */
import { BenchError } from './errors.js';
import { isLoopback } from './parse.js';

export interface BrokerUrl {
  /** "nats://10.0.0.5:4222", without user and password. */
  readonly server: string;
  readonly host: string;
  /** True for tls://: without TLS, no connection is made. */
  readonly tls: boolean;
  readonly user: string | null;
  readonly password: string | null;
}

const example = 'for example nats://10.0.0.5:4222 or tls://broker.example:4222; several are separated by commas';
const usualPort = '4222';

/** Several servers of one NATS cluster: "nats://a:4222,nats://b:4222". A name alone is nats://NAME:4222. */
export function parseBrokerUrls(name: string): (text: string) => BrokerUrl[] {
  return (text) => {
    const urls = text.split(',').map((part) => parseBrokerUrl(name, part.trim()));
    if (new Set(urls.map(({ tls }) => tls)).size > 1) {
      throw new BenchError('usage', `${name} mixes tls:// and nats://`, 'use one of them for all servers of a cluster');
    }
    return urls;
  };
}

function parseBrokerUrl(name: string, text: string): BrokerUrl {
  const full = /^[a-z]+:\/\//i.test(text) ? text : `nats://${text}`;
  const url = URL.canParse(full) ? new URL(full) : null;
  const scheme = url?.protocol.toLowerCase();
  if (text === '' || url === null || url.hostname === '') {
    throw new BenchError('usage', `${name} "${text}" is not the URL of a NATS broker`, example);
  }
  if (scheme !== 'nats:' && scheme !== 'tls:') {
    throw new BenchError('usage', `${name}: ${scheme ?? ''}// is not supported`, example);
  }
  return {
    server: `${scheme}//${url.hostname}:${url.port === '' ? usualPort : url.port}`,
    host: url.hostname.replace(/^\[(.*)\]$/, '$1'),
    tls: scheme === 'tls:',
    user: url.username === '' ? null : decodeURIComponent(url.username),
    password: url.password === '' ? null : decodeURIComponent(url.password),
  };
}

/** A command line's argument without the password of a broker's URL, for reports. */
export function withoutPassword(argument: string): string {
  return argument.replace(/((?:nats|tls):\/\/[^\s:@/]*):[^\s@/]*@/gi, '$1:***@');
}

/** True if only this machine can reach the broker. */
export function isLocalBroker(urls: readonly BrokerUrl[]): boolean {
  return urls.every(({ host }) => host === 'localhost' || isLoopback(host));
}
