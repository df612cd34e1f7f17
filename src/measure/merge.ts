/** Reports of the same plan as one with more trials, so that several short CI jobs give one interval. */
import { BenchError } from '../model/errors.js';
import { schemaVersion, type MaxRate, type Report, type Run } from '../model/report-schema.js';
import { withHeadline } from './answer.js';
import { offeredRateTolerance } from './comparisons.js';
import { conclude } from './conclusions.js';
import { fallbackCode } from './environment-rules.js';
import { pointName, samePoint } from '../model/point.js';
import { differencesOf } from './plan-differences.js';
import { sameSearchLimits, searchLimitsInWords } from '../model/search-result.js';
import { grouped } from '../model/words.js';

/**
 * Merges reports that were measured alike on one machine: trials are numbered on, and everything that is concluded from them is
 * concluded again. Gates are not carried over, since they judged other figures. BenchError 'usage' where they do not fit.
 */
export function mergeReports(reports: readonly Report[]): Report {
  const [first, ...others] = reports;
  if (first === undefined) throw new BenchError('usage', 'there is no report to merge', 'name at least one report');
  return others.reduce(mergeTwo, first);
}

function mergeTwo(base: Report, more: Report): Report {
  requireAlike(base, more);
  const trialOffset = Math.max(
    base.plan.trials,
    ...base.runs.flatMap((run) => run.trials.map(({ index }) => index + 1)),
  );
  const sequenceOffset = Math.max(0, ...base.runs.flatMap((run) => run.trials.map(({ sequence }) => sequence + 1)));
  const runs = base.runs.map((run) => mergeRuns(run, more, trialOffset, sequenceOffset));
  const searched = base.plan.find_max_rate ?? more.plan.find_max_rate;
  const plan = {
    ...base.plan,
    trials: trialOffset + more.plan.trials,
    order: [...base.plan.order, ...more.plan.order],
    ...(searched === undefined ? {} : { find_max_rate: searched }),
  };
  const noise = base.noise.length > 0 ? base.noise : more.noise;
  const concluded = conclude({ runs, plan, environment: base.environment, noise });
  const kept = [...base.warnings, ...more.warnings].filter((warning) => warning.code === fallbackCode).slice(0, 1);
  return withHeadline({
    ...base,
    schema_version: schemaVersion,
    partial: base.partial || more.partial,
    plan,
    runs,
    noise,
    ...concluded,
    warnings: [...kept, ...concluded.warnings],
    gates: [],
  });
}

function mergeRuns(run: Run, more: Report, trialOffset: number, sequenceOffset: number): Run {
  const added = more.runs.find((other) => other.mode === run.mode && samePoint(other, run));
  const trials = (added?.trials ?? []).map((window) => ({
    ...window,
    index: window.index + trialOffset,
    sequence: window.sequence + sequenceOffset,
  }));
  const numbered = (found: readonly MaxRate[] | undefined, offset: number): MaxRate[] =>
    (found ?? []).map((search, place) => ({ ...search, index: (search.index ?? place) + offset }));
  const maxRates = [...numbered(run.max_rate, 0), ...numbered(added?.max_rate, trialOffset)];
  return {
    ...run,
    trials: [...run.trials, ...trials],
    ...(maxRates.length > 0 ? { max_rate: maxRates } : {}),
  };
}

function requireAlike(base: Report, more: Report): void {
  const { refusals, warnings } = differencesOf(base, more);
  const different = [...refusals, ...warnings.filter((text) => !text.includes('partial'))][0] ?? otherRuns(base, more);
  if (different === undefined) return;
  throw new BenchError(
    'usage',
    `the reports cannot be merged: ${different}`,
    'merge reports of the same command on the same machine; compare others with `iocp-bench diff`',
  );
}

function otherRuns(base: Report, more: Report): string | undefined {
  const names = (report: Report): string =>
    report.runs
      .map((run) => pointName(run.mode, run))
      .sort()
      .join(', ');
  if (names(base) !== names(more)) return `one has ${names(base)}, the other ${names(more)}`;
  const [oneAddress, otherAddress] = [base.plan.target_address, more.plan.target_address];
  // A name may resolve to another machine the next time.
  if (oneAddress && otherAddress && oneAddress !== otherAddress) {
    return `one loaded ${oneAddress}, the other ${otherAddress}`;
  }
  for (const run of base.runs) {
    const other = more.runs.find((one) => one.mode === run.mode && samePoint(one, run));
    if (other !== undefined && !sameSearchLimits(run, other)) {
      return `they searched with ${searchLimitsInWords(run)}, then with ${searchLimitsInWords(other)}`;
    }
  }
  for (const run of base.runs) {
    const rate = run.rate_per_second ?? null;
    const other = more.runs.find((one) => one.mode === run.mode && samePoint(one, run))?.rate_per_second ?? null;
    if (rate !== null && other !== null && Math.abs(other / rate - 1) > offeredRateTolerance) {
      return `they offered ${grouped(rate)} and ${grouped(other)} requests/s at the same share of the capacity (set --rate in requests/s)`;
    }
  }
  for (const [point, rate] of Object.entries(base.plan.offered_rate_per_second)) {
    const other = more.plan.offered_rate_per_second[point];
    if (other === undefined || Math.abs(other / rate - 1) > offeredRateTolerance) {
      return `their latency phases offered different rates at ${point.replace(',', ' clients, ')}${point.includes(',') ? '' : ' clients'} (set --rate)`;
    }
  }
  return undefined;
}
