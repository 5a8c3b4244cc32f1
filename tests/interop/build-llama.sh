#!/usr/bin/env bash
# Builds the reference llama.cpp and our driver once, outside the checkout, and prints the
# directory of the binaries as the last line on stdout (everything else goes to stderr).
#
#   bin=$(tests/interop/build-llama.sh)
#
# Binaries: llama-perplexity llama-quantize llama-imatrix llama-gguf-split gmat-llama
# Cache:    ${GMAT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/gmat}/llama.cpp-VERSION-KEY
set -euo pipefail

# The source package of these Python bindings carries the whole llama.cpp tree, and pip
# can check it against a hash. Nothing of Python is built or run from it.
readonly version=0.3.36
readonly sdist=llama_cpp_python-$version
readonly sha256=832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e
readonly commit=0c1e57098bba # of llama.cpp in that package; only shown by --version

say() { printf '%s\n' "build-llama: $*" >&2; }
die() { say "error: $*"; exit 1; }

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${GMAT_CACHE:-${XDG_CACHE_HOME:-${HOME:?set HOME or GMAT_CACHE}/.cache}/gmat}
jobs=${GMAT_JOBS:-$(nproc)}

# --- what to build for ---------------------------------------------------------------

# Not GGML_NATIVE: on virtual machines that advertise AMX, ggml's AMX path can crash, and
# figures should not depend on the machine beyond these two levels.
isa=baseline
has_flag() { grep -qw "$1" /proc/cpuinfo; }
if has_flag avx2 && has_flag fma && has_flag f16c && has_flag bmi2; then
    isa=avx2
else
    say "no AVX2/FMA/F16C/BMI2 in /proc/cpuinfo: building for the baseline, which is slower"
fi

hash_of() { cat "$@" | sha256sum | cut -c1-12; }
key=$(uname -m)-$isa-$(hash_of "$here/build-llama.sh" "$here/CMakeLists.txt")
base=$cache/llama.cpp-$version-$key
# The driver has its own directory, so that editing it costs seconds and two checkouts
# with different drivers can share one llama.cpp.
bin=$base/bin-$(hash_of "$here/driver.cpp")

# Both directories appear by rename when complete: existing means usable.
if [[ -d $bin ]]; then
    printf '%s\n' "$bin"
    exit 0
fi

# --- lock, temporary directory -------------------------------------------------------

mkdir -p "$cache"
exec 9>"$cache/.build-llama.lock"
if ! flock -n 9; then
    say "waiting for another build"
    flock 9
fi
# Under the lock nobody else builds: what is here was left by a killed run. (Its compilers,
# if any survive it, have inherited the lock.)
rm -rf "$cache"/.build-llama.tmp.*
tmp=$(mktemp -d "$cache/.build-llama.tmp.XXXXXX")
# A shell handles a signal only when its foreground command has ended, which may be minutes
# from now; so long commands run in the background, and the handler ends them.
child=
run() { "$@" & child=$!; wait "$child"; }
stop() {
    if [[ -n $child ]] && kill "$child" 2>/dev/null; then wait "$child" || true; fi
    exit "$1"
}
trap 'rm -rf "$tmp"' EXIT
trap 'stop 130' INT
trap 'stop 143' TERM

# --- steps ---------------------------------------------------------------------------

install_tools() {
    local -A package=([g++]=g++ [cmake]=cmake [ninja]=ninja-build)
    local missing=() tool
    for tool in "${!package[@]}"; do
        command -v "$tool" >/dev/null || missing+=("${package[$tool]}")
    done
    ((${#missing[@]})) || return 0
    command -v apt-get >/dev/null || die "missing: ${missing[*]}; no apt-get here, install them yourself"
    [[ $(id -u) == 0 ]] || die "missing: ${missing[*]}; run as root, or: apt-get install ${missing[*]}"
    say "installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    # Installing may start daemons, which must not keep the lock.
    {
        apt-get update -q
        apt-get install -q -y --no-install-recommends "${missing[@]}"
    } >"$tmp/apt.log" 2>&1 9>&- || { tail -n 20 "$tmp/apt.log" >&2; die "apt-get could not install ${missing[*]}"; }
}

# pip wants a source package's metadata even if it only downloads, and would fetch and run
# the package's build backend for it. A stand-in of that name answers instead, so that
# nothing unpinned is fetched and nothing of the package is run.
download() {
    mkdir -p "$tmp/backend/scikit_build_core" "$tmp/download"
    cat >"$tmp/backend/scikit_build_core/build.py" <<PY
import os

def prepare_metadata_for_build_wheel(directory, config_settings=None):
    name = "$sdist.dist-info"
    os.makedirs(os.path.join(directory, name), exist_ok=True)
    with open(os.path.join(directory, name, "METADATA"), "w") as f:
        f.write("Metadata-Version: 2.1\nName: llama-cpp-python\nVersion: $version\n")
    return name
PY
    touch "$tmp/backend/scikit_build_core/__init__.py"
    printf 'llama-cpp-python==%s --hash=sha256:%s\n' "$version" "$sha256" >"$tmp/requirements.txt"
    say "downloading $sdist.tar.gz (77 MB)"
    PYTHONPATH=$tmp/backend run python3 -m pip download --quiet --disable-pip-version-check \
        --require-hashes --no-deps --no-binary :all: --no-build-isolation \
        --dest "$tmp/download" --requirement "$tmp/requirements.txt" >&2 ||
        die "pip could not download llama-cpp-python $version"
}

build_llama() {
    python3 -m pip --version >/dev/null 2>&1 || die "needs python3 with pip (Debian: apt-get install python3-pip)"
    install_tools
    download
    # Without its git directory, which would make configuration look for a repository.
    mkdir "$tmp/src"
    tar -xzf "$tmp/download/$sdist.tar.gz" -C "$tmp/src" --strip-components=3 \
        --exclude=.git "$sdist/vendor/llama.cpp"

    local on=OFF opt
    [[ $isa == avx2 ]] && on=ON
    local options=(
        -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF
        -DCMAKE_C_COMPILER=gcc -DCMAKE_CXX_COMPILER=g++
        -DGGML_NATIVE=OFF -DGGML_CCACHE=OFF -DGGML_LLAMAFILE=ON
        -DLLAMA_BUILD_COMMON=ON -DLLAMA_BUILD_COMMIT="$commit"
    )
    for opt in SSE42 AVX AVX2 FMA F16C BMI2; do options+=("-DGGML_$opt=$on"); done
    for opt in AVX_VNNI AVX512 AVX512_VBMI AVX512_VNNI AVX512_BF16 AMX_TILE AMX_INT8 AMX_BF16; do
        options+=("-DGGML_$opt=OFF")
    done
    for opt in LLAMA_{BUILD_{TESTS,TOOLS,EXAMPLES,SERVER,APP,UI},USE_PREBUILT_UI,OPENSSL,SUBPROCESS,ALL_WARNINGS} GGML_ALL_WARNINGS; do
        options+=("-D$opt=OFF")
    done

    say "building llama.cpp ($isa, $jobs jobs; some minutes)"
    # Flags of the caller's environment must not reach the reference: with FMA in
    # ggml-base, for one, it would write other quantized bytes.
    {
        run env -u CFLAGS -u CXXFLAGS -u CPPFLAGS -u LDFLAGS cmake -G Ninja \
            -S "$here" -B "$tmp/build" -DLLAMA_DIR="$tmp/src" "${options[@]}" &&
            run ninja -C "$tmp/build" -j "$jobs" llama-{perplexity,quantize,imatrix,gguf-split}
    } >"$tmp/build.log" 2>&1 || { tail -n 40 "$tmp/build.log" >&2; die "llama.cpp did not build"; }

    local out=$tmp/out
    mkdir -p "$out/include/nlohmann"
    mv "$tmp/build/bin" "$tmp/build/lib" "$out/"
    cp "$tmp"/src/include/*.h "$tmp"/src/ggml/include/*.h "$out/include/"
    cp "$tmp"/src/vendor/nlohmann/*.hpp "$out/include/nlohmann/"
    cp "$tmp/src/LICENSE" "$out/"
    mv -T "$out" "$base"
}

build_driver() {
    install_tools
    say "building gmat-llama"
    mkdir "$tmp/driver"
    g++ -std=c++17 -O1 -Wall -Wextra -isystem "$base/include" -o "$tmp/driver/gmat-llama" \
        "$here/driver.cpp" -L"$base/lib" -lllama -lggml -lggml-cpu -lggml-base -fopenmp -ldl -pthread \
        >&2 || die "driver.cpp did not build"
    # Relative links: the cache may be moved or mounted elsewhere.
    local tool
    for tool in perplexity quantize imatrix gguf-split; do
        ln -s "../bin/llama-$tool" "$tmp/driver/llama-$tool"
    done
    mv -T "$tmp/driver" "$bin"
}

# The waited-for build may have been this one.
[[ -d $base ]] || build_llama
[[ -d $bin ]] || build_driver
say "took $SECONDS s"
printf '%s\n' "$bin"
