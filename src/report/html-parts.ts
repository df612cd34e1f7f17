/** Small parts of the HTML report that its sections share. Everything that comes from a report is escaped here or by the caller. */
import { escapeMarkup } from './escape.js';

/** A share of the width or height as SVG writes it: "37.25%". */
export function percentOf(share: number): string {
  return `${Number((share * 100).toFixed(2))}%`;
}

/** A length in pixels, to a hundredth. */
export function pixels(length: number): string {
  return String(Number(length.toFixed(2)));
}

/** A box that scrolls sideways by itself. It can be focused, so that a keyboard scrolls it, too. */
export function scrollBox(label: string, content: string): string {
  return `<div class="scroll" tabindex="0" role="region" aria-label="${escapeMarkup(label)}">${content}</div>`;
}

/** Shapes of points, so that series differ in more than their colours. */
const markCount = 8;

/** The shape of a slot of the palette, which is that of a mode in every report. */
export function markOf(slot: number): string {
  return `m${slot % markCount}`;
}

/** What the charts of a page draw with: the shapes of points, and of ratios. No figure of its own. */
export function symbolsHtml(): string {
  const shapes = [
    '<circle r="4"/>',
    '<path d="M-3.6-3.6h7.2v7.2h-7.2z"/>',
    '<path d="M0-4.8 4.6 3.6h-9.2z"/>',
    '<path d="M0-5.2 5.2 0 0 5.2-5.2 0z"/>',
    '<path class="open" d="M-4-4 4 4M-4 4 4-4"/>',
    '<path d="M0 4.8 4.6-3.6h-9.2z"/>',
    '<path class="open" d="M-5 0h10M0-5v10"/>',
    '<circle class="hollow" r="3.8"/>',
  ];
  return (
    '<svg class="symbols" width="0" height="0" aria-hidden="true"><defs>' +
    shapes.map((shape, place) => `<g id="m${place}">${shape}</g>`).join('') +
    '<path id="claimed" d="M0-6 6 0 0 6-6 0z"/><circle id="open" class="hollow" r="4"/>' +
    '<path id="further" d="M-6-5 1 0-6 5z"/><path id="nearer" d="M6-5-1 0 6 5z"/>' +
    '</defs></svg>'
  );
}
