/** The rules about replies of protocols other than echo. */
import { errorsOfClasses } from './error-classes.js';
import type { WindowRule } from './rules.js';
import { grouped, percent } from '../model/words.js';

/** Classes of errors in which the server answered, but not with a right reply. */
const classes = {
  status: 'a status that is not expected',
  body: 'another body',
  malformed: 'bytes that are not a reply',
  truncated: 'a part of a reply, and closed the connection',
} as const;

const repliesWrong: WindowRule = {
  code: 'replies_wrong',
  check({ errors }) {
    const found = errorsOfClasses(errors, Object.keys(classes) as (keyof typeof classes)[]);
    if (found === null) return null;
    const { counts, total, hint, figures } = found;
    return {
      severity: 'warning',
      badness: total,
      message: `the server answered with ${counts.map(({ name, count }) => `${classes[name]} (${grouped(count)} times)`).join(', ')}`,
      hint,
      figures,
    };
  },
};

const repliesDiffer: WindowRule = {
  code: 'replies_differ',
  check({ replies, requests }) {
    if (replies === undefined || replies.differing === 0) return null;
    const first = replies.first === null ? '' : ` (${grouped(replies.first.body_bytes)} B)`;
    return {
      severity: 'info',
      badness: replies.differing,
      message: `${grouped(replies.differing)} replies had another body than the first one${first}`,
      hint: '--expect-body same counts them as errors',
      figures: { differing: replies.differing, requests: requests.count },
    };
  },
};

/** From this share of requests on, connecting again is a part of what is measured. */
const endedNoticed = 0.05;

const endedByReply: WindowRule = {
  code: 'connections_ended_by_reply',
  check({ replies, requests, connections }) {
    const ended = replies?.connections_ended ?? 0;
    if (ended === 0) return null;
    const share = Math.min(1, (requests.reconnects ?? 0) / Math.max(1, requests.count));
    const each = share > endedNoticed ? `; the client made a new connection for ${percent(share)} of the requests` : '';
    return {
      severity: 'info',
      badness: ended,
      message: `the server ended ${grouped(ended)} connections with a reply, as HTTP allows${each}`,
      hint:
        share > endedNoticed
          ? 'the figures include connecting; keep-alive has to be on in the server, and it must speak HTTP/1.1'
          : 'the server may limit the requests of a connection (nginx: keepalive_requests)',
      figures: { ended, requests: requests.count, made: connections.made },
    };
  },
};

export const replyRules: readonly WindowRule[] = [repliesWrong, repliesDiffer, endedByReply];
