/** The rules about TLS: what was not verified, and handshakes that failed. */
import { errorsOfClasses } from './error-classes.js';
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
    const found = errorsOfClasses(errors, Object.keys(classes) as (keyof typeof classes)[]);
    if (found === null) return null;
    const { counts, total, hint, figures } = found;
    return {
      severity: 'warning',
      badness: total,
      message: counts
        .map(({ name, count }) => `${classes[name]} (${grouped(count)} ${count === 1 ? 'time' : 'times'})`)
        .join('; '),
      hint,
      figures,
    };
  },
};

export const tlsRules: readonly WindowRule[] = [notVerified, failed];
