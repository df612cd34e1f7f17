/** `explain`: how a mode serves one request. Needs neither the native library nor a run. */
import { Command } from 'commander';
import { addOptions, defaulted, type Given } from '../model/options.js';
import { parseChoice } from '../model/parse.js';
import { serverProtocols } from '../model/server-protocol.js';
import { explainedModes, renderExplanation, renderModeList } from '../report/explanation.js';
import { terminal } from '../terminal.js';

const explainOptions = {
  protocol: defaulted(
    '--protocol <name>',
    'what the server speaks: echo or http',
    parseChoice('--protocol', serverProtocols),
    'echo',
  ),
} as const;

export function explainCommand(): Command {
  const command = new Command('explain')
    .summary('show how a mode serves one request, call by call')
    .description(
      'Shows the way of one request through an I/O model, call by call, as the servers of\nthis tool make them; where the model ends; and what a report shows of it.',
    )
    .argument('[mode]', 'the mode; without it, every mode in one line')
    .addHelpText('after', '\nExamples:\n  iocp-bench explain epoll\n  iocp-bench explain epoll --protocol http');
  addOptions(command, explainOptions);
  return command.action((mode: string | undefined, { protocol }: Given<typeof explainOptions>) => {
    const options = { width: terminal.width(), color: terminal.color() };
    if (mode === undefined) {
      terminal.print(renderModeList(options));
      return;
    }
    terminal.print(renderExplanation(parseChoice('explain', explainedModes())(mode), protocol, options));
  });
}
