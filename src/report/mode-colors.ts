/**
 * The colour of each mode, the same in every report. The palette can be told apart with every kind of colour blindness: a test measures the
 * distances as people with each kind see them (test/unit/report/mode-colors).
 */
/** A slot is a place of the palette. Modes that never run on the same system share one, as do a model's two names (iocp on Linux). */
const slots: Readonly<Record<string, number>> = {
  blocking: 0,
  iocp: 1,
  io_uring: 1,
  epoll: 2,
  event_select: 2,
  select: 3,
  poll: 4,
  pool: 5,
  process: 6,
  completion_routine: 6,
  node: 7,
  thread_pool_io: 8,
};

/** Colours of the slots, on the light and on the dark page. */
export const palette = {
  light: ['#354771', '#df7700', '#34a395', '#7700ff', '#b07dcc', '#b80206', '#821225', '#7f985f', '#d74dfd', '#7410a5'],
  dark: ['#24d7f6', '#df7400', '#1c9c60', '#613aff', '#ad6fff', '#ca082a', '#ffafb2', '#b1cc70', '#9545a4', '#616470'],
} as const;

/**
 * The slot of each mode of a report. Modes of the user get those that no mode of the report has.
 * @param modes in the order of the plan, without duplicates
 */
export function modeColors(modes: readonly string[]): number[] {
  const count = palette.light.length;
  const taken = new Set<number>();
  const chosen = new Map<string, number>();
  for (const mode of modes) {
    const slot = Object.hasOwn(slots, mode) ? slots[mode] : undefined;
    if (slot === undefined || taken.has(slot)) continue;
    taken.add(slot);
    chosen.set(mode, slot);
  }
  const free = Array.from({ length: count }, (_, at) => count - 1 - at).filter((slot) => !taken.has(slot));
  const others = modes.filter((mode) => !chosen.has(mode));
  others.forEach((mode, at) => chosen.set(mode, free[at] ?? at % count));
  return modes.map((mode) => chosen.get(mode) ?? 0);
}

/** "--c0:#0072b2;--c1:...": the palette as properties of a style sheet. */
export function paletteStyle(colors: readonly string[]): string {
  return colors.map((color, slot) => `--c${slot}:${color}`).join(';');
}
