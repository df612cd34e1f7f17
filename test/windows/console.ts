/**
 * Runs a program in its own console, so that Ctrl-C can be pressed there. Windows has no signals, and the event goes to every
 * process of a console, so it must not be the console of the tests.
 *
 * fork(this file, [FILE, ARGS...], { detached: true })      runs node FILE ARGS; each message 'interrupt' presses Ctrl-C
 */
import { spawn } from 'node:child_process';
import koffi from 'koffi';

const ctrlC = 0;
const everyProcessOfTheConsole = 0;

const kernel32 = koffi.load('kernel32.dll');
const freeConsole = kernel32.func('int __stdcall FreeConsole()') as () => number;
const allocConsole = kernel32.func('int __stdcall AllocConsole()') as () => number;
const setConsoleCtrlHandler = kernel32.func('int __stdcall SetConsoleCtrlHandler(void *handler, int add)') as (
  handler: null,
  add: number,
) => number;
const generateConsoleCtrlEvent = kernel32.func(
  'int __stdcall GenerateConsoleCtrlEvent(uint32_t event, uint32_t group)',
) as (event: number, group: number) => number;

function require(ok: number, what: string): void {
  if (ok === 0) throw new Error(`${what} failed`);
}

freeConsole(); // fails without a console, which does not matter
require(allocConsole(), 'AllocConsole');
// A detached process ignores Ctrl-C, and its children inherit that. The program must receive it.
require(setConsoleCtrlHandler(null, 0), 'SetConsoleCtrlHandler');
const child = spawn(process.execPath, process.argv.slice(2), { stdio: ['ignore', 'inherit', 'inherit'] });
// Only now, because the child would inherit it: this process must survive Ctrl-C.
require(setConsoleCtrlHandler(null, 1), 'SetConsoleCtrlHandler');

process.on('message', (message) => {
  if (message === 'interrupt')
    require(generateConsoleCtrlEvent(ctrlC, everyProcessOfTheConsole), 'GenerateConsoleCtrlEvent');
});
// The test that started this process has ended.
process.on('disconnect', () => {
  child.kill();
});
child.once('exit', (code) => {
  process.exit(code ?? 1);
});
