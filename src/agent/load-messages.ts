/** What an agent says about its load: heartbeats from live counters, and the figures of a completed command. */
import { fieldGroups } from '../model/abi.generated.js';
import { processUsage } from '../native/binding.js';
import { histogramNames, type EngineWindow } from '../run/control.js';
import type { LocalLoad } from '../run/load.js';
import type { AnswerInput, Beat } from './protocol.js';
import { mergeHistograms, packHistogram } from './sparse.js';

/** Enough to explain what went wrong, in a message that is sent several times a second. */
const samplesSent = 8;

/** @param done the conductor's sequence of the last completed command */
export function loadBeat(load: LocalLoad, done: number): NonNullable<Beat['load']> {
  const { control, error } = load;
  return {
    running: control.isRunning(),
    done,
    ended: load.hasEnded,
    error: error === null ? null : error instanceof Error ? error.message : 'an engine failed',
    live: control.live(),
    connected: control.connectedCount(),
    connect_span_ns: control.connectSpanNs(),
    ends: control.ends(),
    errors: control.errorsByClass(),
    samples: control.errorSamples().slice(0, samplesSent),
  };
}

export function loadFigures(load: LocalLoad): AnswerInput<'load-figures'> {
  const { control } = load;
  const windows = control.windows();
  const merged = histogramNames.map((name) => [
    name,
    packHistogram(mergeHistograms(windows.map((engine) => engine[name]))),
  ]);
  const rows = control.timeline(control.timelineCapacity);
  const used = rows.findLastIndex(({ requests, errors }) => requests > 0 || errors > 0);
  return {
    engines: windows.map((engine) => ({
      figures: windowFigures(engine),
      fairness_sum: engine.fairness_sum,
      fairness_sum_squares: engine.fairness_sum_squares,
    })),
    histograms: Object.fromEntries(merged) as AnswerInput<'load-figures'>['histograms'],
    timeline: rows
      .slice(0, used + 1)
      .map(({ requests, errors, service_max_ns, response_max_ns }) => [
        requests,
        errors,
        service_max_ns,
        response_max_ns,
      ]),
    ends: control.ends(),
    replies: control.replies(),
    resident_bytes: processUsage(0).resident_bytes,
  };
}

type WindowName = (typeof fieldGroups.ib_engine_block.window)[number];

function windowFigures(engine: EngineWindow): Record<WindowName, number | null> {
  const entries = fieldGroups.ib_engine_block.window.map((name) => [name, engine[name]]);
  return Object.fromEntries(entries) as Record<WindowName, number | null>;
}
