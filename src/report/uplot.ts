/** uPlot, read from its package, to be put into a page. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

/** Script and style of the chart library; the script defines the global uPlot. */
export interface ChartLibrary {
  readonly script: string;
  readonly css: string;
}

export function chartLibrary(): ChartLibrary {
  const folder = dirname(createRequire(import.meta.url).resolve('uplot/package.json'));
  const read = (name: string): string => readFileSync(join(folder, 'dist', name), 'utf8');
  return { script: read('uPlot.iife.min.js'), css: read('uPlot.min.css') };
}
