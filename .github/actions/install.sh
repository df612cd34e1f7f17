#!/usr/bin/env bash
# Installs and builds iocp-bench in the folder of the action. Needs Node 20, CMake and a C compiler, which GitHub's Linux runners have.
set -euo pipefail
cd "$GITHUB_ACTION_PATH"
[[ -d node_modules ]] || npm ci --no-audit --no-fund
npm run -s build
