#!/usr/bin/env node
import { existsSync } from 'node:fs';

// In a clone that was never built a plain import would end in a stack trace.
if (existsSync(new URL('../dist/src/cli.js', import.meta.url))) {
  await import('../dist/src/cli.js');
} else {
  process.stderr.write('iocp-bench: this clone has not been built yet\n  npm run build\n');
  process.exitCode = 3;
}
