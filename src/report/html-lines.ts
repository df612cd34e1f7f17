/**
 * Line charts of the HTML report as SVG without a script. Lengths across are shares of the width and lengths down are pixels, so that a
 * chart fills any screen while its texts keep their size; lines are in a box of their own that is stretched.
 */
import { kindText, xAxis, yAxis, type Axis, type Tick } from './axis.js';
import { chartInWords, type Band, type Chart, type Series } from './charts.js';
import { escapeMarkup } from './escape.js';
import { markOf, percentOf, pixels, scrollBox } from './html-parts.js';
import { markedText, markTones, type Mark } from './marks.js';

const plotHeight = 230;
/** Of a chart among several of one kind. */
const smallHeight = 110;
/** Units of the stretched box across. */
const boxWidth = 1000;
/** More points than this are not told apart on a screen. */
const pointsMost = 300;
/** Rows of the table behind a chart. */
const rowsMost = 24;
/** Marks along a line that has many points. */
const marksMost = 7;

/** A chart with its legend, and the table behind it. */
export function chartHtml(chart: Chart): string {
  const words = chartInWords(chart);
  return (
    `<figure class="chart"><figcaption><b>${escapeMarkup(chart.title)}</b> ${escapeMarkup(chart.note + ringNote(chart))}</figcaption>` +
    legendHtml(chart.series) +
    plotHtml(chart, words, plotHeight, null) +
    `<details class="data"><summary>Figures of this chart</summary>${scrollBox(chart.title, tableHtml(chart))}</details>` +
    `</figure>`
  );
}

/** What the rings of a chart mean; empty without any. */
function ringNote({ marks = [] }: Chart): string {
  const has = (mark: Mark): boolean => marks.some((line) => line.includes(mark));
  const invalid = has('invalid') ? ' Points in a ring are not valid; the warnings say why.' : '';
  const bound = has('at_least') ? ' A dashed ring is a lower bound: the load generator was the limit.' : '';
  return invalid + bound;
}

/** Charts of one kind next to each other, with the same axes, each with its name. */
export function multiplesHtml(title: string, note: string, charts: readonly Chart[]): string {
  const values = charts.flatMap((chart) => yValues(chart));
  if (values.length === 0) return '';
  const [first] = charts;
  const several = charts.length > 1;
  const shared = yAxis(first?.y ?? 'duration', values, several ? 4 : 7);
  const cells = charts.map((chart) => {
    const name = several ? `<p class="name">${escapeMarkup(chart.name ?? '')}</p>` : '';
    return `<div>${name}${plotHtml(chart, chartInWords(chart), several ? smallHeight : plotHeight, shared)}</div>`;
  });
  const tables = charts.map((chart) => scrollBox(`${title}: ${chart.name ?? ''}`, tableHtml(chart))).join('');
  return (
    `<figure class="chart"><figcaption><b>${escapeMarkup(title)}</b> ${escapeMarkup(note)}</figcaption>` +
    `<div class="multiples">${cells.join('')}</div>` +
    `<details class="data"><summary>Figures of this chart</summary>${tables}</details></figure>`
  );
}

/* ---------------------------------------------------------------------------------------------------------- legend */

function legendHtml(series: readonly Series[]): string {
  const items = series.map(
    (one) =>
      `<li><svg width="30" height="12" aria-hidden="true"><line class="${lineClass(one)}" x1="0" x2="30" y1="6" y2="6"/>` +
      (one.dashed
        ? ''
        : `<svg class="mark" x="15" y="6"><use href="#${markOf(one.color)}" class="c${one.color}"/></svg>`) +
      `</svg> ${escapeMarkup(one.label)}</li>`,
  );
  return `<ul class="legend">${items.join('')}</ul>`;
}

function lineClass({ color, dashed, isThin = false }: Series): string {
  return `line s${color}${dashed ? ' dashed' : ''}${isThin ? ' thin' : ''}`;
}

/* ------------------------------------------------------------------------------------------------------------ plot */

/** Every value that the y axis must have a place for. */
function yValues(chart: Chart): number[] {
  const known = (values: readonly (number | null)[]): number[] => values.filter((value) => value !== null);
  return [
    ...chart.data.slice(1).flatMap(known),
    ...(chart.bands ?? []).flatMap(({ low, high }) => [...known(low), ...known(high)]),
    ...(chart.levels ?? []).map(({ value }) => value),
  ];
}

function plotHtml(chart: Chart, words: string, height: number, shared: Axis | null): string {
  const [xs = []] = chart.data;
  const x = xAxis(
    chart.x,
    xs.flatMap((value) => value ?? []),
  );
  const y = shared ?? yAxis(chart.y, yValues(chart));
  const down = (value: number): number => (1 - y.at(value)) * height;
  const body = [
    ...y.ticks.map(({ at, label }) => yTick((1 - at) * height, label)),
    ...x.ticks.map((tick) => xTick(tick, height)),
    boundaryHtml(chart, x, height),
    `<svg class="box" width="100%" height="${height}" viewBox="0 0 ${boxWidth} ${height}" preserveAspectRatio="none">`,
    ...(chart.bands ?? []).map((band) => bandPath(chart, band, xs, x, down)),
    ...chart.series.map((one, place) => linePath(one, xs, chart.data[place + 1] ?? [], x, down)),
    '</svg>',
    ...levelLines(chart, down),
    ...chart.series.flatMap((one, place) =>
      one.dashed || shared !== null ? [] : markers(one, place, xs, chart.data[place + 1] ?? [], x, down),
    ),
    ...chart.series.flatMap((_, place) => rings(chart, place, x, down)),
  ];
  return (
    `<div class="graph"><svg width="100%" height="${height + 22}" role="img" aria-label="${escapeMarkup(words)}">` +
    `${body.join('')}</svg></div>`
  );
}

function yTick(at: number, label: string): string {
  const y = pixels(at);
  return (
    `<line class="grid" x1="0" x2="100%" y1="${y}" y2="${y}"/>` +
    `<text class="tick end" x="-6" y="${pixels(at + 4)}">${escapeMarkup(label)}</text>`
  );
}

function xTick({ at, label, isWideOnly = false }: Tick, height: number): string {
  const x = percentOf(at);
  // There is room to the left of the axis, but not to its right.
  const anchor = at > 0.96 ? ' end' : ' middle';
  return (
    `<line class="grid" x1="${x}" x2="${x}" y1="0" y2="${height + 4}"/>` +
    `<text class="tick${anchor}${isWideOnly ? ' roomy' : ''}" x="${x}" y="${height + 18}">${escapeMarkup(label)}</text>`
  );
}

/** Where the window ends, if something was recorded after it. */
function boundaryHtml({ end }: Chart, x: Axis, height: number): string {
  if (end === undefined || x.at(end) >= 0.995) return '';
  const at = percentOf(x.at(end));
  return (
    `<rect class="after" x="${at}" width="${percentOf(1 - x.at(end))}" y="0" height="${height}"/>` +
    `<line class="boundary" x1="${at}" x2="${at}" y1="0" y2="${height}"/>`
  );
}

type Values = readonly (number | null)[];

/** Every value if there are few; otherwise evenly spaced ones, and the highest of each stretch, which is what a reader looks for. */
function thinned(values: Values, most: number): number[] {
  const size = Math.ceil(values.length / most);
  if (size <= 1) return values.map((_, place) => place);
  return Array.from({ length: Math.ceil(values.length / size) }, (_, group) => {
    let best = group * size;
    for (let place = best; place < Math.min(values.length, (group + 1) * size); place += 1) {
      if ((values[place] ?? -Infinity) > (values[best] ?? -Infinity)) best = place;
    }
    return best;
  });
}

function linePath(one: Series, xs: Values, values: Values, x: Axis, down: (value: number) => number): string {
  let path = '';
  let isOpen = false;
  for (const place of thinned(values, pointsMost)) {
    const [at, value] = [xs[place] ?? null, values[place] ?? null];
    if (at === null || value === null) {
      isOpen = false;
      continue;
    }
    path += `${isOpen ? 'L' : 'M'}${pixels(x.at(at) * boxWidth)} ${pixels(down(value))}`;
    isOpen = true;
  }
  return path === '' ? '' : `<path class="${lineClass(one)}" d="${path}"/>`;
}

function bandPath(
  chart: Chart,
  { series, low, high, between }: Band,
  xs: Values,
  x: Axis,
  down: (value: number) => number,
): string {
  const values = chart.data[series + 1] ?? [];
  const isKnown = (place: number): boolean => [low, high, values].every((ofPlace) => (ofPlace[place] ?? null) !== null);
  const point = (place: number, ofPlace: Values): string =>
    `${pixels(x.at(xs[place] ?? 0) * boxWidth)} ${pixels(down(ofPlace[place] ?? 0))}`;
  // An area must not bridge a point whose value is not known: there it would look as if it were.
  const stretches: number[][] = [[]];
  for (const place of thinned(high, pointsMost)) {
    if (isKnown(place)) stretches.at(-1)?.push(place);
    else stretches.push([]);
  }
  const path = stretches
    .filter(({ length }) => length > 1)
    .map((places) => {
      const there = places.map((place) => point(place, high));
      const back = places.toReversed().map((place) => point(place, low));
      return `M${[...there, ...back].join('L')}Z`;
    })
    .join('');
  return path === ''
    ? ''
    : `<path class="band${between === undefined ? '' : ` ${between}`} c${chart.series[series]?.color ?? 0}" d="${path}"/>`;
}

/** Horizontal lines of figures of the whole window. Labels that would touch are left out; the lines are not. */
function levelLines(chart: Chart, down: (value: number) => number): string[] {
  const labelled: number[] = [];
  return (chart.levels ?? []).map(({ label, value }) => {
    const at = down(value);
    const isFree = labelled.every((other) => Math.abs(other - at) >= 13);
    if (isFree) labelled.push(at);
    const text = isFree
      ? `<text class="tick level-label end" x="100%" y="${pixels(at - 3)}">${escapeMarkup(label)}</text>`
      : '';
    return `<line class="level" x1="0" x2="100%" y1="${pixels(at)}" y2="${pixels(at)}"/>${text}`;
  });
}

/** A mark at every point, or at some if there are many; those of different series are not above each other. */
function markers(
  { color }: Series,
  series: number,
  xs: Values,
  values: Values,
  x: Axis,
  down: (value: number) => number,
): string[] {
  const known = values.flatMap((value, place) => (value === null ? [] : [place]));
  const every = known.length <= 16 ? 1 : Math.ceil(known.length / marksMost);
  const offset = every === 1 ? 0 : Math.floor((every * ((series * 3) % 7)) / 7);
  return known
    .filter((_, place) => place % every === offset)
    .map((place) => {
      const at = percentOf(x.at(xs[place] ?? 0));
      return `<svg class="mark" x="${at}" y="${pixels(down(values[place] ?? 0))}"><use href="#${markOf(color)}" class="c${color}"/></svg>`;
    });
}

/** Around every point that is not what it seems to be. */
function rings({ data, marks = [] }: Chart, series: number, x: Axis, down: (value: number) => number): string[] {
  return (marks[series] ?? []).flatMap((mark, place) => {
    const value = data[series + 1]?.[place] ?? null;
    if (mark === null || value === null) return [];
    const at = percentOf(x.at(data[0]?.[place] ?? 0));
    return [`<circle class="ring ${markTones[mark]}" cx="${at}" cy="${pixels(down(value))}" r="8"/>`];
  });
}

/* ----------------------------------------------------------------------------------------------------------- table */

/** Values of the percentiles' axis that its table has. */
const percentileSteps = [2, 4, 10, 20, 100, 200, 1e3, 1e4, 1e5];

function tableHtml(chart: Chart): string {
  const [xs = []] = chart.data;
  const axis = xAxis(
    chart.x,
    xs.flatMap((value) => value ?? []),
  );
  const places = rowPlaces(chart, xs);
  const every = chart.x === 'nines' ? 1 : (places[1] ?? 1) - (places[0] ?? 0);
  const heads = [xTitles[chart.x], ...chart.series.map(({ label }) => label)];
  const rows = places.map((place) => {
    const cells = chart.series.map((_, series) => {
      const value = chart.data[series + 1]?.[place] ?? null;
      const band = (chart.bands ?? []).find((one) => one.series === series && one.between === undefined);
      const [low, high] = [band?.low[place] ?? null, band?.high[place] ?? null];
      const range =
        value === null || low === null || high === null
          ? ''
          : ` [${kindText(chart.y, low)}, ${kindText(chart.y, high)}]`;
      if (value === null) return '<td>n/a</td>';
      const mark = chart.marks?.[series]?.[place] ?? null;
      const tone = mark === null ? '' : ` class="${markTones[mark]}"`;
      return `<td${tone}>${escapeMarkup(markedText(kindText(chart.y, value) + range, mark))}</td>`;
    });
    const x = xs[place] ?? 0;
    return `<tr data-x="${axis.at(x).toFixed(3)}"><th scope="row">${escapeMarkup(kindText(chart.x, x))}</th>${cells.join('')}</tr>`;
  });
  const levels = (chart.levels ?? []).map(
    ({ label, value }) =>
      `<tr><th scope="row">${escapeMarkup(label)}</th><td>${escapeMarkup(kindText(chart.y, value))}</td></tr>`,
  );
  const about = [...(chart.name === undefined ? [] : [chart.name]), ...(every > 1 ? [`one of ${every} points`] : [])];
  const caption = about.length === 0 ? '' : `<caption>${escapeMarkup(about.join(', '))}</caption>`;
  return (
    `<table>${caption}<thead><tr>${heads.map((head) => `<th scope="col">${escapeMarkup(head)}</th>`).join('')}</tr></thead>` +
    `<tbody>${rows.join('')}${levels.join('')}</tbody></table>`
  );
}

const xTitles: Readonly<Record<Chart['x'], string>> = {
  seconds: 'from',
  nines: 'percentile',
  clients: 'clients',
  work: 'work',
  wait: 'wait',
  rate: 'offered',
  duration: 'time',
};

function rowPlaces(chart: Chart, xs: Values): number[] {
  if (chart.x === 'nines') {
    const nearest = (step: number): number => {
      let best = 0;
      xs.forEach((value, place) => {
        const distance = (at: number): number => Math.abs(Math.log((xs[at] ?? 1) / step));
        if (value !== null && distance(place) < distance(best)) best = place;
      });
      return best;
    };
    const last = xs.at(-1) ?? 1;
    return percentileSteps.filter((step) => step <= last * 1.001).map(nearest);
  }
  const every = Math.ceil(xs.length / rowsMost);
  return xs.map((_, place) => place).filter((place) => place % every === 0);
}
