/** The layers of src: a folder imports only lower folders, one file reads the platform, and no two files have the same name. */
import { readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { ESLint } from 'eslint';
import t from 'tap';
import { root } from '../support/environment.js';

t.setTimeout(120_000);

/** What eslint reports when a file of the project consists of `code`. */
async function rulesBroken(file: string, code: string): Promise<string[]> {
  const eslint = new ESLint({ cwd: root });
  const [result] = await eslint.lintText(code, { filePath: join(root, file) });
  return (result?.messages ?? []).map((message) => message.ruleId ?? message.message);
}

t.test('an import of a layer above is an error', async (test) => {
  const broken: [file: string, imported: string][] = [
    ['src/model/words.ts', '../measure/statistics.js'],
    ['src/measure/statistics.ts', '../report/table.js'],
    ['src/measure/statistics.ts', '../native/binding.js'],
    ['src/report/table.ts', '../run/conductor.js'],
    ['src/server/modes.ts', '../run/conductor.js'],
    ['src/run/conductor.ts', '../report/table.js'],
    ['src/run/trial.ts', '../agent/remote-load.js'],
    ['src/agent/fleet.ts', '../commands/blast.js'],
  ];
  for (const [file, imported] of broken) {
    test.match(await rulesBroken(file, `import '${imported}';\n`), ['no-restricted-imports'], `${file}: ${imported}`);
  }
});

t.test('an import of a layer beneath is allowed', async (test) => {
  for (const [file, imported] of [
    ['src/measure/statistics.ts', '../model/report-schema.js'],
    ['src/report/table.ts', '../measure/statistics.js'],
    ['src/run/conductor.ts', '../platform.js'],
    ['src/agent/remote-load.ts', '../run/load.js'],
  ] as const) {
    test.strictSame(await rulesBroken(file, `import '${imported}';\n`), [], `${file}: ${imported}`);
  }
});

t.test('one file reads the platform', async (test) => {
  const code = 'export const here = process.platform;\n';
  test.strictSame(await rulesBroken('src/server/modes.ts', code), ['no-restricted-properties']);
  test.strictSame(await rulesBroken('src/platform.ts', code), []);
});

t.test('no two files of src have the same name', (test) => {
  const names = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.ts'))
    .map((path) => basename(path));
  test.strictSame(
    names.filter((name, index) => names.indexOf(name) !== index),
    [],
  );
  test.end();
});
