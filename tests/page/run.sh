#!/usr/bin/env bash
# Tests of the page in a real browser.
#
#   tests/page/run.sh GMAT BUNDLE DIST [SCRIPT...]
#
# GMAT is the command line, whose bytes the page must write, BUNDLE the server, DIST the built page.
# Scripts are run instead of all tests.
set -euo pipefail
GMAT=$(realpath "$1") GMAT_BUNDLE=$(realpath "$2") GMAT_DIST=$(realpath "$3")
shift 3
cd "$(dirname "${BASH_SOURCE[0]}")"
wanted=()
command -v node >/dev/null || wanted+=(nodejs)
command -v npm >/dev/null || wanted+=(npm)
[[ -n ${CHROMIUM:-} ]] || command -v chromium >/dev/null || wanted+=(chromium)
if ((${#wanted[@]})); then
    [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null ||
        { echo "run.sh: install ${wanted[*]}" >&2; exit 1; }
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q && apt-get install -q -y --no-install-recommends "${wanted[@]}"
fi
# The example plugins, where the tests of the workspace build them, too.
plugins=$(dirname "$GMAT")/../plugin-examples
(cd ../../plugins/examples && ${CARGO:-cargo} build --release --locked --quiet --target-dir "$plugins")
export EXAMPLES=$plugins/wasm32-unknown-unknown/release
npm install --no-package-lock --no-audit --no-fund --loglevel=error
# Debian's Node.js may be too old for the driver.
if (($(node -p 'process.versions.node.split(".")[0]') < 20)); then
    npm install --no-save --no-package-lock --no-audit --no-fund --loglevel=error node@22
    PATH=$PWD/node_modules/.bin:$PATH
fi
export GMAT GMAT_BUNDLE GMAT_DIST CHROMIUM=${CHROMIUM:-$(command -v chromium)}
if (($#)); then
    for script in "$@"; do node "$script"; done
    exit
fi

# Types, as the comments of the page state them.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -r ../../web/page/. "$GMAT_DIST/pkg" "$work"
node_modules/.bin/tsc -p "$work"

# One after the other: they share the processor, and some measure how long nothing happens.
node --test --test-concurrency=1 ./*.test.mjs
