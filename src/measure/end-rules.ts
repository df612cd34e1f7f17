/** The rules about how connections ended: lost in use, closed for being idle, and FINs of ours that were not answered. */
import { closedAfterEchoes, heldBackByFins, idleTime } from './ends.js';
import type { WindowRule } from './rules.js';
import { duration, grouped, percent } from '../model/words.js';

const connectionsLost: WindowRule = {
  code: 'connections_lost',
  check({ connections, errors }, { plan }) {
    const lost = connections.lost - (connections.closed_idle?.count ?? 0);
    if (lost <= 0) return null;
    const ended = closedAfterEchoes(connections, plan.protocol);
    const otherwise =
      (errors.by_class['reset'] ?? 0) > 0
        ? 'the server reset them: see its errors and its log'
        : 'see the errors by class, and the log of the server';
    return {
      severity: 'invalid',
      badness: lost,
      message: `${grouped(lost)} of ${grouped(connections.made)} connections were lost while they were in use`,
      hint: ended === null ? otherwise : `${ended.what}: ${ended.hint}`,
      figures: {
        lost,
        made: connections.made,
        closed_after_echoes_min: connections.closed_after_echoes?.min ?? null,
        closed_after_echoes_max: connections.closed_after_echoes?.max ?? null,
      },
    };
  },
};

const connectionsClosedIdle: WindowRule = {
  code: 'connections_closed_idle',
  check({ connections, requests, fairness }, { plan }) {
    const { closed_idle: closed, made } = connections;
    if (closed === undefined) return null;
    const offered = requests.offered_per_second ?? 0;
    const betweenNs = offered > 0 ? (fairness.connections / offered) * 1e9 : null;
    const active =
      closed.active === 0
        ? 'the active ones stayed open'
        : `${grouped(closed.active)} of them were active ones, between two requests`;
    const often =
      betweenNs === null
        ? ''
        : `, and at this rate each sends every ${duration(betweenNs)}${plan.arrivals === 'poisson' ? ' on average' : ''}`;
    return {
      severity: 'warning',
      badness: closed.count,
      message: `the server closed ${grouped(closed.count)} of ${grouped(made)} connections after ${idleTime(closed)} without traffic; ${active}`,
      hint:
        closed.active === 0
          ? 'raise the idle timeout of the server, or of a proxy in front of it, to hold idle connections'
          : `raise --rate or lower --clients${often}; or raise the idle timeout of the server`,
      figures: {
        closed_idle: closed.count,
        closed_idle_active: closed.active,
        after_min_ns: closed.after_min_ns,
        after_max_ns: closed.after_max_ns,
        made,
      },
    };
  },
};

const finUnanswered: WindowRule = {
  code: 'fin_unanswered',
  check(window) {
    const { churn } = window;
    const unanswered = churn?.fins_unanswered ?? 0;
    if (unanswered === 0) return null;
    const fraction = churn?.fin_wait_fraction ?? null;
    const what = `the server did not answer the FIN of ${grouped(unanswered)} connections within 1 s; the client reset them`;
    const figures = {
      fins_unanswered: unanswered,
      requests_held: churn?.requests_held ?? null,
      fin_wait_fraction: fraction,
    };
    if (heldBackByFins(window)) {
      return {
        severity: 'invalid',
        badness: fraction ?? 0,
        message:
          `${what}. Its connections spent ${percent(fraction ?? 0)} of the window in that wait: throughput and reconnects/s are too low by ` +
          'the client, while no response time includes it',
        hint: 'use --close reset, which does not wait; or a longer --warmup, in which the client finds out and stops waiting',
        figures,
      };
    }
    const included =
      fraction === null
        ? 'No response time includes that wait, but it limits reconnects/s while it lasts'
        : 'No figure of this window includes that wait';
    return {
      severity: 'warning',
      badness: unanswered,
      message: `${what}, and closes the others with a reset at once. ${included}`,
      hint: 'the server should close a connection when it reads its end; --close reset does not wait for that',
      figures,
    };
  },
};

export const endRules: readonly WindowRule[] = [connectionsLost, connectionsClosedIdle, finUnanswered];
