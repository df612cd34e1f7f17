/** Style and script of the HTML report. Both are inside the page, since it must not request anything. */

import { palette, paletteStyle } from './mode-colors.js';

export const pageStyle = `
:root{color-scheme:light dark;--ink:#1c2127;--dim:#59636e;--line:#d5dbe1;--back:#ffffff;--soft:#f3f5f7;
--good:#1a7f37;--bad:#b42318;--warn:#8a5a00;
--accent:#0072b2;${paletteStyle(palette.light)}}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ed;--dim:#9aa5b1;--line:#363d45;--back:#14171a;--soft:#1d2227;
--good:#57c878;--bad:#ff8a7f;--warn:#e5b34a;
--accent:#5ab4ee;${paletteStyle(palette.dark)}}}
*{box-sizing:border-box}
body{margin:0;background:var(--back);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:1000px;margin:0 auto;padding:28px 20px 60px}
h1{font-size:26px;line-height:1.25;margin:0 0 6px}
h2{font-size:19px;margin:36px 0 10px}
h3{font-size:15px;margin:24px 0 2px}
p{margin:4px 0}
.dim,.notes,figcaption{color:var(--dim)}
.notes{font-size:13px;padding-left:0;list-style:none}
.verdict{background:var(--soft);border-left:4px solid var(--accent);padding:12px 18px 12px 34px;margin:18px 0;font-size:17px}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{padding:3px 12px;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap;font-weight:400}
thead th{font-weight:600;vertical-align:bottom;border-bottom:2px solid var(--line)}
th:first-child,.left{text-align:left}
.group th{background:var(--soft);font-weight:600;padding-top:6px}
.part{padding-left:28px}
.better{color:var(--good);font-weight:600}.worse{color:var(--bad);font-weight:600}.muted{color:var(--dim)}
.wrap td{white-space:normal;vertical-align:top}
.list{padding-left:20px}.list li{margin:8px 0}
.invalid b,.failed b{color:var(--bad)}.warning b,.undecided b{color:var(--warn)}.passed b{color:var(--good)}
figure{margin:18px 0 26px}
figcaption{font-size:13px}
figcaption b{display:block;font-size:15px;color:var(--ink)}
details{margin:14px 0}summary{cursor:pointer;font-weight:600}
code{font:13px/1.4 ui-monospace,Consolas,monospace;overflow-wrap:anywhere}
.uplot,.u-legend{color:var(--ink);font-family:inherit}
.u-legend{font-size:13px;text-align:left}.u-legend th,.u-legend td{border:0;padding:1px 4px}
@media print{.u-legend .u-value{display:none}main{max-width:none}}
`;

/** Runs in the page: draws what charts.ts prepared, again whenever the width or the colours change. */
export const pageScript = `
(() => {
  'use strict';
  const charts = JSON.parse(document.getElementById('chart-data').textContent);
  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const digits = (v) => v === 0 ? '0' : v >= 99.95 ? v.toFixed(0) : v >= 9.995 ? v.toFixed(1) : v.toFixed(2);
  const short = (text) => text.replace(/\\.0+(?=\\D|$)|(\\.\\d*?)0+(?=\\D|$)/, '$1');
  const scaled = (v, steps) => {
    const step = steps.find(([size]) => v >= size) || steps[steps.length - 1];
    return digits(v / step[0]) + step[1];
  };
  const formats = {
    seconds: (v) => v.toFixed(1) + ' s',
    clients: (v) => v.toLocaleString('en-US'),
    nines: (v) => v <= 1 ? '0%' : (100 - 100 / v).toFixed(Math.max(0, Math.ceil(Math.log10(v) - 1e-6) - 1)) + '%',
    rate: (v) => scaled(v, [[1e6, 'M/s'], [1e3, 'k/s'], [1, '/s']]),
    duration: (v) => scaled(v, [[1e9, ' s'], [1e6, ' ms'], [1e3, ' \\u00b5s'], [1, ' ns']]),
    work: (v) => v === 0 ? '0' : short(formats.duration(v)),
    wait: (v) => formats.work(v),
  };
  const isService = (kind) => kind === 'work' || kind === 'wait';
  const isLog = (kind) => kind === 'nines' || kind === 'clients' || kind === 'duration';
  // Logarithmic, and with a place for 0.
  const serviceScale = (data) => ({
    time: false, distr: 4, asinh: data[0].find((v) => v > 0) || 1, range: (u, low, high) => [low, high * 1.1],
  });
  const scaleOf = (kind, isY) => isLog(kind) ? { time: false, distr: 3 } :
    isY ? { range: (u, low, high) => [0, high * 1.08] } : { time: false };
  const axisOf = (kind, data, isX) => {
    const axis = {
      stroke: color('--ink'), grid: { stroke: color('--line'), width: 1 }, ticks: { stroke: color('--line'), width: 1 },
      font: '12px system-ui, sans-serif',
      values: (u, ticks) => ticks.map((tick) => tick === null ? '' : short(formats[kind](tick))),
    };
    if (kind === 'nines') axis.splits = (u) => [1, 2, 10, 100, 1e3, 1e4, 1e5, 1e6].filter((v) => v <= u.scales.x.max);
    // The sizes that were measured are the ones to read.
    if (kind === 'clients' || isService(kind) || (kind === 'rate' && isX)) axis.splits = () => data[0];
    if (isLog(kind) || isService(kind)) axis.filter = (u, ticks) => ticks;
    return axis;
  };
  const powers = (u) => {
    const { min, max } = u.scales.y;
    const steps = max / min > 1000 ? [1] : max / min > 30 ? [1, 3] : [1, 2, 5];
    const ticks = [];
    for (let power = Math.floor(Math.log10(min)); power <= Math.log10(max); power += 1)
      for (const step of steps) ticks.push(step * 10 ** power);
    return ticks.filter((tick) => tick >= min && tick <= max);
  };
  const tight = (u, low, high) => low === null ? [1, 10] : [low / 1.2, high * 1.2];
  const fill = (u, chart, { series, low, high }) => {
    const points = chart.data[0].map((x, i) => [x, low[i], high[i]]).filter((point) => !point.includes(null));
    if (points.length < 2) return;
    const { ctx } = u;
    const to = (x, y) => ctx.lineTo(u.valToPos(x, 'x', true), u.valToPos(y, 'y', true));
    ctx.save();
    ctx.beginPath();
    points.forEach(([x, from]) => to(x, from));
    points.reverse().forEach(([x, , end]) => to(x, end));
    ctx.globalAlpha = 0.2;
    ctx.fillStyle = color('--c' + chart.series[series].color);
    ctx.fill();
    ctx.restore();
  };
  let drawn = [];
  const draw = () => {
    drawn.forEach((plot) => plot.destroy());
    drawn = charts.map((chart, index) => {
      const target = document.getElementById('chart-' + index);
      const y = axisOf(chart.y, chart.data);
      const yScale = scaleOf(chart.y, true);
      y.size = 72;
      if (isLog(chart.y)) { y.splits = powers; yScale.range = tight; }
      const x = isService(chart.x) ? serviceScale(chart.data) : scaleOf(chart.x, false);
      if (chart.x === 'nines') x.range = (u, low, high) => [1, high];
      if (chart.x === 'clients') x.range = tight;
      return new uPlot({
        width: target.clientWidth, height: Math.min(340, Math.max(240, target.clientWidth * 0.4)),
        scales: { x, y: yScale }, axes: [axisOf(chart.x, chart.data, true), y],
        cursor: { drag: { x: false, y: false } },
        hooks: { drawAxes: [(u) => (chart.bands || []).forEach((band) => fill(u, chart, band))] },
        series: [
          { label: chart.x === 'nines' ? 'percentile' : chart.x, value: (u, v) => v === null ? '' : formats[chart.x](v) },
          ...chart.series.map((series) => ({
            label: series.label, stroke: color('--c' + series.color), width: 2,
            ...(series.dashed ? { dash: [6, 4] } : {}),
            points: { show: chart.x === 'clients' || chart.x === 'rate' || isService(chart.x) },
            value: (u, v) => v === null || v === undefined ? '' : formats[chart.y](v),
          })),
        ],
      }, chart.data, target);
    });
  };
  draw();
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw);
  let waiting = 0;
  addEventListener('resize', () => { clearTimeout(waiting); waiting = setTimeout(draw, 150); });
})();
`;
