#!/usr/bin/env bash
# The library and its programs compile with clang, without a warning: tests/clang.sh BUILD. Nothing
# of it is run: make fuzz does that.
set -euo pipefail

build=${1:?usage: $0 BUILD}/clang
make --no-print-directory -j"${JOBS:-2}" CC=clang CUDA= CFLAGS=-O0 SAN= BUILD="$build" \
    "$build/libinflight.so.1" tools
