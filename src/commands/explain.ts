/** `explain`: how a mode serves one request. Needs neither the native library nor a run. */
import { Command } from 'commander';
import { parseChoice } from '../model/parse.js';
import { explainedModes, renderExplanation, renderModeList } from '../report/explanation.js';
import { terminal } from '../terminal.js';

export function explainCommand(): Command {
  return new Command('explain')
    .summary('show how a mode serves one request, call by call')
    .description(
      'Shows the way of one request through an I/O model, call by call, as the servers of\nthis tool make them; where the model ends; and what a report shows of it.',
    )
    .argument('[mode]', 'the mode; without it, every mode in one line')
    .addHelpText('after', '\nExample:\n  iocp-bench explain epoll')
    .action((mode: string | undefined) => {
      const options = { width: terminal.width(), color: terminal.color() };
      if (mode === undefined) {
        terminal.print(renderModeList(options));
        return;
      }
      terminal.print(renderExplanation(parseChoice('explain', explainedModes())(mode), options));
    });
}
