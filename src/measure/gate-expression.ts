/**
 * The grammar of gates, MODE[@POINT][/MODE].METRIC OP NUMBER[UNIT], and the arithmetic of holding. A POINT selects runs of a sweep:
 * CLIENTS, work=TIME, wait=TIME and rate=RATE, separated by commas, each at most once. What it does not name is not selected by, so that a gate
 * without it judges every run of its mode.
 */
import { BenchError } from '../model/errors.js';
import type { Gate, Phase } from '../model/report-schema.js';
import { findMetric, metrics, type Metric, type Unit } from '../model/metrics.js';
import { pointFields, serviceInWords, waitOf, workOf, type Point } from '../model/point.js';
import { nearest } from '../model/spelling.js';
import { parseQuantity, unitsOf } from '../model/quantity.js';
import { parseOfferedRates, type OfferedRate } from '../model/parse.js';
import { grouped, percent } from '../model/words.js';

export const operators = ['<=', '>=', '==', '!=', '<', '>'] as const;
export type Operator = (typeof operators)[number];

export interface GateExpression {
  /** As the user wrote it, without outer space. */
  expression: string;
  /** A mode, or `any`. */
  mode: string;
  /** null: every number of clients of the report. */
  clients: number | null;
  /** Work per request in µs; null: every work of the report. */
  workUs: number | null;
  /** Wait per request in ms; null: every wait of the report. */
  waitMs: number | null;
  /** Offered rate of a load curve, in requests/s or as a fraction of the capacity; null: every rate of the report. */
  rate: OfferedRate | null;
  /** The mode that a ratio divides by; null for a plain figure. */
  base: string | null;
  metric: Metric;
  operator: Operator;
  /** In `unit`. */
  threshold: number;
  /** The metric's unit, or 'ratio'. */
  unit: Unit | 'ratio';
}

/** "6000", "work=1.5ms", "rate=50k/s" or "rate=70%". A decimal point must have a digit after it: else it begins the metric. */
const selector = String.raw`(?:rate=\d+(?:\.\d+)?(?:%|[kKmM]?(?:/s)?)|(?:[A-Za-z]+=)?\d+(?:\.\d+)?[A-Za-zµμ]*)`;

const shape = new RegExp(
  String.raw`^(?<mode>[^\s@/]+?)(?:@(?<point>${selector}(?:,\s*${selector})*))?(?:/(?<base>[^\s@/]+?))?` +
    String.raw`\.(?<metric>[A-Za-z][A-Za-z0-9_]*)\s*(?<operator><=|>=|==|!=|<|>)\s*(?<quantity>\S.*)$`,
);

const example =
  "expected MODE[@CLIENTS][/MODE].METRIC OP NUMBER[UNIT], such as 'iocp@6000.response_time_p99 > 5ms'; " +
  "in a sweep over work or wait also 'iocp@6000,work=100us.throughput < 5k/s'";

/** Parses one --fail-if of blast or report. A wrong one is the user's mistake: BenchError 'usage' in one sentence. */
export function parseGate(text: string): GateExpression {
  const parts = split(text);
  return finish(parts, parts.base === null ? parts.metric.unit : 'ratio');
}

/** Parses one --fail-if of diff: the value is head / base of a mode's figure, so the number is a ratio and no second mode fits. */
export function parseChangeGate(text: string): GateExpression {
  const parts = split(text);
  if (parts.base !== null) {
    throw new BenchError(
      'usage',
      `'${parts.expression}' names two modes, but diff divides the figures of two reports`,
      "write MODE[@CLIENTS].METRIC OP RATIO, such as 'iocp.throughput < 0.95'",
    );
  }
  return finish(parts, 'ratio');
}

type Parts = Omit<GateExpression, 'threshold' | 'unit'> & { quantity: string };

function split(text: string): Parts {
  const expression = text.trim();
  const groups = shape.exec(expression)?.groups;
  if (groups === undefined) throw new BenchError('usage', `'${expression}' is not a valid gate`, example);
  const { mode = '', point = '', base, metric: name = '', operator = '', quantity = '' } = groups;
  const metric = findMetric(name.toLowerCase());
  if (metric === undefined) {
    const names = metrics.map((entry) => entry.name);
    const meant = nearest(name, names);
    throw new BenchError(
      'usage',
      `no metric is called '${name}' in '${expression}'`,
      `${meant === null ? '' : `did you mean ${meant}? `}the metrics are ${names.join(', ')}`,
    );
  }
  return {
    expression,
    mode,
    ...selectedPoint(point, expression),
    base: base ?? null,
    metric,
    operator: operator as Operator,
    quantity,
  };
}

type Times = Pick<GateExpression, 'clients' | 'workUs' | 'waitMs'>;
type Selected = Times & Pick<GateExpression, 'rate'>;

/** Reads "6000,work=100us,wait=5ms" in any order; empty selects everything. */
function selectedPoint(point: string, expression: string): Selected {
  const selected: Selected = { clients: null, workUs: null, waitMs: null, rate: null };
  for (const part of point === '' ? [] : point.split(',')) {
    if (part.trim().startsWith('rate=')) {
      if (selected.rate !== null) throw new BenchError('usage', `'${expression}' selects the rate twice`, example);
      selected.rate = parseOfferedRates('rate')(part.trim().slice('rate='.length))[0] ?? null;
      continue;
    }
    const { key, value } = selection(part.trim(), expression);
    if (selected[key] !== null) {
      throw new BenchError('usage', `'${expression}' selects ${selectorNames[key]} twice`, example);
    }
    selected[key] = value;
  }
  return selected;
}

const selectorNames = { clients: 'the number of clients', workUs: 'the work', waitMs: 'the wait' } as const;

function selection(part: string, expression: string): { key: keyof Times; value: number } {
  if (/^\d+$/.test(part)) {
    if (Number(part) === 0) throw new BenchError('usage', `'${expression}' asks for 0 clients`, example);
    return { key: 'clients', value: Number(part) };
  }
  const [name = '', text = ''] = part.includes('=') ? part.split('=') : ['', part];
  const unit = name === 'work' ? 'us' : name === 'wait' ? 'ms' : null;
  if (unit === null) {
    const what = name === '' ? `'${part}' is not a number of clients` : `'${name}' is not a dimension of a sweep`;
    throw new BenchError('usage', `${what} in '${expression}'`, 'expected CLIENTS, work=TIME, wait=TIME or rate=RATE');
  }
  const value = parseQuantity(text, unit);
  // A number without a unit would be a guess, except 0.
  if (value === null || (value !== 0 && /^[\d.]+$/.test(text))) {
    throw new BenchError(
      'usage',
      `'${text}' is not a ${name} per request in '${expression}'`,
      `write a number and a unit, such as ${name}=${unit === 'us' ? '100us' : '5ms'}`,
    );
  }
  return { key: unit === 'us' ? 'workUs' : 'waitMs', value };
}

/** Whether a gate judges what is measured at this point of a sweep. */
export function isAtPoint({ clients, workUs, waitMs, rate }: Selected, point: Point): boolean {
  return (
    (rate === null || isAtRate(rate, point)) &&
    (clients === null || clients === point.clients) &&
    (workUs === null || isSameTime(workUs, workOf(point))) &&
    (waitMs === null || isSameTime(waitMs, waitOf(point)))
  );
}

function isAtRate({ perSecond, fraction }: OfferedRate, point: Point): boolean {
  if (perSecond !== null) return isSameTime(perSecond, point.rate_per_second ?? -1);
  return fraction !== null && isSameTime(fraction, point.rate_fraction ?? -1);
}

/** Times of the same length in other units may differ in their last bit: 0.1ms and 100us. */
export function isSameTime(a: number, b: number): boolean {
  return Math.abs(a - b) <= 1e-9 * Math.max(Math.abs(a), Math.abs(b));
}

/** " at 6,000 clients with 100 µs of work": what a gate selects, to follow the name of its mode; empty without a selector. */
export function selectionInWords({ clients, workUs, waitMs, rate }: Selected): string {
  const service = serviceInWords({ work_us: workUs, wait_ms: waitMs });
  return (
    (clients === null ? '' : ` at ${grouped(clients)} clients`) +
    (service === '' ? '' : ` ${service}`) +
    rateInWords(rate)
  );
}

/** " at 50% of the capacity", " at 50,000 requests/s"; empty without a selector. */
export function rateInWords(rate: OfferedRate | null): string {
  if (rate === null) return '';
  const { perSecond, fraction } = rate;
  return perSecond === null ? ` at ${percent(fraction ?? 0)} of the capacity` : ` at ${grouped(perSecond)} requests/s`;
}

function finish({ quantity, ...parts }: Parts, unit: Unit | 'ratio'): GateExpression {
  if (parts.base === 'any') {
    throw new BenchError('usage', `'${parts.expression}' divides by 'any'`, 'name the mode to divide by');
  }
  if (parts.base !== null && parts.metric.compared.length === 0) {
    throw new BenchError(
      'usage',
      `'${parts.expression}' asks for a ratio of ${parts.metric.title}, which are counted and not compared`,
      `gate each mode by itself: '${parts.mode}.${parts.metric.name} ${parts.operator} NUMBER'`,
    );
  }
  const threshold = parseQuantity(quantity, unit);
  if (threshold !== null) return { ...parts, threshold, unit };
  const units = unitsOf(unit);
  throw new BenchError(
    'usage',
    `'${quantity}' in '${parts.expression}' is no ${unit === 'ratio' ? 'ratio' : 'figure'} of ${parts.metric.title}`,
    units.length === 0
      ? 'expected a number without a unit'
      : `expected a number, with one of the units ${units.join(', ')} or without`,
  );
}

/**
 * What is known of a figure: itself, or where a saturated client or the timeout made it a bound, the side that the truth lies on. 'above'
 * and 'below' exclude the bound itself.
 */
export type FigureBound = 'exact' | 'at_least' | 'at_most' | 'above' | 'below';

/** Whether `value OP threshold` is true; null where a bound leaves it open. */
export function holds(value: number, bound: FigureBound, operator: Operator, threshold: number): boolean | null {
  const low =
    bound === 'at_most' || bound === 'below'
      ? Number.NEGATIVE_INFINITY
      : bound === 'above'
        ? value * (1 + Number.EPSILON)
        : value;
  const high =
    bound === 'at_least' || bound === 'above'
      ? Number.POSITIVE_INFINITY
      : bound === 'below'
        ? value * (1 - Number.EPSILON)
        : value;
  const candidates = [low, high];
  if (low < threshold && threshold < high) candidates.push(threshold);
  const outcomes = new Set(candidates.map((candidate) => compare(candidate, operator, threshold)));
  return outcomes.size === 1 ? outcomes.has(true) : null;
}

function compare(value: number, operator: Operator, threshold: number): boolean {
  switch (operator) {
    case '<':
      return value < threshold;
    case '<=':
      return value <= threshold;
    case '>':
      return value > threshold;
    case '>=':
      return value >= threshold;
    case '==':
      return value === threshold;
    case '!=':
      return value !== threshold;
  }
}

/** One figure that a gate looked at, and what came of it. */
export interface JudgedFigure {
  mode: string;
  clients: number;
  work_us?: number | null;
  wait_ms?: number | null;
  rate_per_second?: number | null;
  rate_fraction?: number | null;
  phase: Phase | null;
  value: number | null;
  held: boolean | null;
  /** In words: the figure, or why it is undecided. */
  reason: string;
}

/** The outcome over all figures of a gate: it holds if any figure meets the condition, and is undecided if one could. */
export function gateOf(gate: GateExpression, figures: readonly JudgedFigure[], missing: string): Gate {
  const deciding =
    figures.find((figure) => figure.held === true) ?? figures.find((figure) => figure.held === null) ?? figures[0];
  const told = deciding?.held === false ? figures : [deciding].filter((figure) => figure !== undefined);
  return {
    expression: gate.expression,
    held: deciding === undefined ? null : deciding.held,
    value: deciding?.value ?? null,
    threshold: gate.threshold,
    unit: gate.unit === 'ratio' ? 'x' : gate.unit,
    reason: deciding === undefined ? missing : told.map((figure) => figure.reason).join('; '),
    figures: figures.map((figure) => ({ mode: figure.mode, ...pointFields(figure), value: figure.value })),
  };
}
