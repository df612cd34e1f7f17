#!/usr/bin/env node
// Generates the files that repeat the C ABI from its one description, native/include/iocp_bench.h:
//
//   native/src/abi_layout.generated.h   the rows of ib_layout()
//   src/model/abi.generated.ts          structs, enums, constants and function prototypes as data
//
// The header must keep to a form that this script reads: every field on a line of its own; types uint32_t, int32_t, uint64_t, double,
// char[n] or a struct declared before; IB_OPTIONAL before a field that may be IB_UNKNOWN; enum values as numbers or shifts; array
// lengths as numbers or constants. Otherwise the script fails and names the line. A comment "---- name ----" inside a struct starts a
// group of fields.
//
//   node native/abi/generate.mjs                     writes the files
//   node native/abi/generate.mjs --check [HEADER]    exits with 1 if a file does not match HEADER (default: ours)
import { readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = resolve(import.meta.dirname ?? fileURLToPath(new URL('.', import.meta.url)), '..', '..');
const HEADER = join(ROOT, 'native', 'include', 'iocp_bench.h');

const SCALARS = { uint32_t: 'u32', int32_t: 'i32', uint64_t: 'u64', double: 'f64' };

/**
 * @typedef {{name: string, type: string}} Field
 * @typedef {{name: string, fields: Field[], groups: Record<string, string[]>}} Struct
 * @typedef {{name: string, values: [string, number][]}} Enum
 * @typedef {{structs: Struct[], enums: Enum[], constants: [string, string][], prototypes: [string, string[]][]}} Abi
 */

/**
 * @param {string} header
 * @returns {Abi}
 */
function parseHeader(header) {
  const constants = parseConstants(header);
  const known = new Map(constants.map(([name, value]) => [name, Number(value.replace(/[_n]/g, ''))]));
  const groupMarks = header.replace(/\/\* -{4} (\w+) -{4} \*\//g, '@group $1;');
  const code = groupMarks.replace(/\/\*[\s\S]*?\*\//g, '');
  const structs = [...code.matchAll(/^struct (\w+) \{\n([\s\S]*?)^\};/gm)].map(([, name, body]) =>
    parseStruct(name, body, known),
  );
  const enums = [...code.matchAll(/^enum (\w+) \{\n([\s\S]*?)^\};/gm)].map(([, name, body]) => parseEnum(name, body));
  const prototypes = [...code.matchAll(/^IB_API ([\w ]+?\*?)(\w+)\(([^)]*)\);/gm)].map(([, result, name, parameters]) =>
    parsePrototype(result.trim(), name, parameters),
  );
  return { structs, enums, constants, prototypes };
}

/**
 * Only numbers count: a name without a value (a guard, an attribute) is not a constant.
 * @returns {[string, string][]}
 */
function parseConstants(header) {
  const found = [...header.matchAll(/^#define (IB_\w+) (?:(\d+)(u|ull)?|(UINT64_MAX)|(UINT32_MAX))$/gm)];
  return found.map(([, name, number, suffix, max64, max32]) => {
    if (max64 !== undefined) return [name, '0xffff_ffff_ffff_ffffn'];
    if (max32 !== undefined) return [name, '0xffff_ffff'];
    return [name, suffix === 'ull' ? `${grouped(number)}n` : grouped(number)];
  });
}

function grouped(digits) {
  return digits.replace(/\B(?=(\d{3})+$)/g, '_');
}

/** @returns {Struct} */
function parseStruct(name, body, constants) {
  const fields = [];
  /** @type {Record<string, string[]>} */
  const groups = {};
  /** @type {string | null} */
  let group = null;
  for (const statement of body.split(';').map((text) => text.replace(/\s+/g, ' ').trim())) {
    if (statement === '') continue;
    const mark = /^@group (\w+)$/.exec(statement);
    if (mark !== null) {
      group = mark[1];
      groups[group] = [];
      continue;
    }
    const field = parseField(name, statement, constants);
    fields.push(field);
    if (group !== null && /^[ui]\d+\??$/.test(field.type)) groups[group].push(field.name);
  }
  return { name, fields, groups };
}

function parseField(struct, statement, constants) {
  const [, optional, type, field, length] =
    /^(IB_OPTIONAL )?(\w+|struct \w+) (\w+)(?:\[(\w+)\])?$/.exec(statement) ?? [];
  if (field === undefined) throw new Error(`struct ${struct}: cannot read the field "${statement}"`);
  const count = length === undefined ? null : (constants.get(length) ?? Number(length));
  if (count !== null && !Number.isInteger(count)) throw new Error(`struct ${struct}: ${length} is not a known length`);
  const array = count === null ? '' : `[${count}]`;
  const element = type === 'char' || type.startsWith('struct ') ? type : SCALARS[type];
  if (element === undefined) throw new Error(`struct ${struct}: ${type} is not a type of the ABI`);
  return { name: field, type: `${element}${array}${optional === undefined ? '' : '?'}` };
}

/** @returns {Enum} */
function parseEnum(name, body) {
  const values = body
    .split(',')
    .map((text) => text.trim())
    .filter((text) => text !== '');
  return {
    name,
    values: values.map((text) => {
      const [, entry, number, shift] = /^(\w+) = (\d+)u?(?: << (\d+))?$/.exec(text) ?? [];
      if (entry === undefined) throw new Error(`enum ${name}: cannot read "${text}"`);
      return [entry, shift === undefined ? Number(number) : Number(number) << Number(shift)];
    }),
  };
}

/**
 * In the form that koffi takes: numbers by value, every pointer as 'void *', text as 'const char *'.
 * @returns {[string, string[]]}
 */
function parsePrototype(result, name, parameters) {
  const types = parameters
    .replace(/\s+/g, ' ')
    .split(',')
    .map((text) => text.trim());
  return [
    name,
    [ffiType(result), ...(types[0] === 'void' ? [] : types.map((text) => ffiType(text.replace(/\w+$/, '').trim())))],
  ];
}

function ffiType(type) {
  if (type === 'const char *') return type;
  return type.includes('*') ? 'void *' : type;
}

/** enum ib_error_class, IB_ERROR_REFUSED_BY_SERVER -> refused_by_server: drops the common prefix of the names. */
function shortNames({ values }) {
  const entries = values.filter(([name]) => !name.endsWith('_COUNT'));
  const names = entries.map(([name]) => name);
  let shared = 0;
  while (names.every((name) => name[shared] === names[0][shared])) shared += 1;
  const start = names[0].lastIndexOf('_', shared - 1) + 1;
  return entries.map(([name, value]) => [name.slice(start).toLowerCase(), value]);
}

const NOTICE =
  'Generated by native/abi/generate.mjs from native/include/iocp_bench.h: edit that header, then run `npm run abi`.';

function layoutHeader({ structs }) {
  const rows = structs.flatMap(({ name, fields }) => [
    `\tSTRUCT(${name}) \\`,
    ...fields.map((field) => `\tFIELD(${name}, ${field.name}) \\`),
  ]);
  return [
    `/* ${NOTICE} */`,
    '/* clang-format off */',
    '#define ABI_LAYOUT(STRUCT, FIELD) \\',
    // No backslash after the last row: otherwise the closing clang-format comment would be part of the macro.
    ...rows.map((row, index) => (index === rows.length - 1 ? row.replace(/ \\$/, '') : row)),
    '/* clang-format on */',
    '',
  ].join('\n');
}

function typeScript({ structs, enums, constants, prototypes }) {
  const quoted = (text) => `'${text}'`;
  const lines = [`/** ${NOTICE} */`, ''];
  const camel = (name) =>
    name
      .replace(/^IB_/, '')
      .toLowerCase()
      .replace(/_(\w)/g, (_, letter) => letter.toUpperCase());
  for (const [name, value] of constants) lines.push(`/** ${name} */`, `export const ${camel(name)} = ${value};`);
  lines.push('');
  for (const entry of enums) {
    lines.push(`/** enum ${entry.name} */`, `export const ${camel(entry.name.replace(/^ib_/, ''))}Values = {`);
    lines.push(...shortNames(entry).map(([name, value]) => `  ${name}: ${value},`), '} as const;', '');
  }
  lines.push(
    '/** Struct -> fields in order. `?`: the figure may be unknown (IB_UNKNOWN, IB_UNKNOWN_32). */',
    'export const structs = {',
  );
  for (const { name, fields } of structs) {
    lines.push(`  ${name}: {`, ...fields.map((field) => `    ${field.name}: ${quoted(field.type)},`), '  },');
  }
  lines.push(
    '} as const;',
    '',
    '/** The named groups of integer fields in a struct. */',
    'export const fieldGroups = {',
  );
  for (const { name, groups } of structs.filter((struct) => Object.keys(struct.groups).length > 0)) {
    lines.push(`  ${name}: {`);
    for (const [group, names] of Object.entries(groups)) {
      lines.push(`    ${group}: [`, ...names.map((field) => `      ${quoted(field)},`), '    ],');
    }
    lines.push('  },');
  }
  lines.push(
    '} as const;',
    '',
    '/** Function -> result, then parameters, as the foreign function interface takes them. */',
    'export const prototypes = {',
  );
  lines.push(...prototypes.map(([name, types]) => `  ${name}: [${types.map(quoted).join(', ')}],`), '} as const;', '');
  return lines.join('\n');
}

const [header = HEADER] = process.argv.slice(2).filter((argument) => argument !== '--check');
const abi = parseHeader(readFileSync(header, 'utf8'));
const files = {
  'native/src/abi_layout.generated.h': layoutHeader(abi),
  'src/model/abi.generated.ts': typeScript(abi),
};
const check = process.argv.includes('--check');
let stale = 0;
for (const [path, text] of Object.entries(files)) {
  const file = join(ROOT, path);
  if (!check) {
    writeFileSync(file, text);
    continue;
  }
  let current = '';
  try {
    current = readFileSync(file, 'utf8');
  } catch {
    // A missing file counts as stale.
  }
  if (current === text) continue;
  stale += 1;
  process.stderr.write(`${path} does not match native/include/iocp_bench.h: run \`npm run abi\`\n`);
}
process.exitCode = stale === 0 ? 0 : 1;
