/** The colours of modes: fixed, different for modes that run together, and different for people who are colour-blind. */
import t from 'tap';
import { modeNames } from '../../../src/model/parse.js';
import { modeColors, palette } from '../../../src/report/mode-colors.js';

type Triple = readonly [number, number, number];
type Matrix = readonly [Triple, Triple, Triple];

/** Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB. */
const visions: Readonly<Record<string, Matrix>> = {
  normal: [
    [1, 0, 0],
    [0, 1, 0],
    [0, 0, 1],
  ],
  protanopia: [
    [0.152286, 1.052583, -0.204868],
    [0.114503, 0.786281, 0.099216],
    [-0.003882, -0.048116, 1.051998],
  ],
  deuteranopia: [
    [0.367322, 0.860646, -0.227968],
    [0.280085, 0.672501, 0.047413],
    [-0.01182, 0.04294, 0.968881],
  ],
  tritanopia: [
    [1.255528, -0.076749, -0.178779],
    [-0.078411, 0.930809, 0.147602],
    [0.004733, 0.691367, 0.3039],
  ],
};

function linear(color: string): Triple {
  const channel = (at: number): number => {
    const value = parseInt(color.slice(at, at + 2), 16) / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  };
  return [channel(1), channel(3), channel(5)];
}

function times(matrix: Matrix, color: Triple): Triple {
  const row = ([a, b, c]: Triple): number => Math.min(1, Math.max(0, a * color[0] + b * color[1] + c * color[2]));
  return [row(matrix[0]), row(matrix[1]), row(matrix[2])];
}

/** CIELAB under D65. */
function lab([r, g, b]: Triple): Triple {
  const f = (value: number): number => (value > 0.008856 ? Math.cbrt(value) : 7.787 * value + 16 / 116);
  const x = f((0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.95047);
  const y = f(0.2126 * r + 0.7152 * g + 0.0722 * b);
  const z = f((0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.08883);
  return [116 * y - 16, 500 * (x - y), 200 * (y - z)];
}

function luminance(color: string): number {
  const [r, g, b] = linear(color);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

const backgrounds = { light: '#ffffff', dark: '#14171a' } as const;

t.test('a mode has one colour in every report', async (test) => {
  const without = (...left: string[]): string[] => modeNames.filter((mode) => !left.includes(mode));
  const ofLinux = without('event_select', 'completion_routine', 'thread_pool_io');
  const ofWindows = without('process', 'epoll', 'io_uring');
  for (const modes of [ofLinux, ofWindows]) {
    const all = modeColors(modes);
    for (const [at, mode] of modes.entries()) {
      // On Linux iocp is served by io_uring and has its colour; together, the later one has a free colour.
      if (mode === 'iocp' || mode === 'io_uring') continue;
      test.equal(modeColors([mode])[0], all[at], mode);
      test.equal(modeColors([...new Set(['mine', 'select', mode])]).at(-1), all[at], `${mode} after others`);
    }
  }
  test.equal(modeColors(['io_uring'])[0], modeColors(['blocking', 'iocp'])[1], 'iocp and what serves it on Linux');
});

t.test('modes of one report have different colours', async (test) => {
  const linux = ['blocking', 'process', 'pool', 'select', 'poll', 'epoll', 'io_uring', 'node', 'mine', 'yours'];
  const windows = [
    'blocking',
    'pool',
    'select',
    'poll',
    'event_select',
    'completion_routine',
    'thread_pool_io',
    'iocp',
    'node',
  ];
  for (const modes of [linux, windows, ['iocp', 'io_uring'], ['base', 'head'], ['constructor', 'blocking']]) {
    test.equal(new Set(modeColors(modes)).size, modes.length, modes.join(', '));
  }
  const many = Array.from({ length: 25 }, (_, at) => `mode-${at}`);
  for (const slot of modeColors(many)) test.ok(slot >= 0 && slot < palette.light.length, 'a colour for any number');
});

t.test('colours differ for everybody, and stand out from the page', async (test) => {
  for (const theme of ['light', 'dark'] as const) {
    const colors = palette[theme];
    for (const color of colors) {
      const [a, b] = [luminance(color), luminance(backgrounds[theme])];
      const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
      test.ok(contrast >= 3, `${theme}: ${color} has a contrast of ${contrast.toFixed(1)} (WCAG: 3 for graphics)`);
    }
    for (const [name, matrix] of Object.entries(visions)) {
      const seen = colors.map((color) => lab(times(matrix, linear(color))));
      const distances = seen.flatMap((one, at) =>
        seen.slice(0, at).map((other) => Math.hypot(one[0] - other[0], one[1] - other[1], one[2] - other[2])),
      );
      const least = Math.min(...distances);
      test.ok(least >= 20, `${theme}, ${name}: the closest two are ${least.toFixed(1)} apart in CIELAB`);
    }
  }
});
