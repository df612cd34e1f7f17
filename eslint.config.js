import js from '@eslint/js';
import prettier from 'eslint-config-prettier';
import tseslint from 'typescript-eslint';

/** What a script of plain JavaScript uses of Node and of the language; unknown names are found by the type check. */
const scripts = ['**/*.mjs', 'bin/*.js', 'eslint.config.js'];

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
