#!/usr/bin/env bash
# How far other GGUF files of a model are from a base one (F16, say): llama-perplexity on a
# text, KL divergence from the base's token probabilities, one JSON line per other file.
#
#   tests/interop/kld.sh EVAL.txt BASE.gguf OTHER.gguf...
#
#   {"file":"q4.gguf","bytes":1,"ppl":34.4,"ppl_base":34.4,"kld_mean":0.002,"same_top":95.6}
#
# same_top is in percent. Settings: GMAT_LLAMA_BIN (default: what build-llama.sh prints),
# GMAT_THREADS (default 2), GMAT_CHUNKS (default: the whole text), TMPDIR: the base's probabilities take 2 bytes x vocabulary for
# every second token of the text while this runs.
set -euo pipefail

die() { printf '%s\n' "kld: error: $*" >&2; exit 1; }

(($# >= 3)) || die "usage: kld.sh EVAL.txt BASE.gguf OTHER.gguf..."
text=$1 base=$2
shift 2
for file in "$text" "$base" "$@"; do [[ -r $file ]] || die "cannot read $file"; done

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
bin=${GMAT_LLAMA_BIN:-$("$here/build-llama.sh" | tail -n 1)}
[[ -x $bin/llama-perplexity ]] || die "no llama-perplexity in '$bin'"

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Runs the tool until its log has the last line of its summary. It logs from a thread that it does
# not wait for when it ends, so that on a busy machine the end of the log is lost now and then; and
# it ends well without a summary, too, if the text is too short, which more runs do not change.
perplexity() { # LOG LAST ARGS...
    local log=$1 last=$2
    shift 2
    # A context of 256 suits texts of some ten thousand tokens; figures are only comparable
    # at the same context.
    for _ in 1 2 3; do
        "$bin/llama-perplexity" -c 256 -t "${GMAT_THREADS:-2}" --chunks "${GMAT_CHUNKS:--1}" "$@" >"$log" 2>&1 ||
            { tail -n 20 "$log" >&2; die "llama-perplexity failed"; }
        if grep -q "$last" "$log"; then return; fi
    done
    tail -n 20 "$log" >&2
    die "no '$last' in the output of llama-perplexity"
}

# The number after "NAME:" in the log's summary. The tool can end well without a summary
# (a text that is too short), which must not pass for a result; nor must "nan".
figure() { # LOG NAME
    local value
    value=$(sed -n "s/^$2 *: *\([0-9.-]*\) .*/\1/p" "$1")
    [[ $value =~ ^-?[0-9]+\.[0-9]+$ ]] || { tail -n 20 "$1" >&2; die "no '$2' in the output of llama-perplexity"; }
    printf '%s' "$value"
}

json_string() {
    local s=${1//\\/\\\\}
    printf '"%s"' "${s//\"/\\\"}"
}

perplexity "$tmp/base.log" "Final estimate: PPL" -m "$base" -f "$text" --kl-divergence-base "$tmp/base.bin"
for file in "$@"; do
    perplexity "$tmp/log" "Same top p:" -m "$file" --kl-divergence-base "$tmp/base.bin" --kl-divergence
    # One assignment each: a failure inside printf's arguments would go unnoticed.
    ppl=$(figure "$tmp/log" 'Mean PPL(Q)')
    ppl_base=$(figure "$tmp/log" 'Mean PPL(base)')
    kld=$(figure "$tmp/log" 'Mean    KLD')
    same=$(figure "$tmp/log" 'Same top p')
    printf '{"file":%s,"bytes":%s,"ppl":%s,"ppl_base":%s,"kld_mean":%s,"same_top":%s}\n' \
        "$(json_string "$file")" "$(stat -Lc %s "$file")" "$ppl" "$ppl_base" "$kld" "$same"
done
