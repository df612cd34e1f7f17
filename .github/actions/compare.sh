#!/usr/bin/env bash
# Compares the server of the checked-out commit (mode head) with that of $BASE (mode base). The two alternate within one run, so that
# both meet the same noise of the runner.
#
# Reads SERVE, BUILD, BASE, CLIENTS, FAIL_IF, CONFIRM and OPTIONS (see action.yml). Writes the Markdown report to $GITHUB_STEP_SUMMARY, and the
# paths of the others to $GITHUB_OUTPUT. Exits as `iocp-bench blast` does: with 99 if a gate is met in every run.
set -euo pipefail

readonly head=$PWD
work=$(mktemp -d "${RUNNER_TEMP:-/tmp}/iocp-bench.XXXXXX")
readonly work
readonly base=$work/base

# A checkout without history does not have the base commit.
if ! git rev-parse --quiet --verify "$BASE^{commit}" >"$work/commit"; then
  git fetch --quiet --depth=2 origin "$BASE"
  git rev-parse --quiet --verify 'FETCH_HEAD^{commit}' >"$work/commit"
fi
git worktree add --quiet --detach "$base" "$(cat "$work/commit")"
trap 'git -C "$head" worktree remove --force "$base"' EXIT

if [[ -n "$BUILD" ]]; then
  for folder in "$base" "$head"; do (cd "$folder" && bash -c "$BUILD"); done
fi

gates=()
while IFS= read -r gate; do
  [[ -z "${gate//[[:space:]]/}" ]] || gates+=(--fail-if "$gate")
done <<<"$FAIL_IF"

{
  echo "report=$work/report.json"
  echo "html=$work/report.html"
} >>"$GITHUB_OUTPUT"

# Word splitting is wanted: OPTIONS holds several options.
# shellcheck disable=SC2086
node "$GITHUB_ACTION_PATH/bin/iocp-bench.js" blast \
  --mode-command "base=cd '$base' && exec $SERVE" --mode-command "head=cd '$head' && exec $SERVE" \
  --clients "$CLIENTS" --confirm "$CONFIRM" "${gates[@]}" \
  --json "$work/report.json" --html "$work/report.html" --markdown "$work/report.md" $OPTIONS || code=$?
[[ ! -e "$work/report.md" ]] || cat "$work/report.md" >>"$GITHUB_STEP_SUMMARY"
exit "${code:-0}"
