#!/usr/bin/env bash
# Runs every test of the CUDA back end that is built, without make: on a machine whose files were
# built elsewhere. usage: tests/gpu/card.sh [DEVICE [PROGRAM]...]
# DEVICE: as for on.sh, "real" unless told otherwise. PROGRAM: those of $BUILD unless named.
# Each has LIMIT seconds (120). The last line is "N passed, N failed".
set -euo pipefail
cd "$(dirname "$0")/../.."

build=${BUILD:-build}
device=${1:-real}
export LIMIT=${LIMIT:-120}
shift $(($# > 0))

# Where the test model is not there, the made-up one does for what needs no sensible text.
tiny=$build/models/tiny.gguf
model=$(compgen -G "$build/models/SmolLM2-*.Q4_1.gguf" | head -n 1 || true)

tests=() before=
add() { [ ! -x "$1" ] || tests+=("${before}tests/gpu/on.sh $device $*"); }
if [ $# -gt 0 ]; then
    for program in "$@"; do add "$program"; done
else
    for program in "$build"/tests/op/op_cuda_* "$build"/tests/model/cuda* \
        "$build"/tests/unit/backends "$build"/tests/model/families "$build"/tests/model/invariance; do
        case $program in
        *.d) ;;
        */invariance)
            [ -n "$model" ] || before="env TEST_MODEL=$tiny "
            add "$program"
            before=
            ;;
        *) add "$program" ;;
        esac
    done
    add "$build"/bin/inflight-validator --cycles 100 "$build"/libinflight.so.1 \
        --model "$tiny"
fi
[ ${#tests[@]} -gt 0 ] || { echo "nothing is built under $build" >&2; exit 2; }
[ "$device" != real ] || nvidia-smi --query-gpu=name,driver_version --format=csv,noheader || true
BUILD=$build bash tests/run.sh "${tests[@]}"
