#!/bin/bash
# The rules of the house that a machine can check, on every file that is not ignored.
# Each violation is a line "file:line: what"; at the end their number, and status 1 if
# there is one. usage: tests/lint.sh
set -u
cd "$(dirname "$0")/.." || exit 2
export LC_ALL=C.UTF-8

FILE_LINES=600
FUNCTION_LINES=80
COLUMNS_MOST=100

# Without git, or its history, whatever make has not built.
files() {
    git ls-files -co --exclude-standard 2>/dev/null ||
        find . -path './build*' -prune -o -path './.*/*' -prune -o -type f -print | sed 's|^\./||'
}
mapfile -t ALL < <(files | sort -u | while read -r f; do [ -f "$f" ] && echo "$f"; done)
pick() { printf '%s\n' "${ALL[@]}" | grep -E "$1"; }
mapfile -t C_FILES < <(pick '\.(c|h|cu|cuh)$')
# The three that simd.h picks from stand on it, and emulate.h on SIMDe, which few have.
mapfile -t HEADERS < <(pick '\.h$' | grep -vE '^kernels/cpu/isa/simd_[a-z0-9]+\.h$|^tests/op/emulate\.h$')
mapfile -t CODE < <(pick '\.(c|h|cu|cuh|def|py|lua|cs|sh)$|(^|/)Makefile$')
mapfile -t GUEST < <(pick '^(plugin|kernels|quant)/.*\.(c|h|cu|cuh)$' | grep -vE '^quant/(quantize|eval|tools)/')

found=$(mktemp) || exit 2
work=$(mktemp -d) || exit 2
trap 'rm -rf "$found" "$work"' EXIT
report() { cat >>"$found"; }
say() { sed -E "s/^([^:]+:[0-9]+):.*/\1: $1/" | report; }

# C text without comments, strings and character constants, with its line numbers:
# "file:line:code".
code_of() {
    awk '
    FNR == 1 { comment = 0 }
    {
        out = ""
        for (rest = $0; rest != "";) {
            if (comment) {
                end = index(rest, "*/")
                rest = end ? substr(rest, end + 2) : ""
                comment = !end
            } else if (match(rest, /"([^"\\]|\\.)*"|\047([^\047\\]|\\.)*\047|\/\*|\/\//)) {
                token = substr(rest, RSTART, 2)
                out = out substr(rest, 1, RSTART - 1) " "
                rest = token == "//" ? "" : substr(rest, RSTART + RLENGTH)
                comment = token == "/*"
            } else {
                out = out rest
                rest = ""
            }
        }
        print FILENAME ":" FNR ":" out
    }' "$@"
}

sizes() {
    # Tables that a program wrote, or reads (*_vectors.py), say so at the top and may be long.
    awk -v most=$FILE_LINES 'FNR <= 6 && /[Nn]ot edited by hand|_vectors.py/ { table[FILENAME] = 1 }
        { n[FILENAME] = FNR }
        END { for (f in n) if (n[f] > most && !(f in table))
                  print f ":" most + 1 ": " n[f] " lines, at most " most }' "${CODE[@]}" | report
    # A function begins with a brace in the first column, and so does its end.
    awk -v most=$FUNCTION_LINES 'FNR == 1 { start = 0 } /^\{/ { start = FNR }
        /^\}/ { n = FNR - start + 1
                if (start && n > most)
                    print FILENAME ":" start ": function of " n " lines, at most " most
                start = 0 }' "${C_FILES[@]}" | report
    grep -nHE "^.{$((COLUMNS_MOST + 1))}" "${CODE[@]}" | grep -vE '^(Makefile|[^:]*\.(py|sh)):' |
        say "more than $COLUMNS_MOST columns"
}

words() {
    # In pieces, so that this file does not find itself.
    local left="TO""DO|FIX""ME|XX""X|HA""CK"
    grep -nHwE "$left" "${CODE[@]}" | say "a note of something left to do"
    grep -nHP '\t' "${C_FILES[@]}" | say "tab"
    grep -nHP '[ \t]+$' "${CODE[@]}" | say "space at the end of the line"
}

# What a guest in another program must not do; base/mem.c alone talks to the allocator.
calls() {
    local memory='malloc|calloc|realloc|free|posix_memalign|aligned_alloc|strdup'
    local other='printf|fprintf|vprintf|puts|perror|exit|_exit|abort|assert|getenv|setenv|strtok'
    other+='|setlocale|atoi|atof|strtod|strtof|signal|sigaction|rand|system|fork'
    [ ${#GUEST[@]} = 0 ] && return
    code_of "${GUEST[@]}" | grep -v '^plugin/base/mem\.c:' |
        grep -P "(?<![\w.>*])($memory)\s*\(" |
        sed -E 's/^([^:]+:[0-9]+):.*/\1: memory that does not pass struct mem/' | report
    # A template's numbers are read back by the locale that printed them.
    code_of "${GUEST[@]}" | grep -v '^plugin/text/jinja/.*strtod' |
        grep -P "(?<![\w.>*])($other)\s*\(" |
        sed -E 's/^([^:]+:[0-9]+):.*/\1: a call that a guest must not make/' | report
}

# folder: the folders whose headers it may include, besides its own.
LAYERS='
include:
hostapi: include
examples: hostapi include
plugin/base: include
quant: plugin/base
quant/tools: plugin/base
quant/quantize: quant/tools quant plugin/model plugin/text plugin/file plugin/base kernels include
quant/eval: quant/tools quant plugin/model plugin/text plugin/file plugin/base kernels include
plugin/file: plugin/base quant include
plugin/text: plugin/file plugin/base quant include
kernels: plugin/base quant
plugin/model: plugin/text plugin/file plugin/base kernels quant include
plugin/exchange: plugin/base include
plugin/config: plugin/base kernels include
plugin: plugin/model plugin/config plugin/exchange plugin/text plugin/file plugin/base kernels quant include
plugin/abi: plugin plugin/model plugin/config plugin/exchange plugin/file plugin/base kernels quant include
'

# The longest folder of the table that path is in.
layer_of() {
    local best="" name
    for name in $LAYER_NAMES; do
        case $1 in "$name"/*) [ ${#name} -gt ${#best} ] && best=$name ;; esac
    done
    echo "$best"
}

# The file that an include in file $1 names, from its folder or by the include path.
target_of() {
    local at
    for at in "$(dirname "$1")" include hostapi .; do
        if [ -f "$at/$2" ]; then
            realpath --relative-to=. "$at/$2"
            return
        fi
    done
}

layering() {
    LAYER_NAMES=$(echo "$LAYERS" | sed -n 's/:.*//p')
    local file line name target from to allowed
    grep -nHE '^ *# *include *"' "${C_FILES[@]}" | grep -v '^tests/' |
        sed -E 's/^([^:]+):([0-9]+):[^"]*"([^"]+)".*/\1 \2 \3/' |
        while read -r file line name; do
            target=$(target_of "$file" "$name")
            from=$(layer_of "$file")
            to=$(layer_of "$target")
            allowed=$(echo "$LAYERS" | sed -n "s|^$from:||p")
            if [ -z "$target" ]; then
                echo "$file:$line: includes $name, which is nowhere"
            elif [ "$to" = plugin ] && [ "$(basename "$target")" = abi.h ] &&
                [[ $file != plugin/abi/* ]]; then
                echo "$file:$line: only the ABI's own files may include abi.h"
            elif [ "$from" != "$to" ] && [[ " $allowed " != *" $to "* ]]; then
                echo "$file:$line: $from may not include ${to:-files of} ($target)"
            fi
        done | report
}

headers() {
    local header first cuda=${CUDA_HOME:-/usr/local/cuda}/include
    for header in "${HEADERS[@]}"; do
        # Those of the CUDA back end and of the simulated GPU stand on NVIDIA's cuda.h.
        [[ $header == */cuda/* || $header == tests/gpu/* ]] && [ ! -e "$cuda/cuda.h" ] && continue
        # An instruction set, for the headers that are compiled once for each.
        first=$("${CC:-gcc}" -std=c11 -fsyntax-only -Wall -Wextra -Werror -Wno-unused-function \
            -D_GNU_SOURCE -DISA=plain -DISA_PLAIN=1 -Iinclude -Ihostapi -Itests -I. \
            -isystem "$cuda" -x c -include "$header" /dev/null 2>&1 | grep -m1 error)
        [ -n "$first" ] && echo "$header:1: does not compile alone: $first"
    done | report
}

format() {
    local tool=""
    for name in clang-format-14 clang-format; do
        command -v $name >/dev/null && $name --version | grep -q ' 14\.' && tool=$name && break
    done
    if [ -z "$tool" ]; then
        echo "lint: no clang-format 14, the format is not checked"
        return
    fi
    $tool --dry-run -Werror "${C_FILES[@]}" 2>&1 |
        sed -nE 's/^([^:]+:[0-9]+):[0-9]+: error: .*/\1: not formatted/p' | sort -u | report
}

sizes
words
calls
layering
headers
format
sort -t: -k1,1 -k2,2n "$found"
n=$(wc -l <"$found")
echo "lint: ${#CODE[@]} files, $n violations"
[ "$n" = 0 ]
