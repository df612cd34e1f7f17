/** The rules about TLS: what was not verified, and handshakes that failed. */
import type { WindowRule } from './rules.js';
import { grouped } from '../model/words.js';

const notVerified: WindowRule = {
  code: 'tls_not_verified',
  check(_, { plan }) {
    if (plan.tls?.verified !== false) return null;
    return {
      severity: 'info',
      badness: 0,
      message: "the server's certificate was not verified (--tls-insecure), so any server could have answered",
      hint: '--tls-ca FILE names the certificates to trust',
      figures: {},
    };
  },
};

/** Classes of errors of TLS, and what they mean. */
const classes = {
  tls_verify: 'the certificate of the server was refused',
  tls_handshake: 'the TLS handshake failed',
  tls_broken: 'the TLS session failed after its handshake',
} as const;

const failed: WindowRule = {
  code: 'tls_failed',
  check({ errors }) {
    const counts = Object.entries(classes).flatMap(([name, what]) => {
      const count = errors.by_class[name] ?? 0;
      return count === 0 ? [] : [{ name, what, count }];
    });
    if (counts.length === 0) return null;
    const total = counts.reduce((sum, { count }) => sum + count, 0);
    const sample = errors.samples.find((one) => counts.some(({ name }) => name === one.class));
    return {
      severity: 'warning',
      badness: total,
      message: counts
        .map(({ what, count }) => `${what} (${grouped(count)} ${count === 1 ? 'time' : 'times'})`)
        .join('; '),
      hint: sample === undefined ? 'see the log of the server' : `for example ${sample.message}`,
      figures: Object.fromEntries(counts.map(({ name, count }) => [name, count])),
    };
  },
};

export const tlsRules: readonly WindowRule[] = [notVerified, failed];
