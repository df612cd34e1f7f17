/** Text of others made harmless in HTML, XML and Markdown. */
import { printable } from '../model/format.js';

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/** For HTML and XML, between tags and in quoted attributes. Control characters, which XML 1.0 cannot hold at all, are dropped. */
export function escapeMarkup(text: string): string {
  return printable(text).replace(/[&<>"']/g, (character) => entities[character] ?? character);
}

/** For GitHub's Markdown, in paragraphs and in cells of tables. */
export function escapeMarkdown(text: string): string {
  return (
    printable(text)
      .replace(/[\\`*_[\]|~#]/g, '\\$&')
      .replace(/[&<>]/g, (character) => entities[character] ?? character)
      // A name that looks like an address or a mention must neither link nor call anybody.
      .replace(/@(?=\w)/g, '@\u200b')
      .replace(/:\/\//g, ':\u200b//')
  );
}

/** More digits than a chart can show; the last digits of a computed double differ between versions of the JavaScript engine. */
const chartDigits = 9;

/** JSON for a script element, with numbers rounded to nine digits. Nothing in it can end the element. */
export function scriptJson(value: unknown): string {
  const rounded = (_key: string, member: unknown): unknown =>
    typeof member === 'number' ? Number(member.toPrecision(chartDigits)) : member;
  return JSON.stringify(value, rounded)
    .replaceAll('<', '\\u003c')
    .replaceAll('\u2028', '\\u2028')
    .replaceAll('\u2029', '\\u2029');
}
