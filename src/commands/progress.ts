/** Live progress on stderr: on a terminal lines that are rewritten, elsewhere one line per trial, nothing with --quiet. */
import ora, { type Ora } from 'ora';
import { formatCount, formatRate, listInWords, plural } from '../model/format.js';
import { modeInWords } from '../report/view.js';
import { wrapText } from '../report/text.js';
import { ModeLines } from './mode-lines.js';
import { substitutionNotice } from '../server/modes.js';
import { terminal } from '../terminal.js';
import { duration, typedPercent } from '../model/words.js';
import { pointInWords, serviceNames } from '../model/point.js';
import { connectionCounts, type BlastPlan, type Target } from '../model/plan.js';
import { choiceInWords } from '../run/target.js';
import { calibrationIndex, type Progress, type TrialTask } from '../run/trial.js';

const stepNames: Record<Progress['step'], string> = {
  server: 'starting server',
  connect: 'connecting',
  'warm-up': 'warm-up',
  'first-echoes': 'waiting for an echo on every connection',
  capacity: 'capacity',
  latency: 'latency',
  drain: 'drain',
  verify: 'verifying idle connections',
  close: 'closing',
};

export class ProgressLine {
  private spinner: Ora | null = null;
  private heading = '';
  private readonly modes = new ModeLines();

  constructor(
    private readonly plan: BlastPlan,
    private readonly quiet: boolean,
  ) {}

  /** Announces the run: its modes and their backends, its sizes, and what replaced a default. */
  announce(fallback: string | null): void {
    const { target } = this.plan;
    if (fallback !== null) terminal.note(`Note: ${fallback}.`);
    if (this.quiet) return;
    const what = target === null ? modesText(this.plan) : `server at ${targetInWords(target)}`;
    const sizes = this.plan.clients.map(formatCount).join(', ');
    const services = servicesText(this.plan);
    const line = `${what}: ${sizes} clients${services}, ${trialsText(this.plan)}, ${this.plan.phases.join(' and ')}`;
    // A file or a pipe gets it as one line.
    const lines = terminal.isInteractive() ? wrapText(line, terminal.progressWidth()) : [line];
    for (const part of lines) terminal.note(part);
    const choice = target === null ? null : choiceInWords(target);
    if (choice !== null) terminal.note(`Note: ${choice}.`);
    for (const note of [...crowdedThreads(this.plan), ...slowRounds(this.plan)]) terminal.note(note);
    for (const { mode, backend } of this.plan.modes) {
      const notice = substitutionNotice(mode, backend);
      if (notice !== null) terminal.note(notice);
    }
  }

  /** A trial begins. */
  trial(task: TrialTask, number: number, of: number): void {
    const most = this.plan.until === null ? `/${of}` : `, at most ${of}`;
    this.heading = `[${number}${most}] ${modeInWords(task.spec)}, ${pointInWords(task)}`;
    if (this.quiet) return;
    if (!terminal.isInteractive()) terminal.note(this.heading);
  }

  update(progress: Progress): void {
    if (this.quiet || !terminal.isInteractive()) return;
    // Ora must leave stdin alone, so that Ctrl-C stays a signal to the whole process group.
    this.spinner ??= ora({
      stream: process.stderr,
      discardStdin: false,
      spinner: terminal.hasSigns() ? 'dots' : 'line',
    }).start();
    const heading =
      progress.task.index === calibrationIndex ? `calibrating ${modeInWords(progress.task.spec)}` : this.heading;
    const parts = [heading, stepNames[progress.step]];
    if (progress.step === 'connect') parts.push(`${formatCount(progress.connected)} of ${formatCount(progress.asked)}`);
    if (progress.step === 'first-echoes') {
      parts.push(`${formatCount(progress.echoed)} of ${formatCount(progress.connected)}`);
    }
    if (progress.failed > 0) parts.push(`${formatCount(progress.failed)} failed`);
    if (progress.requestsPerSecond !== null && progress.requestsPerSecond > 0)
      parts.push(formatRate(progress.requestsPerSecond));
    if (progress.secondsLeft !== null) parts.push(`${progress.secondsLeft.toFixed(0)} s left`);
    const isLoaded = progress.step === (this.plan.phases.includes('capacity') ? 'capacity' : 'latency');
    const isTrial = progress.task.index !== calibrationIndex;
    if (isLoaded && isTrial && progress.requestsPerSecond !== null) {
      this.modes.add(progress.task.spec.mode, progress.requestsPerSecond);
    }
    const lines = this.modes.lines(terminal.progressWidth(), terminal.hasSigns());
    this.spinner.text = [terminal.signs(parts.join(' · ')), ...lines].join('\n');
  }

  interrupted(): void {
    this.end();
    terminal.note('Stopping. The results so far are kept. Press Ctrl-C again to quit immediately.');
  }

  end(): void {
    this.spinner?.stop();
    this.spinner = null;
  }
}

/** A note if the client's threads take turns on its CPUs, which makes the run slow and its figures wrong. */
export function crowdedThreads({ threads, cpus }: BlastPlan): string[] {
  const count = cpus.client.length;
  if (count === 0 || threads <= count) return [];
  return [
    `Note: ${formatCount(threads)} client threads share ${plural(count, 'CPU')}; leave out --threads to run one per CPU.`,
  ];
}

/** A note for each size whose window is too short for a request on every connection. */
export function slowRounds(plan: BlastPlan): string[] {
  const { ratePerSecond, durationMs } = plan;
  const isRandom = plan.arrivals === 'poisson';
  if (ratePerSecond === null || !plan.phases.includes('latency')) return [];
  return plan.clients.flatMap((clients) => {
    const { active } = connectionCounts(plan, clients);
    const due = Math.floor((ratePerSecond * durationMs) / 1_000);
    if (due >= active) return [];
    const average = isRandom ? ' on average' : '';
    const each = `each of ${formatCount(active)} connections sends every ${duration((active / ratePerSecond) * 1e9)}${average}`;
    // At random, some connections get several of the messages: the share without one is exp(-messages / connections).
    const reached = isRandom ? Math.round(active * (1 - Math.exp(-due / active))) : due;
    return [
      `Note: at ${formatRate(ratePerSecond)} ${each}; a window of ${duration(durationMs * 1e6)} reaches ${isRandom ? 'about ' : ''}${formatCount(reached)} of them.`,
    ];
  });
}

/** ", 0, 10 µs of work"; empty without. */
function servicesText(plan: Pick<BlastPlan, 'worksUs' | 'waitsMs'>): string {
  const lists = { work: plan.worksUs.map((us) => us * 1e3), wait: plan.waitsMs.map((ms) => ms * 1e6) };
  return serviceNames
    .filter((name) => lists[name].some((ns) => ns > 0))
    .map((name) => `, ${lists[name].map((ns) => (ns === 0 ? '0' : duration(ns))).join(', ')} of ${name}`)
    .join('');
}

/** "10.0.0.7:7000", or "db:7000 (10.0.0.7)". */
function targetInWords({ asked, host, tried }: Target): string {
  return tried.length === 0 ? asked : `${asked} (${host})`;
}

/** "blocking against iocp", "blocking, epoll and node". */
export function modesText({ modes }: Pick<BlastPlan, 'modes'>): string {
  const names = modes.map(modeInWords);
  return names.length > 2 ? listInWords(names) : names.join(' against ');
}

export function trialsText({ trials, trialsMax, until }: Pick<BlastPlan, 'trials' | 'trialsMax' | 'until'>): string {
  if (until === null || (trialsMax ?? trials) <= trials) return plural(trials, 'trial');
  return `${trials} to ${plural(trialsMax ?? trials, 'trial')} until every interval is within ±${typedPercent(until)}`;
}
