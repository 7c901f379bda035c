#!/bin/sh
# Usage: abidiff.sh LIBRARY [--write]. Compares the object with the release's dump,
# inflight-1.0.abi: new functions and fields at the end of a struct pass, all else fails. --write makes the dump of a release.
set -eu
lib=$1
here=$(cd "$(dirname "$0")" && pwd)
dump=$here/inflight-1.0.abi
command -v abidw >/dev/null || {
    echo "abidiff: skipped, abigail-tools is not installed"
    exit 0
}
if [ "${2:-}" = --write ]; then
    abidw --no-corpus-path --no-comp-dir-path --headers-dir "$here/../../include" \
        --exported-interfaces-only --drop-private-types --out-file "$dump" "$lib"
    echo "abidiff: wrote $(wc -l <"$dump") lines"
    exit 0
fi
[ -f "$dump" ] || {
    echo "abidiff: skipped, there is no release yet"
    exit 0
}
# Any other change of a type or symbol is a break: the host's copy of the header is older.
abidiff --no-added-syms --suppressions "$here/growth.abignore" --drop-private-types \
    --headers-dir2 "$here/../../include" "$dump" "$lib" || exit 1
echo "abidiff: as released, or grown at the end of a struct"
