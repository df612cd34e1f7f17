/** Reads the chart library that the HTML report carries inside itself. Apart from html.ts, which stays a pure function. */
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
