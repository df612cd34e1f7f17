/**
 * The layout of the C ABI: one table of struct -> fields that mirrors native/include/iocp_bench.h. Offsets and sizes follow from it by
 * the rules of the x86-64 ABIs (System V and Windows agree on these types), and are compared with the library's own, field by field,
 * when it is loaded. Structs cross the boundary as bytes; nothing is copied or converted behind our back, and the same offsets read
 * the control block that conductor and engines share.
 */
import { BenchError } from '../errors.js';

export const abiVersion = 1;
/** IB_UNKNOWN and IB_UNKNOWN_32: "the system does not give this figure". */
export const unknown64 = 0xffff_ffff_ffff_ffffn;
export const unknown32 = 0xffff_ffff;
/** IB_CONTROL_HEADER_BYTES: where the first engine's block begins. */
export const controlHeaderBytes = 4096;
/** IB_HISTOGRAM_COUNTS. */
export const histogramCounts = 33_792;

type Scalar = 'u32' | 'i32' | 'u64' | 'f64';
type FieldType = Scalar | `char[${number}]` | `u64[${number}]` | `struct ${string}` | `struct ${string}[${number}]`;
type StructTable = Readonly<Record<string, Readonly<Record<string, FieldType>>>>;

const structs = {
  ib_error: {
    code: 'i32',
    os_code: 'i32',
    message: 'char[256]',
    hint: 'char[256]',
  },
  ib_probe: {
    size: 'u32',
    abi_version: 'u32',
    available: 'u32',
    os_code: 'i32',
    name: 'char[16]',
    reason: 'char[256]',
    hint: 'char[256]',
    features: 'char[256]',
  },
  ib_server_options: {
    size: 'u32',
    abi_version: 'u32',
    backend: 'char[16]',
    host: 'char[64]',
    port: 'u32',
    address_count: 'u32',
    workers: 'u32',
    backlog: 'u32',
    receive_buffer_bytes: 'u32',
    flags: 'u32',
    stack_size_bytes: 'u64',
    connections_expected: 'u64',
  },
  ib_server_stats: {
    size: 'u32',
    abi_version: 'u32',
    accepted: 'u64',
    closed: 'u64',
    refused: 'u64',
    requests: 'u64',
    bytes_received: 'u64',
    bytes_sent: 'u64',
    errors_reset: 'u64',
    errors_aborted: 'u64',
    errors_descriptors: 'u64',
    errors_memory: 'u64',
    errors_threads: 'u64',
    errors_other: 'u64',
    operations_posted: 'u64',
    operations_completed: 'u64',
    receives_paused: 'u64',
    worker_connections_min: 'u64',
    worker_connections_max: 'u64',
    workers: 'u32',
    threads: 'u32',
    threads_max: 'u32',
    backlog: 'u32',
    last_os_code: 'i32',
    reserved: 'u32',
    features: 'char[256]',
  },
  ib_process_usage: {
    size: 'u32',
    abi_version: 'u32',
    taken_at_ns: 'u64',
    cpu_user_ns: 'u64',
    cpu_system_ns: 'u64',
    cpu_total_ns: 'u64',
    voluntary_switches: 'u64',
    involuntary_switches: 'u64',
    resident_bytes: 'u64',
    resident_peak_bytes: 'u64',
    page_table_bytes: 'u64',
    nonpaged_pool_bytes: 'u64',
    threads: 'u64',
    descriptors: 'u64',
  },
  ib_system_sample: {
    size: 'u32',
    abi_version: 'u32',
    taken_at_ns: 'u64',
    cpu_busy_ns: 'u64',
    cpu_idle_ns: 'u64',
    cpu_steal_ns: 'u64',
    cpu_network_threads_ns: 'u64',
    tcp_memory_bytes: 'u64',
    tcp_sockets: 'u64',
    time_wait_sockets: 'u64',
    slab_bytes: 'u64',
    kernel_stack_bytes: 'u64',
    page_table_bytes: 'u64',
    memory_available_bytes: 'u64',
    listen_overflows: 'u64',
    listen_drops: 'u64',
    tcp_retransmits: 'u64',
    throttled_ns: 'u64',
  },
  ib_limits: {
    size: 'u32',
    abi_version: 'u32',
    descriptors_soft: 'u64',
    descriptors_hard: 'u64',
    descriptors_open: 'u64',
    descriptors_per_process_max: 'u64',
    files_system_max: 'u64',
    files_system_open: 'u64',
    threads_system_max: 'u64',
    pid_max: 'u64',
    processes_user_max: 'u64',
    cgroup_pids_max: 'u64',
    map_count_max: 'u64',
    port_first: 'u64',
    port_last: 'u64',
    listen_backlog_max: 'u64',
    tcp_memory_max_bytes: 'u64',
    memory_total_bytes: 'u64',
    memory_available_bytes: 'u64',
    memory_locked_max_bytes: 'u64',
    cpus_online: 'u32',
    clock_resolution_ns: 'u32',
    clock_source: 'char[32]',
    system: 'char[128]',
    compatibility: 'char[64]',
  },
  ib_histogram: {
    count: 'u64',
    min_ns: 'u64',
    max_ns: 'u64',
    sum_ns: 'u64',
    counts: 'u64[33792]',
  },
  ib_control: {
    size: 'u32',
    abi_version: 'u32',
    engine_count: 'u32',
    timeline_capacity: 'u32',
    engine_stride_bytes: 'u64',
    timeline_bucket_ns: 'u64',
    stop: 'u32',
    sequence: 'u32',
    phase: 'u32',
    reserved: 'u32',
    window_start_ns: 'u64',
    window_end_ns: 'u64',
    rate_per_second: 'f64',
    connections_total: 'u64',
  },
  ib_error_sample: {
    error_class: 'u32',
    os_code: 'i32',
    connection: 'u64',
    at_ns: 'u64',
    message: 'char[168]',
  },
  ib_timeline_bucket: {
    requests: 'u64',
    errors: 'u64',
    service_max_ns: 'u64',
    response_max_ns: 'u64',
  },
  ib_engine_block: {
    size: 'u32',
    sequence_done: 'u32',
    running: 'u32',
    phase: 'u32',
    connections_started: 'u64',
    connections_made: 'u64',
    connections_failed: 'u64',
    connections_lost: 'u64',
    connections_live: 'u64',
    connections_active: 'u64',
    connections_echoed: 'u64',
    connect_first_ns: 'u64',
    connect_last_ns: 'u64',
    requests_completed: 'u64',
    requests_outstanding: 'u64',
    bytes_sent: 'u64',
    bytes_received: 'u64',
    data_errors: 'u64',
    errors: 'u64[16]',
    error_samples_count: 'u64',
    samples: 'struct ib_error_sample[8]',
    window_start_ns: 'u64',
    window_end_ns: 'u64',
    window_requests: 'u64',
    window_errors: 'u64',
    window_offered: 'u64',
    window_unsent: 'u64',
    window_completions: 'u64',
    window_bytes: 'u64',
    window_sent_late: 'u64',
    wait_ns: 'u64',
    wall_ns: 'u64',
    cpu_user_ns: 'u64',
    cpu_system_ns: 'u64',
    run_delay_ns: 'u64',
    voluntary_switches: 'u64',
    involuntary_switches: 'u64',
    waits: 'u64',
    events: 'u64',
    reconnects: 'u64',
    fairness_connections: 'u64',
    fairness_min: 'u64',
    fairness_max: 'u64',
    fairness_starved: 'u64',
    fairness_slowest: 'u64',
    fairness_sum: 'f64',
    fairness_sum_squares: 'f64',
    service: 'struct ib_histogram',
    response: 'struct ib_histogram',
    send_lag: 'struct ib_histogram',
    connect: 'struct ib_histogram',
    first_echo: 'struct ib_histogram',
  },
  ib_engine_options: {
    size: 'u32',
    abi_version: 'u32',
    engine: 'char[16]',
    host: 'char[64]',
    port: 'u32',
    address_count: 'u32',
    engine_index: 'u32',
    engine_count: 'u32',
    connections: 'u64',
    connections_active: 'u64',
    seed: 'u64',
    message_size_bytes: 'u32',
    pipeline: 'u32',
    timeout_ns: 'u64',
    think_time_ns: 'u64',
    requests_per_connection: 'u64',
    connect_window: 'u32',
    close_mode: 'u32',
    connect_rate_per_second: 'f64',
    spin_ns: 'u64',
    source_address_first: 'u32',
    source_address_count: 'u32',
    source_port_first: 'u32',
    source_port_count: 'u32',
    cpu: 'u32',
    descriptors: 'u32',
  },
  ib_engine_result: {
    size: 'u32',
    abi_version: 'u32',
    engine: 'char[16]',
    features: 'char[256]',
    memory_bytes: 'u64',
  },
} as const satisfies StructTable;

export type StructName = keyof typeof structs;
type FieldName<Name extends StructName> = keyof (typeof structs)[Name] & string;

type ValueOf<Type> = Type extends 'u32' | 'i32' | 'f64'
  ? number
  : Type extends 'u64'
    ? bigint
    : Type extends `char[${number}]`
      ? string
      : never;

/** Fields that one value can stand for; arrays and inner structs are read by their offset. */
type PlainField<Name extends StructName> = {
  [Field in FieldName<Name>]: ValueOf<(typeof structs)[Name][Field]> extends never ? never : Field;
}[FieldName<Name>];

/** A struct as JavaScript sees it. */
export type StructValue<Name extends StructName> = {
  [Field in PlainField<Name>]: ValueOf<(typeof structs)[Name][Field]>;
};

type InputOf<Value> = Value extends bigint ? bigint | number | null : Value extends number ? number | null : Value;

/** A struct as it is handed in: any number for an integer field, null for "unknown" or "none chosen". */
export type StructInput<Name extends StructName> = {
  [Field in Exclude<PlainField<Name>, 'size' | 'abi_version'>]: InputOf<ValueOf<(typeof structs)[Name][Field]>>;
};

interface FieldLayout {
  readonly offset: number;
  readonly size: number;
  readonly type: FieldType;
}

interface StructLayout {
  readonly size: number;
  readonly alignment: number;
  readonly fields: ReadonlyMap<string, FieldLayout>;
}

const scalarSizes: Readonly<Record<Scalar, number>> = { u32: 4, i32: 4, u64: 8, f64: 8 };

const layouts = new Map<string, StructLayout>();

function isScalar(type: string): type is Scalar {
  return Object.hasOwn(scalarSizes, type);
}

function layoutOf(name: string): StructLayout {
  const known = layouts.get(name);
  if (known !== undefined) return known;
  if (!Object.hasOwn(structs, name)) throw new Error(`the ABI has no struct ${name}`);
  const table: StructTable = structs;
  const fields = new Map<string, FieldLayout>();
  let end = 0;
  let alignment = 1;
  for (const [field, type] of Object.entries(table[name] ?? {})) {
    const { size, alignment: fieldAlignment } = measure(type);
    const offset = alignUp(end, fieldAlignment);
    fields.set(field, { offset, size, type });
    end = offset + size;
    alignment = Math.max(alignment, fieldAlignment);
  }
  const layout = { size: alignUp(end, alignment), alignment, fields };
  layouts.set(name, layout);
  return layout;
}

function measure(type: FieldType): { size: number; alignment: number } {
  const [, element = '', length = '1'] = /^(.*?)(?:\[(\d+)\])?$/.exec(type) ?? [];
  if (element === 'char') return { size: Number(length), alignment: 1 };
  if (isScalar(element)) return { size: scalarSizes[element] * Number(length), alignment: scalarSizes[element] };
  const inner = layoutOf(element.replace(/^struct /, ''));
  return { size: inner.size * Number(length), alignment: inner.alignment };
}

function alignUp(offset: number, alignment: number): number {
  return Math.ceil(offset / alignment) * alignment;
}

/** sizeof(struct name) in bytes. */
export function structSize(name: StructName): number {
  return layoutOf(name).size;
}

/** offsetof(struct name, field) in bytes; throws where the struct has no such field. */
export function fieldOffset(name: StructName, field: string): number {
  return fieldLayout(name, field).offset;
}

function fieldLayout(name: StructName, field: string): FieldLayout {
  const layout = layoutOf(name).fields.get(field);
  if (layout === undefined) throw new Error(`struct ${name} has no field ${field}`);
  return layout;
}

/** Zeroed bytes of a struct, with size and abi_version filled in where it has them. */
export function newStruct(name: StructName): Uint8Array {
  const layout = layoutOf(name);
  const bytes = new Uint8Array(layout.size);
  const view = new DataView(bytes.buffer);
  const size = layout.fields.get('size');
  const version = layout.fields.get('abi_version');
  if (size !== undefined) view.setUint32(size.offset, layout.size, true);
  if (version !== undefined) view.setUint32(version.offset, abiVersion, true);
  return bytes;
}

/** Bytes of a struct with these fields set, and size and abi_version. A text that does not fit its array is refused, never cut. */
export function encodeStruct<Name extends StructName>(name: Name, values: StructInput<Name>): Uint8Array {
  const bytes = newStruct(name);
  const view = new DataView(bytes.buffer);
  for (const [field, value] of Object.entries<number | bigint | string | null>(values)) {
    const layout = fieldLayout(name, field);
    if (typeof value === 'string') encodeText(bytes.subarray(layout.offset, layout.offset + layout.size), value);
    else encodeNumber(view, layout, value);
  }
  return bytes;
}

function encodeText(out: Uint8Array, text: string): void {
  const bytes = new TextEncoder().encode(text);
  if (bytes.length >= out.length) throw new BenchError('usage', `"${text}" is longer than ${out.length - 1} bytes`);
  out.set(bytes);
}

function encodeNumber(view: DataView, { offset, type }: FieldLayout, value: number | bigint | null): void {
  if (type === 'f64') {
    view.setFloat64(offset, Number(value), true);
    return;
  }
  // Nanoseconds and bytes come in whole numbers; a duration in milliseconds times 1e6 need not be one.
  const whole = value === null ? null : BigInt(typeof value === 'number' ? Math.round(value) : value);
  const highest = type === 'u64' ? unknown64 : type === 'i32' ? 0x7fff_ffffn : BigInt(unknown32);
  if (whole !== null && (whole < (type === 'i32' ? -0x8000_0000n : 0n) || whole > highest)) {
    throw new RangeError(`${whole} does not fit the field`);
  }
  if (type === 'u64') view.setBigUint64(offset, whole ?? unknown64, true);
  else if (type === 'i32') view.setInt32(offset, Number(whole ?? 0n), true);
  else view.setUint32(offset, Number(whole ?? BigInt(unknown32)), true);
}

/** The plain fields of a struct; arrays of numbers and inner structs are left out. */
export function decodeStruct<Name extends StructName>(name: Name, bytes: Uint8Array): StructValue<Name> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const values: Record<string, number | bigint | string> = {};
  for (const [field, { offset, size, type }] of layoutOf(name).fields) {
    if (type === 'u64') values[field] = view.getBigUint64(offset, true);
    else if (type === 'f64') values[field] = view.getFloat64(offset, true);
    else if (type === 'i32') values[field] = view.getInt32(offset, true);
    else if (type === 'u32') values[field] = view.getUint32(offset, true);
    else if (type.startsWith('char')) values[field] = decodeText(bytes.subarray(offset, offset + size));
  }
  return values as StructValue<Name>;
}

/** UTF-8 up to the first NUL. The bytes may be shared memory, which TextDecoder does not take: they are copied. */
export function decodeText(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return new TextDecoder().decode(bytes.slice(0, end === -1 ? bytes.length : end));
}

/** The table in the form of ib_layout(): "struct . 0 size" per struct and "struct field offset size" per field. */
export function describeLayout(): string[] {
  return Object.keys(structs).flatMap((name) => {
    const layout = layoutOf(name);
    const fields = [...layout.fields].map(([field, { offset, size }]) => `${name} ${field} ${offset} ${size}`);
    return [`${name} . 0 ${layout.size}`, ...fields];
  });
}

/**
 * Compares the library's layout with ours.
 * @param text what ib_layout() returned
 * @param path of the library, for the message
 * @throws BenchError 'fault' that names the first difference: reading figures at wrong offsets would be a lie
 */
export function checkLayout(text: string, path: string): void {
  const theirs = new Set(text.split('\n').filter((line) => line !== ''));
  const ours = describeLayout();
  const missing = ours.find((line) => !theirs.has(line));
  const extra = missing ?? [...theirs].find((line) => !ours.includes(line));
  if (extra === undefined) return;
  const [struct = '', field = ''] = extra.split(' ');
  throw new BenchError(
    'fault',
    `the native library does not fit this version: ${field === '.' ? `struct ${struct}` : `${struct}.${field}`} is laid out differently in ${path}`,
    'build it again with `npm run build`, or unset IOCP_BENCH_LIBRARY',
  );
}
