#!/usr/bin/env bash
# Runs a program with a GPU under it: tests/gpu/on.sh CC PROGRAM [ARGUMENT]...
# CC is the compute capability of the simulated GPU (8.0, 8.9, 9.0, 12.0), or "real" for the
# machine's own driver. The models of the program's tests run on device cuda. LIMIT: seconds that
# it may take.
set -euo pipefail

[ $# -ge 2 ] || { echo "usage: $0 8.0|8.9|9.0|12.0|real PROGRAM [ARGUMENT]..." >&2; exit 2; }
cc=$1
shift
if [ "$cc" != real ]; then
    # Every launch takes and gives back the memory of its blocks: the heap is to keep it.
    export MALLOC_MMAP_THRESHOLD_=$((32 << 20)) MALLOC_TRIM_THRESHOLD_=$((256 << 20))
    export GPU_CC=$cc LD_LIBRARY_PATH=$PWD/${BUILD:-build}/gpu${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
fi
export TEST_DEVICE=cuda
exec ${LIMIT:+timeout -k 5 "$LIMIT"} "$@"
