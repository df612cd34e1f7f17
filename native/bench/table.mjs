// The table of verdicts: one row per comparison, within 80 columns. Pure.

const metricNames = {
  requests_per_second: 'rate',
  '1/server_cpu_us': 'CPU',
  '1/client_cpu_us': 'CPU',
  server_cpu_us: 'cost',
  client_cpu_us: 'cost',
};

const columns = [
  { title: 'comparison', text: ({ name }) => name.replace(/^(server|client) /, '') },
  { title: 'conns', right: true, text: ({ connections }) => String(connections) },
  { title: 'with', text: ({ against }) => against.replace(' client', ' cl.').replace(' server', ' srv.') },
  { title: 'by', text: ({ by }) => metricNames[by] ?? by },
  { title: 'ratio [95%]', text: ratioText },
  { title: 'bound', text: boundText },
  { title: '', text: verdictText },
];

function ratioText({ ratio, ci_low, ci_high }) {
  if (ratio === null) return '-';
  if (ci_low === null || ci_high === null) return ratio.toFixed(2);
  return `${ratio.toFixed(2)} [${ci_low.toFixed(2)}, ${ci_high.toFixed(2)}]`;
}

function boundText({ bound }) {
  if (bound === null) return '';
  return bound.at_least === undefined ? `<= ${bound.at_most}` : `>= ${bound.at_least}`;
}

function verdictText({ verdict, pairs }) {
  if (verdict === 'no bound') return '';
  return verdict === 'undecided' ? `${pairs} pairs` : verdict;
}

const legend = `rate: requests/s, the side under test being the limit. CPU: work per CPU time
(the other's CPU per request / this one's), more is better. cost: CPU per
request, less is better. growth: of the cost, from 100 to 15000 connections, as
a multiple of libuv's. A bound counts with 8 pairs, at the end of the interval,
with 3% grace.
`;

export function renderTable(comparisons) {
  const rows = comparisons.map((comparison) => columns.map(({ text }) => text(comparison)));
  const widths = columns.map(({ title }, index) => Math.max(title.length, ...rows.map((row) => row[index].length)));
  const line = (cells) =>
    cells
      .map((cell, index) => (columns[index].right ? cell.padStart(widths[index]) : cell.padEnd(widths[index])))
      .join(' ')
      .trimEnd();
  const counts = ['PASS', 'MISS', 'undecided'].map(
    (verdict) => `${comparisons.filter((each) => each.verdict === verdict).length} ${verdict}`,
  );
  return `${[line(columns.map(({ title }) => title)), ...rows.map(line)].join('\n')}\n\n${counts.join(', ')}\n${legend}`;
}
