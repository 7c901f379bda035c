#!/usr/bin/env bash
# Installs what is missing, or says how:
# tests/deps.sh build|demo|check|emulated|lint|figures|fuzz|bench|accuracy|others
# As root through apt; otherwise prints the one command to run and fails. When nothing is
# missing it takes a few hundredths of a second, since make demo and make check begin with it.
set -euo pipefail

want=(gcc make libc6-dev libyaml-dev libjansson-dev libpcre2-dev libutf8proc-dev
      libxxhash-dev)
case "${1:-build}" in
build) ;;
demo)  want+=(python3 python3-pip) ;;
check) want+=(python3 python3-pip binutils abigail-tools g++ clang clang-format-14 locales luajit
              mono-mcs mono-runtime) ;;
emulated) want+=(python3 libsimde-dev) ;;
bench) want+=(python3 python3-pip python3-venv g++) ;;
accuracy) want+=(python3 python3-pip python3-venv g++ libreadline8) ;;
lint)  want+=(clang-14 clang-format-14 clang-tidy-14 cppcheck) ;;
figures) want+=(python3 valgrind) ;;
fuzz)  want+=(clang libclang-rt-14-dev) ;;
others) want+=(python3 python3-venv) ;;
*)     echo "usage: $0 build|demo|check|emulated|lint|figures|fuzz|bench|accuracy|others" >&2; exit 2 ;;
esac

on_path() {
    command -v "$1" >/dev/null
}

# A file that the compiler finds for the linker.
linkable() {
    [[ $("${CC:-gcc}" -print-file-name="$1" 2>/dev/null) == /* ]]
}

# A header that the compiler finds.
included() {
    "${CC:-gcc}" -fsyntax-only -x c -include "$1" /dev/null 2>/dev/null
}

# What the package is wanted for, from wherever it came.
have() {
    case "$1" in
    libc6-dev)       linkable crt1.o ;;
    libyaml-dev)     linkable libyaml.a ;;
    libjansson-dev)  linkable libjansson.a ;;
    libpcre2-dev)    linkable libpcre2-8.a ;;
    libutf8proc-dev) linkable libutf8proc.a ;;
    libxxhash-dev)   included xxhash.h ;;
    libclang-rt-14-dev) CC=clang linkable libclang_rt.fuzzer-x86_64.a ;;
    libsimde-dev)    included simde/x86/avx512/dpbf16.h ;;
    python3-pip)     python3 -c 'import importlib.util as u, sys; sys.exit(not u.find_spec("pip"))' 2>/dev/null ;;
    python3-venv)    python3 -c 'import ensurepip' 2>/dev/null ;;
    binutils)        on_path readelf ;;
    abigail-tools)   on_path abidiff ;;
    locales)         [ -e /usr/share/i18n/locales/de_DE ] ;;
    valgrind)        on_path valgrind && [ -e /usr/include/valgrind/callgrind.h ] ;;
    libreadline8)    [[ $(ldconfig -p) == *libreadline.so.8* ]] ;;
    mono-mcs)        on_path mcs ;;
    mono-runtime)    on_path mono ;;
    clang-format-14) on_path "$1" || clang-format --version 2>/dev/null | grep -q ' 14\.' ;;
    *)               on_path "$1" ;;
    esac
}

missing=()
for package in "${want[@]}"; do
    have "$package" || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

if ! on_path apt-get; then
    echo "missing: ${missing[*]} (names as in Debian); install them and try again" >&2
    exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
    echo "missing: ${missing[*]}; run this, then try again:" >&2
    echo "  sudo apt-get update && sudo apt-get install -y --no-install-recommends ${missing[*]}" >&2
    exit 1
fi

# Lists of packages that are absent or old make the first attempt fail. stdin is not apt's.
install() {
    apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=60 "${missing[@]}"
}
echo "installing: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive LC_ALL=C
install </dev/null >/dev/null 2>&1 || {
    apt-get update -qq && install </dev/null 2>&1 >/dev/null
} || {
    echo "could not install: ${missing[*]}" >&2
    exit 1
}
