/** Style, script and frame of the HTML report. Everything is inside the page, since it must not request anything. */
import { createHash } from 'node:crypto';
import { escapeMarkup } from './escape.js';
import { symbolsHtml } from './html-parts.js';
import { palette, paletteStyle } from './mode-colors.js';

/** The colours of each slot of the palette: s3 strokes a line, c3 fills an area. */
const slotStyle = palette.light
  .map((_, slot) => `.s${slot}{stroke:var(--c${slot})}.c${slot}{fill:var(--c${slot});stroke:var(--c${slot})}`)
  .join('');

export const pageStyle = `
:root{color-scheme:light dark;--ink:#1c2127;--dim:#57606a;--line:#d5dbe1;--back:#ffffff;--soft:#f3f5f7;
--good:#1a7f37;--bad:#b42318;--warn:#8a5a00;--accent:#0072b2;${paletteStyle(palette.light)}}
@media screen and (prefers-color-scheme:dark){:root{--ink:#e6e9ed;--dim:#9aa5b1;--line:#363d45;--back:#14171a;--soft:#1d2227;
--good:#57c878;--bad:#ff8a7f;--warn:#e5b34a;--accent:#5ab4ee;${paletteStyle(palette.dark)}}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;text-size-adjust:100%}
body{margin:0;background:var(--back);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:1160px;margin:0 auto;padding:18px 20px 60px;overflow-wrap:break-word}
h1{font-size:15px;line-height:1.4;margin:0;font-weight:600;color:var(--dim)}
.headline{font-size:22px;line-height:1.3;font-weight:600;margin:4px 0 6px;text-wrap:pretty}
h2{font-size:20px;line-height:1.3;margin:40px 0 10px}
h3{font-size:16px;margin:26px 0 4px}
p{margin:4px 0}
a{color:var(--accent)}
a:focus-visible,summary:focus-visible,.scroll:focus-visible{outline:3px solid var(--accent);outline-offset:2px}
.dim,.notes,figcaption,.key{color:var(--dim)}
.notes,.key{font-size:13px}
.notes{padding-left:0;list-style:none}
.caveat{color:var(--warn);font-weight:600}
nav{margin:14px 0 0;font-size:14px}nav ul{display:flex;flex-wrap:wrap;gap:4px 18px;list-style:none;margin:0;padding:0}
nav a,nav summary{display:inline-block;padding:2px 0}
nav details{margin:0}nav summary{font-weight:400;color:var(--accent)}nav summary::before{content:"▸ "}nav [open]>summary::before{content:"▾ "}
nav li:has([open]){flex-basis:100%}nav details ul{padding-left:14px}
.hidden{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
.symbols{position:absolute}
.scroll{overflow-x:auto;max-width:100%}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}caption{text-align:left;padding-top:8px}
th,td{padding:3px 12px;border-bottom:1px solid var(--line);text-align:right;font-weight:400}
td{white-space:nowrap}
thead th{font-weight:600;vertical-align:bottom;border-bottom:2px solid var(--line)}
th:first-child,.left{text-align:left}
.scroll thead th{overflow-wrap:anywhere;min-width:5em}
.scroll th:first-child{position:sticky;left:0;background:var(--back);min-width:0}
.group th,.scroll .group th:first-child{background:var(--soft);font-weight:600;padding-top:6px;text-align:left}
.group span{position:sticky;left:12px}
.part{padding-left:28px}
.better{color:var(--good);font-weight:600}.worse{color:var(--bad);font-weight:600}.muted{color:var(--dim)}
td.invalid{color:var(--bad);font-weight:600}td.bound{color:var(--warn)}
.wrap{table-layout:fixed;width:100%}.wrap th{width:30%;vertical-align:top;overflow-wrap:anywhere}
.wrap td{white-space:normal;vertical-align:top;overflow-wrap:anywhere}
.verdict li{margin:4px 0}.verdict{padding-left:20px}
.list{padding-left:20px}.list li{margin:8px 0;overflow-wrap:anywhere}
.invalid b,.failed b{color:var(--bad)}.warning b,.undecided b{color:var(--warn)}.passed b{color:var(--good)}
code{font:13px/1.4 ui-monospace,Consolas,monospace;overflow-wrap:anywhere}
details{margin:14px 0}summary{cursor:pointer;font-weight:600}
.data{margin:2px 0 0;font-size:13px}.data summary,.more summary{font-weight:400;color:var(--dim)}
figure{margin:18px 0 26px}
figcaption{font-size:13px}
figcaption b{font-size:15px;color:var(--ink);margin-right:4px}

${slotStyle}
.panels{display:grid;grid-template-columns:1fr 1fr;gap:10px 34px;margin:14px 0 4px}
.panel{margin:0;min-width:0}
.bars{width:100%;table-layout:fixed;font-size:14px}
.bars th,.bars td{border:0;padding:0;height:25px;vertical-align:middle}
.bars th{width:124px;padding-right:8px;line-height:1.15}
.bars .value{width:96px;padding-left:8px;font-weight:600;text-align:left}
.bars svg,.forest svg{display:block;overflow:visible}
.costs .value{width:340px;font-weight:400;white-space:normal;font-size:13px}
.name{display:-webkit-box;-webkit-box-orient:vertical;-webkit-line-clamp:2;overflow:hidden;overflow-wrap:anywhere}
.bars .invalid,.forest .invalid,.flag{color:var(--bad)}.bars .bound{color:var(--warn)}
.flag{font-weight:700;margin-right:3px}
.bar{stroke-width:1.5;fill-opacity:.72}
.bar.pale{fill-opacity:.25}
.bar.doubt{fill-opacity:.12;stroke-dasharray:5 3}
.range{stroke:var(--ink);stroke-width:1.5}
.range.better{stroke:var(--good)}.range.worse{stroke:var(--bad)}.range.thin{stroke-width:1;stroke-dasharray:2 2}
.dot{fill:var(--back);stroke:var(--ink);stroke-width:1}
.mark{overflow:visible}
.ink{fill:var(--ink);stroke:var(--ink)}use.better{fill:var(--good);stroke:var(--good)}use.worse{fill:var(--bad);stroke:var(--bad)}
.ring{fill:none;stroke-width:1.5}.ring.invalid{stroke:var(--bad)}.ring.bound{stroke:var(--warn);stroke-dasharray:3 2}
.hollow{fill:var(--back);stroke-width:1.6}.open{fill:none;stroke-width:2}
.cost{fill:var(--accent);stroke:var(--accent);stroke-width:1}
.cost.kernel{fill-opacity:.45}.cost.waiting{fill-opacity:.06;stroke-dasharray:3 2}

.forest{width:100%;table-layout:fixed;font-size:14px}
.forest th,.forest td{padding:0 8px 0 0;border:0;height:24px;vertical-align:middle;text-align:left}
.forest thead th{border:0;height:18px}
.forest th{width:32%;line-height:1.2;overflow-wrap:anywhere}
.forest .plot{width:auto;padding:0 14px}
.forest .ratio,.forest thead th:last-child{width:250px;padding-left:10px}
.forest .group th{width:auto;padding:3px 8px;background:var(--soft)}
.grid{stroke:var(--line);stroke-width:1}.one{stroke:var(--dim);stroke-width:1.5}

.legend{list-style:none;display:flex;flex-wrap:wrap;gap:2px 18px;margin:4px 0 6px;padding:0;font-size:13px}
.legend li{display:flex;align-items:center;gap:6px;overflow-wrap:anywhere}.legend svg{overflow:visible;flex:none}
.graph{padding:8px 12px 0 62px;position:relative}
.graph>svg{display:block;overflow:visible}
.box{overflow:hidden}
.tick{font-size:12px;fill:var(--dim)}.end{text-anchor:end}.middle{text-anchor:middle}
.line{fill:none;stroke-width:2;vector-effect:non-scaling-stroke;stroke-linejoin:round}
.dashed{stroke-dasharray:6 4;stroke-width:1.5}
.line.thin{stroke-width:1}
.band{fill-opacity:.2;stroke:none}.band.full{fill-opacity:.42}.band.pale{fill-opacity:.14}
.level{stroke:var(--ink);stroke-width:1;stroke-dasharray:2 3}
.level-label{fill:var(--ink);paint-order:stroke;stroke:var(--back);stroke-width:3px}
.after{fill:var(--soft)}.boundary{stroke:var(--ink);stroke-width:1.5}
.multiples{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(340px,100%),1fr));gap:6px 20px}
.multiples>div{min-width:0}.multiples .name{font-size:13px;margin:6px 0 0}
.cursor{position:absolute;width:1px;background:var(--ink);top:8px;pointer-events:none}
.reading{font-size:13px;min-height:1.5em;color:var(--ink)}

@media screen and (max-width:760px){
main{padding:12px 14px 40px}
.headline{font-size:18px}
.panels{grid-template-columns:1fr;gap:6px;margin-top:6px}
.panel figcaption{font-size:12px;line-height:1.3}.panel figcaption b{font-size:14px}
.bars{font-size:13px}.bars th,.bars td{height:22px}
.bars th{width:104px;font-size:12px;padding-right:4px}.bars .value{width:84px;padding-left:6px}
.costs .value{width:134px;font-size:12px}
.roomy{display:none}
.costs th,.costs td{padding-bottom:4px}
table{font-size:13px}
.scroll th,.scroll td{padding:3px 6px}
.scroll th:first-child{padding-left:0}.scroll .part{padding-left:12px}
.scroll .group th:first-child{padding-left:6px}
.forest thead tr,.forest tbody tr:not(.group){display:grid;grid-template-columns:1fr auto;align-items:center}
.forest thead th:first-child,.forest thead th:last-child{display:none}
.forest .plot{grid-column:1/-1;order:3;padding:0 14px}
.forest th,.forest td,.forest .ratio{width:auto;height:auto;padding-top:3px;min-width:0}
.forest .group{display:block}.forest .group th{display:block}
.graph{padding-left:52px}
}
@media print{
:root{color-scheme:light;--line:#bbb}
body{font-size:10.5pt;print-color-adjust:exact;-webkit-print-color-adjust:exact}
main{max-width:none;padding:0}
nav,.data{display:none}
.scroll{overflow:visible}.scroll table{font-size:7.5pt}.scroll th,.scroll td{padding:1px 4px}.scroll td{white-space:normal}
.scroll th:first-child{position:static}
figure,.panel,tr,li{break-inside:avoid}h2,h3,figcaption{break-after:avoid}
.wrap{font-size:8pt}
details::details-content{content-visibility:visible;display:block;block-size:auto}
}
`;

/**
 * Runs in the page. Nothing that is to be seen depends on it: it shows the values under the pointer in line charts, opens what is folded
 * before the page is printed, and what a link leads to.
 */
export const pageScript = `
(() => {
  'use strict';
  addEventListener('beforeprint', () => {
    for (const part of document.querySelectorAll('details:not(.data)')) part.open = true;
  });
  const reveal = () => {
    const target = location.hash.length > 1 ? document.getElementById(decodeURIComponent(location.hash.slice(1))) : null;
    for (let part = target; part; part = part.parentElement) if (part.localName === 'details') part.open = true;
  };
  addEventListener('hashchange', reveal);
  reveal();
  for (const figure of document.querySelectorAll('figure.chart')) {
    const graphs = figure.querySelectorAll('.graph');
    const tables = figure.querySelectorAll('.data table');
    if (graphs.length === 0 || tables.length !== graphs.length) continue;
    const reading = document.createElement('p');
    reading.className = 'reading';
    reading.setAttribute('aria-hidden', 'true');
    figure.insertBefore(reading, figure.querySelector('.data'));
    graphs.forEach((graph, index) => {
      const rows = [...tables[index].querySelectorAll('tr[data-x]')];
      const names = [...tables[index].querySelectorAll('thead th')].map((head) => head.textContent);
      const cursor = document.createElement('div');
      cursor.className = 'cursor';
      cursor.hidden = true;
      graph.append(cursor);
      graph.addEventListener('pointermove', (event) => {
        const plot = graph.querySelector('.box').getBoundingClientRect();
        const at = (event.clientX - plot.left) / plot.width;
        const distance = (row) => Math.abs(Number(row.dataset.x) - at);
        const row = rows.reduce((best, other) => best && distance(best) <= distance(other) ? best : other, null);
        if (!row) return;
        const cells = [...row.children].map((cell) => cell.textContent);
        reading.textContent = cells[0] + ': ' + cells.slice(1).map((text, place) => names[place + 1] + ' ' + text).join(', ');
        cursor.hidden = false;
        cursor.style.left = plot.left - graph.getBoundingClientRect().left + Number(row.dataset.x) * plot.width + 'px';
        cursor.style.height = plot.height + 'px';
      });
      graph.addEventListener('pointerleave', () => {
        cursor.hidden = true;
        reading.textContent = '';
      });
    });
  }
})();
`;

/** A source of the page's policy: only these very texts are used. */
function hashSource(text: string): string {
  return `'sha256-${createHash('sha256').update(text, 'utf8').digest('base64')}'`;
}

/** The whole page around its sections. @param title as text */
export function pageHtml(title: string, sections: readonly string[]): string {
  const policy = [
    "default-src 'none'",
    `style-src ${hashSource(pageStyle)}`,
    `script-src ${hashSource(pageScript)}`,
    "base-uri 'none'",
    "form-action 'none'",
  ].join('; ');
  return [
    '<!doctype html>',
    '<html lang="en">',
    '<head>',
    '<meta charset="utf-8">',
    '<meta name="viewport" content="width=device-width, initial-scale=1">',
    `<meta http-equiv="Content-Security-Policy" content="${policy}">`,
    `<title>${escapeMarkup(title)} - iocp-bench</title>`,
    `<style>${pageStyle}</style>`,
    '</head>',
    '<body>',
    symbolsHtml(),
    '<main>',
    ...sections.filter((section) => section !== ''),
    '</main>',
    `<script>${pageScript}</script>`,
    '</body>',
    '</html>',
    '',
  ].join('\n');
}
