#!/usr/bin/env bash
# Usage: static.sh [FOLDER]. What ptxas made of each kernel for each architecture, from the logs
# and images that make leaves in $BUILD/cuda: registers and static shared memory. Fails if one
# spills, has a stack, takes more registers than its launch bounds leave, or is missing.
set -euo pipefail
folder=${1:-${BUILD:-build}/cuda}
here=$(cd "$(dirname "$0")/../.." && pwd)

if ! ls "$folder"/*.log >/dev/null 2>&1; then
    echo "static: no logs of ptxas in $folder: make"
    exit 1
fi

# Launch bounds stand in the PTX, which the images hold as text.
bounds() {
    if ! grep -aqF '.visible .entry' "$folder"/*.fatbin; then
        echo "static: the images in $folder hold no plain PTX: make CUDA_PACK=none" >&2
        exit 1
    fi
    cat "$folder"/*.fatbin | grep -aE '^\.visible \.entry|^\.(maxntid|minnctapersm)' |
        sed -E 's/^\.visible \.entry ([a-zA-Z0-9_]+).*/entry \1/; s/^\.//; s/,//g'
}

kernels() {
    sed -nE 's/^KERNEL\((.*)\)/kernel \1/p' "$here/kernels/cuda/kernels.def"
}

{ kernels; bounds; cat "$folder"/*.log; } | awk '
function bad(text) { print "static: " text; failed = 1 }

$1 == "kernel" { wanted[++n_wanted] = $2; next }
$1 == "entry" { entry = $2; next }
$1 == "maxntid" { threads[entry] = $2 * (NF > 2 ? $3 : 1) * (NF > 3 ? $4 : 1); next }
$1 == "minnctapersm" { blocks[entry] = $2; next }

/Compiling entry function/ {
    gsub(/\047/, "")
    name = $(NF - 2); arch = $NF
    if (!(arch in seen)) { seen[arch] = 1; archs[++n_arch] = arch }
    next
}
/bytes stack frame/ {
    at = name SUBSEP arch
    stack[at] = $1; spills[at] = $5 + $9
    next
}
/ Used [0-9]+ registers/ {
    at = name SUBSEP arch
    match($0, /Used [0-9]+/); registers[at] = substr($0, RSTART + 5, RLENGTH - 5) + 0
    shared[at] = match($0, /[0-9]+ bytes smem/) ? substr($0, RSTART, RLENGTH) + 0 : 0
    if (!(name in known)) { known[name] = 1; names[++n_name] = name }
}

# Registers are handed out by eights to each thread, 65536 to an SM.
function allowed(name,    n, most) {
    if (!(name in threads)) return 255
    n = int((threads[name] + 31) / 32) * 32
    most = int(65536 / (n * (name in blocks ? blocks[name] : 1)) / 8) * 8
    return most < 255 ? most : 255
}

END {
    printf "%-24s %7s %6s %7s ", "registers, shared bytes", "threads", "blocks", "allowed"
    for (a = 1; a <= n_arch; a++) printf "%14s", archs[a]
    print ""
    for (i = 1; i <= n_name; i++) {
        name = names[i]
        printf "%-24s %7s %6s %7d ", name, name in threads ? threads[name] : "-", \
               name in blocks ? blocks[name] : "-", allowed(name)
        for (a = 1; a <= n_arch; a++)
            printf "%14s", registers[name, archs[a]] ", " shared[name, archs[a]]
        print ""
    }
    for (i = 1; i <= n_name; i++)
        for (a = 1; a <= n_arch; a++) {
            at = names[i] SUBSEP archs[a]; what = names[i] " for " archs[a]
            if (!(at in registers)) { bad(what " is missing"); continue }
            if (spills[at]) bad(what " spills " spills[at] " bytes")
            if (stack[at]) bad(what " has a stack of " stack[at] " bytes")
            if (registers[at] > allowed(names[i]))
                bad(what " takes " registers[at] " registers, " allowed(names[i]) " are allowed")
            if (shared[at] > 48 * 1024) bad(what " takes " shared[at] " bytes of shared memory")
        }
    for (i = 1; i <= n_wanted; i++)
        if (!(wanted[i] in known)) bad(wanted[i] " of kernels.def is in no log")
    if (!n_wanted || !n_arch) bad("nothing to check")
    printf "static: %d kernels, %d architectures\n", n_name, n_arch
    exit failed
}'
