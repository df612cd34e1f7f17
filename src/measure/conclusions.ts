/** Everything in a report that follows from its runs: the conductor's report and a merged one conclude the same from the same runs. */
import type { Environment, Plan, Report, Run } from '../model/report-schema.js';
import { compareRuns } from './comparisons.js';
import { describeKnees } from './knee.js';
import { describeLoadCurves } from './load-curve.js';
import { describeServiceSweeps } from './service-sweep.js';
import { precisionInWords, precisionOf } from './stopping.js';
import { findWarnings } from './validity.js';

/** The fields of a report that are concluded; `precision` is absent without --until. */
export type Conclusions = Pick<Report, 'comparisons' | 'warnings' | 'findings'> & Partial<Pick<Report, 'precision'>>;

/** @param noise the measured noise floors; empty if none were measured */
export function conclude(measured: {
  runs: Run[];
  plan: Plan;
  environment: Environment;
  noise: Report['noise'];
}): Conclusions {
  const { runs, plan, environment, noise } = measured;
  const comparisons = compareRuns(runs, plan, noise);
  const until = plan.until ?? null;
  const precision = until === null ? null : precisionOf(runs, comparisons, plan, until);
  const words = precisionInWords(precision ?? [], runs, until ?? 0);
  return {
    comparisons,
    warnings: [...words.warnings, ...findWarnings({ plan, environment, runs })],
    findings: [
      ...describeServiceSweeps(comparisons),
      ...describeLoadCurves(runs, comparisons, plan),
      ...describeKnees(runs, plan),
      ...words.findings,
    ],
    ...(precision === null ? {} : { precision }),
  };
}
