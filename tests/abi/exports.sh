#!/bin/sh
# Usage: exports.sh LIBRARY. The shape of the shared object: exactly the exports of the
# version script under one version, few and old dependencies, hardened, able to unload.
set -eu
lib=$1
here=$(cd "$(dirname "$0")" && pwd)
failed=0
bad() {
    echo "exports: $*"
    failed=1
}

want=$(sed -n 's/^ *\(inflight_[a-z_]*\);.*/\1@@INFLIGHT_1.0/p' "$here/../../plugin/abi/plugin.map" | sort)
got=$(nm -D --defined-only "$lib" | awk '$2 != "A" {print $3}' | sort)
[ "$want" = "$got" ] || bad "not the exports of plugin.map: $got"
for name in $want; do
    grep -q "^INFLIGHT_API.*[ *]${name%@@*}(" "$here/../../include/inflight.h" ||
        bad "$name is not declared in inflight.h"
done

dynamic=$(readelf -dW "$lib")
for needed in $(echo "$dynamic" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'); do
    case $needed in
    libc.so.6 | libm.so.6 | libpthread.so.0 | libdl.so.2 | ld-linux-x86-64.so.2) ;;
    *) bad "needs $needed" ;;
    esac
done
echo "$dynamic" | grep -q TEXTREL && bad "has TEXTREL: code that is written to at load"
echo "$dynamic" | grep -q STATIC_TLS && bad "has STATIC_TLS: dlopen may find no room for it"
echo "$dynamic" | grep -Eq 'RPATH|RUNPATH' && bad "has a search path of its own"
echo "$dynamic" | grep -q NODELETE && bad "is marked NODELETE: it would never unload"
echo "$dynamic" | grep -Eq 'BIND_NOW|FLAGS_1.*NOW' || bad "binds lazily (no -z now)"
echo "$dynamic" | grep -q SONAME || bad "has no SONAME"
segments=$(readelf -lW "$lib")
echo "$segments" | grep -q GNU_RELRO || bad "has no RELRO"
echo "$segments" | awk '/GNU_STACK/ && $0 ~ /E/ && / RWE /' | grep -q . && bad "has an executable stack"
readelf -sW "$lib" | grep -q ' UNIQUE ' && bad "has STB_GNU_UNIQUE symbols: it would never unload"

# The last act of inflight_free is a jump: a call to dlclose would return into nothing.
code=$(objdump -d --no-show-raw-insn --disassemble=inflight_free "$lib")
echo "$code" | grep -Eq 'jmp +.*<dlclose@' || echo "$code" | grep -Eq 'jmp +\*.*<dlclose' ||
    bad "inflight_free does not end with a jump to dlclose"
echo "$code" | grep -Eq 'call +.*dlclose' && bad "inflight_free calls dlclose"

# glibc.h keeps the plugin's references old. Static libraries of a distribution newer than
# Debian 12 may bring newer ones; an object built there is for machines like it.
at_most() {
    [ "$(printf '%s\n' "$1" "$2" | sort -V | tail -1)" = "$2" ]
}
needs=$(nm -D --undefined-only "$lib" | sed -n 's/.* \([^ ]*\)@GLIBC_\([0-9.]*\)$/\2 \1/p' | sort -V)
newest=$(echo "$needs" | tail -1 | cut -d' ' -f1)
here_is=$(getconf GNU_LIBC_VERSION 2>/dev/null | cut -d' ' -f2)
at_most "$newest" 2.31 || ! at_most "$here_is" 2.36 ||
    bad "needs glibc $newest, at most 2.31:" $(echo "$needs" | grep "^$newest " | cut -d' ' -f2)
[ $failed = 0 ] || exit 1
echo "exports: $(echo "$want" | wc -l) functions, needs" \
    "$(echo "$dynamic" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | tr '\n' ' ')and glibc $newest"
