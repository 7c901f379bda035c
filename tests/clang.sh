#!/usr/bin/env bash
# The library and its programs compile with clang, without a warning: tests/clang.sh BUILD. Nothing
# of it is run: make fuzz does that. The CUDA back end's C does, too, where BUILD has its kernels.
set -euo pipefail

build=${1:?usage: $0 BUILD}
with_clang() {
    make --no-print-directory -j"${JOBS:-2}" CC=clang CFLAGS=-O0 SAN= BUILD="$build/clang" "$@"
}

with_clang CUDA= "$build/clang/libinflight.so.1" tools
if [ -e "$build/cuda/tile.fatbin" ]; then
    objects=(kernels/cuda/*.c)
    objects=("${objects[@]/#/$build/clang/obj/}")
    with_clang "${objects[@]/%.c/.o}"
fi
