/** Errors of a window by their classes, for rules about some of them. */
import type { CompletedWindow } from '../model/report-schema.js';

export interface ClassErrors<Name extends string> {
  /** Of the classes that had errors, in their order. */
  readonly counts: readonly { readonly name: Name; readonly count: number }[];
  readonly total: number;
  /** An example, if there is a sample of one of them. */
  readonly hint: string;
  readonly figures: Readonly<Record<string, number>>;
}

/** null if none of the classes had errors. */
export function errorsOfClasses<Name extends string>(
  { by_class: byClass, samples }: CompletedWindow['errors'],
  names: readonly Name[],
): ClassErrors<Name> | null {
  const counts = names.flatMap((name) => {
    const count = byClass[name] ?? 0;
    return count === 0 ? [] : [{ name, count }];
  });
  if (counts.length === 0) return null;
  const sample = samples.find((one) => counts.some(({ name }) => name === one.class));
  return {
    counts,
    total: counts.reduce((sum, { count }) => sum + count, 0),
    hint: sample === undefined ? 'see the log of the server' : `for example ${sample.message}`,
    figures: Object.fromEntries(counts.map(({ name, count }) => [name, count])),
  };
}
