/** Sentences that compare two modes or two reports. */
import t from 'tap';
import {
  changeSentence,
  noDifferenceSentence,
  ratioSentence,
  type RatioInWords,
} from '../../../src/measure/sentences.js';
import { requireMetric } from '../../../src/model/metrics.js';

function subject(
  metric: string,
  ratio: number,
  low: number,
  high: number,
  limit: RatioInWords['limit'] = null,
): RatioInWords {
  return { entry: requireMetric(metric), a: 'iocp', b: 'blocking', ratio, low, high, limit };
}

t.test('a ratio', (test) => {
  const cases: [subject: RatioInWords, sentence: string][] = [
    [
      subject('server_cpu_us_per_request', 0.57, 0.52, 0.63),
      'iocp used 43% less server CPU per request than blocking (95% interval: 37% to 48% less)',
    ],
    [
      subject('server_cpu_us_per_request', 1.124, 1.08, 1.161),
      'iocp used 12% more server CPU per request than blocking (95% interval: 8% to 16% more)',
    ],
    [
      subject('throughput', 3.83, 3.46, 4.24, 'at_least'),
      'iocp answered at least 3.8 times as many requests per second as blocking (95% interval: 3.5 to 4.2 times)',
    ],
    [
      subject('throughput', 0.75, 0.7, 0.8),
      'iocp answered 25% fewer requests per second than blocking (95% interval: 20% to 30% fewer)',
    ],
    [
      subject('throughput', 0.75, 0.7, 0.8, 'at_least'),
      'iocp answered at least 0.75x the requests per second of blocking (95% interval: 20% to 30% fewer)',
    ],
    [
      subject('response_time_p99', 0.029, 0.0035, 0.25),
      'iocp had a 97% lower response time p99 than blocking (95% interval: 75% to 99.7% lower)',
    ],
    [
      subject('response_time_p99', 0.0002, 0.0001, 0.0005),
      'iocp had a more than 99.9% lower response time p99 than blocking (95% interval: more than 99.9% lower)',
    ],
    [
      subject('response_time_p99', 0.14, 0.1, 0.2),
      'iocp had an 86% lower response time p99 than blocking (95% interval: 80% to 90% lower)',
    ],
    [
      subject('response_time_p99', 0.92, 0.9, 0.95, 'at_most'),
      'iocp had an at least 8% lower response time p99 than blocking (95% interval: 5% to 10% lower)',
    ],
    [
      subject('client_system_calls_per_request', 1.25, 1.2, 1.3),
      'iocp had 25% higher client system calls per request than blocking (95% interval: 20% to 30% higher)',
    ],
    [
      subject('response_time_p99', 12.4, 1.9, 80),
      'iocp had 12 times the response time p99 of blocking (95% interval: 1.9 to 80 times)',
    ],
    [
      subject('throughput', 1.88, 1.77, 2.0),
      'iocp answered 88% more requests per second than blocking (95% interval: 77% to 100% more)',
    ],
    [
      subject('response_time_p50', 1.03, 0.95, 1.11),
      'iocp had a 3% higher response time p50 than blocking (95% interval: 0.95x to 1.11x)',
    ],
    [
      subject('server_cpu_us_per_request', 0.57, 0.52, 0.63, 'at_most'),
      'iocp used at least 43% less server CPU per request than blocking (95% interval: 37% to 48% less)',
    ],
  ];
  for (const [of, sentence] of cases) test.equal(ratioSentence(of), sentence);
  test.end();
});

t.test('no difference', (test) => {
  test.equal(
    noDifferenceSentence(subject('response_time_p99', 1.04, 0.9, 1.2)),
    'no difference shown in response time p99 between iocp and blocking (95% interval: 0.90x to 1.20x)',
  );
  test.end();
});

t.test('a change between two reports', (test) => {
  const cases: [subject: RatioInWords, sentence: string][] = [
    [subject('throughput', 0.88, 0.86, 0.9), 'iocp: throughput fell by 12% (95% interval: 10% to 14%)'],
    [
      subject('throughput', 2.4, 2.2, 2.6),
      'iocp: throughput rose to 2.4 times what it was (95% interval: 2.2 to 2.6 times)',
    ],
    [
      subject('throughput', 1.12, 1.1, 1.14, 'at_least'),
      'iocp: throughput rose by at least 12% (95% interval: 10% to 14%)',
    ],
    [subject('throughput', 1.01, 0.9, 1.13), 'iocp: 1.01x the throughput (95% interval: 0.90x to 1.13x)'],
  ];
  for (const [of, sentence] of cases) test.equal(changeSentence(of), sentence);
  test.end();
});
