import js from '@eslint/js';
import prettier from 'eslint-config-prettier';
import tseslint from 'typescript-eslint';

/** What a script of plain JavaScript uses of Node and of the language; unknown names are found by the type check. */
const scripts = ['**/*.mjs', 'bin/*.js', 'eslint.config.js'];

/**
 * What the files of each folder of src may import of this project, besides their own folder and what every layer may (below).
 * A layer knows only layers beneath it, so that the measuring can be read and tested without the running and the printing.
 */
const layers = {
  model: [],
  measure: ['model'],
  report: ['model', 'measure'],
  native: ['model'],
  server: ['model', 'native'],
  run: ['model', 'measure', 'native', 'server'],
  agent: ['model', 'measure', 'native', 'server', 'run'],
  library: ['model', 'measure', 'report', 'native', 'server', 'run', 'agent'],
};

/** Facts about the program and the system, which import nothing of ours. */
const leaves = ['platform', 'version'];

/** @type {import('typescript-eslint').ConfigArray} */
const layerRules = Object.entries(layers).map(([folder, lower]) => {
  const allowed = [...lower.map((name) => `${name}/`), ...leaves.map((name) => `${name}\\.js$`)];
  const message = `src/${folder} may import ${lower.length === 0 ? 'no other folder' : lower.map((name) => `src/${name}`).join(', ')} of src.`;
  return {
    files: [`src/${folder}/**/*.ts`],
    rules: {
      'no-restricted-imports': ['error', { patterns: [{ regex: `^\\.\\./(?!${allowed.join('|')})`, message }] }],
    },
  };
});

export default tseslint.config(
  { ignores: ['dist/', 'prebuilds/', 'native/build/', 'results/', '.wine/', '.tap/', 'node_modules/'] },
  {
    files: ['**/*.ts'],
    extends: [...tseslint.configs.strictTypeChecked, ...tseslint.configs.stylisticTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      // Numbers in messages are this project's daily bread; everything else in a template must be a string.
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      '@typescript-eslint/switch-exhaustiveness-check': 'error',
      eqeqeq: 'error',
      'no-console': 'error',
    },
  },
  ...layerRules,
  {
    files: ['src/**/*.ts'],
    ignores: ['src/platform.ts'],
    rules: {
      'no-restricted-properties': [
        'error',
        { object: 'process', property: 'platform', message: 'src/platform.ts is the one place that asks for it.' },
      ],
    },
  },
  {
    files: scripts,
    extends: [js.configs.recommended],
    // tsconfig.scripts.json checks names and types.
    rules: { 'no-undef': 'off', eqeqeq: 'error', 'no-console': 'error', 'prefer-const': 'error', 'no-var': 'error' },
  },
  {
    files: ['test/**/*.ts'],
    rules: {
      // tap's t.test() returns a promise that tap itself awaits.
      '@typescript-eslint/no-floating-promises': 'off',
      // A test whose function is async ends when its promise does; without it every synchronous test needs a t.end().
      '@typescript-eslint/require-await': 'off',
    },
  },
  prettier,
);
