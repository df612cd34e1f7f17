/** The table of the ABI: its layout matches the loaded library's, and values cross it unchanged. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { BenchError } from '../../../src/model/errors.js';
import {
  checkLayout,
  decodeFigures,
  decodeStruct,
  decodeText,
  describeLayout,
  encodeStruct,
  fieldOffset,
  newStruct,
  structSize,
} from '../../../src/native/abi.js';
import { root } from '../../support/environment.js';
import { unknown, unknown32 } from '../../../src/model/abi.generated.js';

t.test('the generated files match the header', async (test) => {
  const header = readFileSync(join(root, 'native', 'include', 'iocp_bench.h'), 'utf8');
  const check = (text: string): { status: number | null; stderr: string } => {
    const path = join(test.testdir({ 'changed.h': text }), 'changed.h');
    return spawnSync(process.execPath, [join(root, 'native', 'abi', 'generate.mjs'), '--check', path], {
      encoding: 'utf8',
    });
  };
  test.match(check(header), { status: 0, stderr: '' });
  const added = check(header.replace(/^(\tuint64_t bytes_received;)$/m, '$1\n\tuint64_t brand_new;'));
  test.equal(added.status, 1, 'an added field makes them out of date');
  test.match(added.stderr, /abi\.generated\.ts does not match .*: run `npm run abi`/);
  test.match(added.stderr, /abi_layout\.generated\.h/);
  const unreadable = check(header.replace(/^(\tuint64_t bytes_received;)$/m, '$1\n\tlong pointers;'));
  test.equal(unreadable.status, 1);
  test.match(unreadable.stderr, /struct ib_server_stats: long is not a type of the ABI/);
});

t.test('layout by the rules of C', async (test) => {
  // Calculated by hand from the header, not by the code under test.
  test.equal(structSize('ib_error'), 4 + 4 + 256 + 256);
  test.equal(fieldOffset('ib_server_options', 'stack_size_bytes'), 8 + 24 + 64 + 6 * 4);
  test.equal(structSize('ib_server_options'), 120 + 24 + 16 + 8);
  test.equal(structSize('ib_timeline_bucket'), 32);
  test.equal(structSize('ib_histogram'), 32 + 8 * 33_792);
  test.equal(fieldOffset('ib_control', 'rate_per_second'), 64);
  test.equal(structSize('ib_error_sample'), 4 + 4 + 8 + 8 + 4 * 4 + 168 + 64 + 64);
  test.equal(structSize('ib_engine_result'), 8 + 16 + 256 + 8);
  test.throws(() => fieldOffset('ib_control', 'no_such_field'), /no field no_such_field/);
});

t.test('every field that is accessed atomically is aligned', async (test) => {
  for (const line of describeLayout()) {
    const [struct = '', field = '', offset = '', size = ''] = line.split(' ');
    if (size === '8' && field !== '.') test.equal(Number(offset) % 8, 0, `${struct}.${field}`);
    if (size === '4') test.equal(Number(offset) % 4, 0, `${struct}.${field}`);
  }
});

t.test('a difference is found, and named', async (test) => {
  const ours = describeLayout();
  test.doesNotThrow(() => {
    checkLayout(`${ours.join('\n')}\n`, 'lib.so');
  });
  const refuses = (lines: readonly string[], told: RegExp): void => {
    try {
      checkLayout(lines.join('\n'), 'lib.so');
      test.fail(`took a layout without ${told.source}`);
    } catch (error) {
      if (!(error instanceof BenchError)) throw error;
      test.equal(error.code, 'fault');
      test.match(error.message, told);
      test.match(error.hint, /npm run build/);
    }
  };
  const changed = (from: RegExp, to: string): string[] => ours.map((line) => line.replace(from, to));
  refuses(changed(/^ib_control stop \d+/, 'ib_control stop 4'), /ib_control\.stop is laid out differently in lib\.so/);
  refuses(changed(/^(ib_limits \. 0) \d+/, '$1 8'), /struct ib_limits/);
  refuses([...ours, 'ib_limits brand_new 900 8'], /ib_limits\.brand_new/);
  refuses(
    ours.filter((line) => !line.startsWith('ib_probe ')),
    /ib_probe/,
  );
});

t.test('values cross unchanged', async (test) => {
  const bytes = encodeStruct('ib_server_options', {
    backend: 'epoll',
    host: '::1',
    port: 65_535,
    address_count: 1,
    workers: 2,
    backlog: 4_096,
    receive_buffer_bytes: 16_384,
    flags: 3,
    stack_size_bytes: 2 ** 40,
    pool_threads: 0,
    connections_expected: 1_000_000n,
    message_size_bytes: 64,
    work_ns: 1_000,
    wait_ns: 2n ** 33n,
    protocol: 1,
    body_size_bytes: 13,
  });
  const back = decodeStruct('ib_server_options', bytes);
  test.match(back, {
    size: structSize('ib_server_options'),
    abi_version: 1,
    backend: 'epoll',
    host: '::1',
    port: 65_535,
  });
  test.equal(back.stack_size_bytes, 2n ** 40n);
  test.equal(back.connections_expected, 1_000_000n);
  test.same(newStruct('ib_error'), new Uint8Array(520), 'a struct without a header is zeros');
});

t.test('null is unknown, and what does not fit is refused', async (test) => {
  const base = decodeStruct('ib_engine_options', newStruct('ib_engine_options'));
  const encode = (changes: Partial<typeof base> | { cpu: null; timeout_ns: number | null }): typeof base =>
    decodeStruct('ib_engine_options', encodeStruct('ib_engine_options', { ...base, ...changes }));
  const unknowns = encode({ cpu: null, timeout_ns: null });
  test.equal(unknowns.cpu, unknown32);
  test.equal(unknowns.timeout_ns, unknown);
  test.equal(encode({ cpu: null, timeout_ns: 1e9 + 0.4 }).timeout_ns, 1_000_000_000n, 'whole nanoseconds');
  test.equal(encode({ connect_rate_per_second: 0.25 }).connect_rate_per_second, 0.25);
  test.throws(() => encode({ port: -1 }), RangeError);
  test.throws(() => encode({ port: 2 ** 32 }), RangeError);
  test.throws(() => encode({ engine: 'a name of 17 chars' }), BenchError, 'text is never cut');
});

t.test('figures are numbers, or null if the system does not provide them', async (test) => {
  const bytes = newStruct('ib_server_stats');
  const view = new DataView(bytes.buffer);
  const set64 = (field: string, value: bigint): void => {
    view.setBigUint64(fieldOffset('ib_server_stats', field), value, true);
  };
  set64('accepted', 7n);
  set64('operations_posted', unknown);
  view.setUint32(fieldOffset('ib_server_stats', 'workers'), unknown32, true);
  view.setUint32(fieldOffset('ib_server_stats', 'threads'), 3, true);
  const figures = decodeFigures('ib_server_stats', bytes);
  test.match(figures, { accepted: 7, operations_posted: null, refused: 0, workers: null, threads: 3, features: '' });
  test.notOk(
    'size' in figures || 'abi_version' in figures || 'reserved' in figures,
    'the header of the struct is left out',
  );
});

t.test('text', async (test) => {
  test.equal(decodeText(Uint8Array.from([104, 105, 0, 120])), 'hi', 'up to the first NUL');
  test.equal(decodeText(Uint8Array.from([104, 105])), 'hi', 'or to the end');
  const shared = new Uint8Array(new SharedArrayBuffer(4));
  shared.set([0xc2, 0xb5, 115, 0]);
  test.equal(decodeText(shared), 'µs', 'UTF-8, from shared memory as well');
});
