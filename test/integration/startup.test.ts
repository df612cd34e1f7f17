/** What a command loads: the client of NATS only if a broker is named, so that it costs local commands nothing. */
import t from 'tap';
import { makePlace, run, shortBlast, type Outcome, type Place } from '../support/cli.js';

t.setTimeout(180_000);

/** Writes the name of every module that the process imports to stderr. */
const hook = `
  import { writeSync } from 'node:fs';
  export async function resolve(specifier, context, next) {
    const found = await next(specifier, context);
    writeSync(2, 'imports ' + found.url + '\\n');
    return found;
  }`;
const register = `import { register } from 'node:module'; register(${JSON.stringify(asUrl(hook))});`;

function asUrl(source: string): string {
  return `data:text/javascript,${encodeURIComponent(source)}`;
}

async function imports(place: Place, args: readonly string[]): Promise<{ outcome: Outcome; modules: string[] }> {
  const outcome = await run(place, args, { env: { NODE_OPTIONS: `--import=${asUrl(register)}`, NATS_URL: '' } });
  const modules = [...outcome.stderr.matchAll(/^imports (.+)$/gm)].map(([, url = '']) => url);
  return { outcome, modules };
}

const isNats = (url: string): boolean => url.includes('/@nats-io/');

t.test('local commands do not load the client of NATS', async (test) => {
  const place = makePlace(test);
  const commands = [
    ['--help'],
    ['explain', 'blocking'],
    ['doctor', '--no-noise'],
    shortBlast('--modes', 'blocking', '--clients', '2', '--phases', 'capacity'),
  ];
  for (const args of commands) {
    const { outcome, modules } = await imports(place, args);
    test.equal(outcome.code, 0, outcome.stderr);
    test.ok(
      modules.some((url) => url.includes('/dist/src/')),
      `${args[0]}: imports are seen`,
    );
    test.strictSame(modules.filter(isNats), [], `${args[0]}: not that client`);
  }
});

t.test('a command with a broker loads it', async (test) => {
  const { outcome, modules } = await imports(makePlace(test), ['agents', '--nats', 'nats://127.0.0.1:1']);
  test.equal(outcome.code, 3, 'there is no broker');
  test.ok(modules.some(isNats), 'the client was loaded');
});
