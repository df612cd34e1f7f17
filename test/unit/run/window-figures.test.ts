import t from 'tap';
import { controlHeaderBytes } from '../../../src/model/abi.generated.js';
import { fieldOffset, structSize } from '../../../src/native/abi.js';
import { ControlBlock } from '../../../src/run/control.js';
import { latenessInWords, WindowFigures, type Edges } from '../../../src/run/window-figures.js';
import type { BlastPlan } from '../../../src/model/plan.js';

const started = 5_000_000_000;
const lengthMs = 1_000;

/** Two engines of 1000 requests each in [start, end): the second began late. */
function controlOf(lateNs: number): ControlBlock {
  const control = new ControlBlock(2, 20);
  const words = new BigUint64Array(control.buffer);
  const stride =
    Math.ceil((structSize('ib_engine_block') + 20 * structSize('ib_timeline_bucket')) / controlHeaderBytes) *
    controlHeaderBytes;
  for (const index of [0, 1]) {
    const set = (name: string, value: number): void => {
      const at = controlHeaderBytes + index * stride + fieldOffset('ib_engine_block', name);
      words[at / 8] = BigInt(value);
    };
    set('window_start_ns', started + (index === 1 ? lateNs : 0));
    set('window_end_ns', started + lengthMs * 1e6);
    set('window_requests', 1_000);
    set('window_bytes', 64_000);
    set('reconnects', 100);
    set('wall_ns', lengthMs * 1e6);
  }
  return control;
}

const moment = { system: {}, client: {}, server: null, completed: 0 };
const edges = {
  due: { start_ns: started, end_ns: started + lengthMs * 1e6 },
  start: moment,
  end: moment,
} as unknown as Edges;
const plan = { requestsPerConnection: 10, messageSizeBytes: 64, timeoutMs: 100, engine: 'epoll' } as BlastPlan;
const task = { phase: 'capacity', ratePerSecond: 0, warmupMs: 0, durationMs: lengthMs } as const;
const name = { sequence: 0, startedAt: new Date(0), index: 0 };

t.test('rates use the time in which each engine measured', (t) => {
  const onTime = new WindowFigures(plan, controlOf(0), 10).completed(task, name, edges, null);
  t.equal(onTime.requests.per_second, 2_000);
  t.equal(onTime.client.started_late_ns, 0);
  const late = new WindowFigures(plan, controlOf(200e6), 10).completed(task, name, edges, null);
  t.equal(late.requests.count, 2_000);
  t.equal(late.requests.per_second, 1_000 + 1_000 / 0.8);
  t.equal(late.requests.bytes_per_second, 64_000 + 64_000 / 0.8);
  t.equal(late.churn?.connections_per_second, 100 + 100 / 0.8);
  t.equal(late.client.started_late_ns, 200e6);
  t.end();
});

t.test('a window that an engine mostly missed is not used', (t) => {
  t.equal(latenessInWords(controlOf(400e6).windows(), edges.due), null);
  t.match(latenessInWords(controlOf(600e6).windows(), edges.due), /began the window 600 ms late/);
  // Taken after the window's end: it is empty, and begins and ends when it was taken.
  t.match(latenessInWords(controlOf(1_500e6).windows(), edges.due), /began the window 1\.50? s late/);
  t.end();
});

t.test('the wait for FINs is a share of the time of all active connections', (t) => {
  const control = controlOf(0);
  const words = new BigUint64Array(control.buffer);
  const engine = (field: string): number => (controlHeaderBytes + fieldOffset('ib_engine_block', field)) / 8;
  words[engine('connections_active')] = 10n;
  words[engine('fins_unanswered')] = 3n;
  words[engine('fin_wait_ns')] = BigInt(2 * lengthMs * 1e6);
  const fin = new WindowFigures({ ...plan, close: 'fin' }, control, 10).completed(task, name, edges, null);
  t.match(fin.churn, { fins_unanswered: 3, fin_wait_fraction: 0.2 });
  const reset = new WindowFigures({ ...plan, close: 'reset' }, control, 10).completed(task, name, edges, null);
  t.equal(reset.churn?.fin_wait_fraction, undefined, 'a reset does not wait');
  t.end();
});
