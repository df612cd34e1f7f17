/**
 * The layout of the C ABI. Offsets and sizes are computed from the generated table of structs by the rules of the x86-64 ABIs
 * (System V and Windows agree on these types). When the library is loaded, they are compared with its own, field by field. Structs
 * cross the boundary as bytes. The same offsets are used to read the control block that conductor and engines share.
 */
import { BenchError } from '../model/errors.js';
import { abiVersion, structs, unknown, unknown32 } from '../model/abi.generated.js';
import { figureFields, type Figures, type StructName } from '../model/figures.js';

type Scalar = 'u32' | 'i32' | 'u64' | 'f64';
type Optional = 'u32?' | 'u64?';
type FieldType =
  Scalar | Optional | `char[${number}]` | `u64[${number}]` | `struct ${string}` | `struct ${string}[${number}]`;
type StructTable = Readonly<Record<string, Readonly<Record<string, FieldType>>>>;

type FieldName<Name extends StructName> = keyof (typeof structs)[Name] & string;

type ValueOf<Type> = Type extends 'u32' | 'u32?' | 'i32' | 'f64'
  ? number
  : Type extends 'u64' | 'u64?'
    ? bigint
    : Type extends `char[${number}]`
      ? string
      : never;

/** Fields that hold a single value; arrays and inner structs are read by their offset. */
type PlainField<Name extends StructName> = {
  [Field in FieldName<Name>]: ValueOf<(typeof structs)[Name][Field]> extends never ? never : Field;
}[FieldName<Name>];

/** A struct as JavaScript sees it. */
export type StructValue<Name extends StructName> = {
  [Field in PlainField<Name>]: ValueOf<(typeof structs)[Name][Field]>;
};

type InputOf<Value> = Value extends bigint ? bigint | number | null : Value extends number ? number | null : Value;

/** A struct as the caller passes it: any number for an integer field, null for "unknown" or "none chosen". */
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
  const [, element = '', length = '1'] = /^(.*?)(?:\[(\d+)\])?\??$/.exec(type) ?? [];
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

/** offsetof(struct name, field) in bytes; throws if the struct has no such field. */
export function fieldOffset(name: StructName, field: string): number {
  return fieldLayout(name, field).offset;
}

function fieldLayout(name: StructName, field: string): FieldLayout {
  const layout = layoutOf(name).fields.get(field);
  if (layout === undefined) throw new Error(`struct ${name} has no field ${field}`);
  return layout;
}

/** Zeroed bytes of a struct, with size and abi_version filled in if it has them. */
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

/** Bytes of a struct with these fields, size and abi_version set. Text that does not fit its array is refused, never cut. */
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

function encodeNumber(view: DataView, { offset, type: declared }: FieldLayout, value: number | bigint | null): void {
  const type = declared.replace('?', '');
  if (type === 'f64') {
    view.setFloat64(offset, Number(value), true);
    return;
  }
  // The ABI takes whole nanoseconds and bytes; a duration in milliseconds times 1e6 may not be whole.
  const whole = value === null ? null : BigInt(typeof value === 'number' ? Math.round(value) : value);
  const highest = type === 'u64' ? unknown : type === 'i32' ? 0x7fff_ffffn : BigInt(unknown32);
  if (whole !== null && (whole < (type === 'i32' ? -0x8000_0000n : 0n) || whole > highest)) {
    throw new RangeError(`${whole} does not fit the field`);
  }
  if (type === 'u64') view.setBigUint64(offset, whole ?? unknown, true);
  else if (type === 'i32') view.setInt32(offset, Number(whole ?? 0n), true);
  else view.setUint32(offset, Number(whole ?? BigInt(unknown32)), true);
}

/** The plain fields of a struct; arrays of numbers and inner structs are left out. */
export function decodeStruct<Name extends StructName>(name: Name, bytes: Uint8Array): StructValue<Name> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const values: Record<string, number | bigint | string> = {};
  for (const [field, { offset, size, type: declared }] of layoutOf(name).fields) {
    const type = declared.replace('?', '');
    if (type === 'u64') values[field] = view.getBigUint64(offset, true);
    else if (type === 'f64') values[field] = view.getFloat64(offset, true);
    else if (type === 'i32') values[field] = view.getInt32(offset, true);
    else if (type === 'u32') values[field] = view.getUint32(offset, true);
    else if (type.startsWith('char')) values[field] = decodeText(bytes.subarray(offset, offset + size));
  }
  return values as StructValue<Name>;
}

/** The figures of a struct, 64-bit ones as numbers. Where the header allows it, unknown ones and those too large to be exact are null. */
export function decodeFigures<Name extends StructName>(name: Name, bytes: Uint8Array): Figures<Name> {
  const raw: Record<string, number | bigint | string> = decodeStruct(name, bytes);
  const figures = figureFields(name).map(([field, type]) => {
    const value = raw[field] ?? 0;
    if (typeof value !== 'bigint') return [field, type === 'u32?' && value === unknown32 ? null : value];
    return [field, type === 'u64?' && value > BigInt(Number.MAX_SAFE_INTEGER) ? null : Number(value)];
  });
  return Object.fromEntries(figures) as Figures<Name>;
}

/** UTF-8 up to the first NUL. Copies the bytes, because TextDecoder does not accept shared memory. */
export function decodeText(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return new TextDecoder().decode(bytes.slice(0, end === -1 ? bytes.length : end));
}

/** The table in the format of ib_layout(): "struct . 0 size" per struct and "struct field offset size" per field. */
export function describeLayout(): string[] {
  return Object.keys(structs).flatMap((name) => {
    const layout = layoutOf(name);
    const fields = [...layout.fields].map(([field, { offset, size }]) => `${name} ${field} ${offset} ${size}`);
    return [`${name} . 0 ${layout.size}`, ...fields];
  });
}

/**
 * Compares the library's layout with ours.
 * @param text the result of ib_layout()
 * @param path of the library, for the message
 * @throws BenchError 'fault' that names the first difference, because figures read at wrong offsets would be wrong
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
