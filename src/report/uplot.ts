/** Reads the chart library that is embedded in the HTML report. It is separate from html.ts, which is a pure function. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

export interface ChartLibrary {
  readonly script: string;
  readonly style: string;
}

export function chartLibrary(): ChartLibrary {
  const folder = dirname(createRequire(import.meta.url).resolve('uplot'));
  const read = (name: string): string => readFileSync(join(folder, name), 'utf8');
  return { script: read('uPlot.iife.min.js'), style: read('uPlot.min.css') };
}
