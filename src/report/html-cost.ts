/** Where a request's time goes in the server of each mode: stacked bars of CPU in user mode, CPU in the kernel and waiting for a CPU. */
import { runValue } from '../measure/run-values.js';
import { formatDurationUs } from '../model/format.js';
import { completedWindows, requireMetric } from '../model/metrics.js';
import { samePoint, type Point } from '../model/point.js';
import type { Phase, Report, Run } from '../model/report-schema.js';
import { escapeMarkup } from './escape.js';
import { percentOf } from './html-parts.js';
import { modeInWords } from './view.js';

const parts = [
  ['user', 'user', 'server_cpu_user_us_per_request'],
  ['kernel', 'kernel', 'server_cpu_system_us_per_request'],
  ['waiting', 'waiting for a CPU', 'server_run_delay_us_per_request'],
] as const;

interface CostBar {
  readonly label: string;
  /** Of each part, in µs per request; null if it is not known. */
  readonly values: readonly (number | null)[];
}

/** Empty if no mode's server could be observed. */
export function costHtml(report: Report, point: Point): string {
  const runs = report.plan.modes.flatMap(
    ({ mode }) => report.runs.find((run) => run.mode === mode && samePoint(run, point)) ?? [],
  );
  const phase: Phase = runs.some((run) => completedWindows(run, 'capacity').length > 0) ? 'capacity' : 'latency';
  const bars = runs.map((run) => costBar(run, phase)).filter(({ values }) => values.some((value) => value !== null));
  const end = axisEnd(bars);
  if (end === 0) return '';
  const shown = parts.filter((_, place) => bars.some(({ values }) => (values[place] ?? null) !== null));
  const legend = shown.map(
    ([name, title]) =>
      `<li><svg width="14" height="12" aria-hidden="true"><rect class="cost ${name}" x="1" y="1" width="12" height="10"/></svg> ${title}</li>`,
  );
  const title = `Server time per request, ${phase === 'capacity' ? 'full load' : 'at the offered rate'}`;
  return (
    `<figure class="chart"><figcaption><b>${title}</b> Medians of the trials; all threads of the server together. ` +
    `Waiting: ready to run, but without a CPU.${bars.some((bar) => totalOf(bar) > end) ? ' Bars with an arrow are longer than the chart.' : ''}</figcaption><ul class="legend">${legend.join('')}</ul>` +
    `<table class="bars costs" role="table" aria-label="${title}"><tbody>${bars.map((bar) => costRow(bar, end)).join('')}</tbody></table></figure>`
  );
}

function costBar(run: Run, phase: Phase): CostBar {
  return { label: modeInWords(run), values: parts.map(([, , name]) => runValue(requireMetric(name), run, phase)) };
}

function totalOf({ values }: CostBar): number {
  return values.reduce<number>((sum, value) => sum + (value ?? 0), 0);
}

/** Thousands of threads may wait for a thousand times the CPU time that they use, which would be too short to be seen. */
const waitingRoom = 3;

/** The largest total, but at most a few times the largest CPU time. */
function axisEnd(bars: readonly CostBar[]): number {
  const cpu = Math.max(0, ...bars.map(({ values: [user = null, kernel = null] }) => (user ?? 0) + (kernel ?? 0)));
  const total = Math.max(0, ...bars.map(totalOf));
  return cpu > 0 ? Math.min(total, cpu * waitingRoom) : total;
}

function costRow(bar: CostBar, end: number): string {
  const { label, values } = bar;
  let from = 0;
  const rects = parts.map(([name], place) => {
    const value = values[place] ?? 0;
    const width = Math.min(value, end - from);
    const rect = `<rect class="cost ${name}" x="${percentOf(from / end)}" y="4" width="${percentOf(width / end)}" height="14"/>`;
    from += width;
    return width > 0 ? rect : '';
  });
  if (totalOf(bar) > end) rects.push('<svg class="mark" x="100%" y="11"><use href="#further" class="cost"/></svg>');
  const texts = parts.map(([name], place) => `${formatDurationUs(values[place] ?? null)} ${name}`);
  return (
    `<tr role="row"><th scope="row" role="rowheader"><span class="name">${escapeMarkup(label)}</span></th>` +
    `<td role="cell" class="plot"><svg width="100%" height="22" aria-hidden="true">${rects.join('')}</svg></td>` +
    `<td role="cell" class="value">${escapeMarkup(texts.join(' + '))}</td></tr>`
  );
}
