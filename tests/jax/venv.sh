#!/usr/bin/env bash
# Installs NumPy, JAX and what else the checks need, once and outside the checkout, and prints the
# Python to use as the last line.
#
# Cache: ${GMAT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/gmat}/jax-KEY
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${GMAT_CACHE:-${XDG_CACHE_HOME:-${HOME:?set HOME or GMAT_CACHE}/.cache}/gmat}
key=$( (cat "$here/requirements.txt"; python3 --version) | sha256sum | cut -c1-12)
venv=$cache/jax-$key
mkdir -p "$cache"
exec 9>"$cache/.jax.lock"
flock 9
# The file is written last: with it, everything is there.
if [[ ! -e $venv/complete ]]; then
    rm -rf "$venv"
    if ! python3 -m venv "$venv" >/dev/null 2>&1; then
        echo "jax: installing python3-venv" >&2
        { apt-get update -qq && apt-get install -qqy python3-venv; } >&2
        python3 -m venv --clear "$venv"
    fi
    "$venv/bin/pip" install -q --disable-pip-version-check -r "$here/requirements.txt" >&2
    touch "$venv/complete"
fi
echo "$venv/bin/python"
