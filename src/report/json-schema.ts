/**
 * The JSON Schema of the report, made from the zod schema. As a script (`npm run schema`, which runs `node
 * dist/src/report/json-schema.js FILE`) it writes fixtures/report.schema.json; a test checks that the file there is current.
 */
import { writeFileSync } from 'node:fs';
import { argv } from 'node:process';
import { pathToFileURL } from 'node:url';
import { z } from 'zod';
import { reportSchema, schemaVersion } from '../model/report-schema.js';

export function reportJsonSchema(): string {
  // 'input': what a reader may meet, so fields that a newer minor version adds are not refused.
  const schema = z.toJSONSchema(reportSchema, { io: 'input', target: 'draft-2020-12', reused: 'ref' });
  const titled = {
    title: `Report of iocp-bench, schema version ${schemaVersion}`,
    description: 'What is not known is null, never 0. Names end in their unit.',
  };
  return `${JSON.stringify({ ...titled, ...schema }, null, 2)}\n`;
}

if (argv[1] !== undefined && import.meta.url === pathToFileURL(argv[1]).href) {
  writeFileSync(argv[2] ?? 'fixtures/report.schema.json', reportJsonSchema());
}
