#!/usr/bin/env bash
# Installs what is missing, or says how: tests/deps.sh build|demo|check|lint
# As root through apt; otherwise prints the one command to run and fails.
set -euo pipefail

want=(gcc make libc6-dev libyaml-dev libjansson-dev libpcre2-dev libutf8proc-dev)
case "${1:-build}" in
build) ;;
demo)  want+=(python3 python3-pip) ;;
check) want+=(python3 python3-pip abigail-tools binutils luajit) ;;
lint)  want+=(clang clang-format-14 clang-tidy cppcheck) ;;
*)     echo "usage: $0 build|demo|check|lint" >&2; exit 2 ;;
esac

# A tool on the PATH serves as well as its package.
have() {
    case "$1" in
    python3)     command -v python3 >/dev/null ;;
    python3-pip) python3 -m pip --version >/dev/null 2>&1 ;;
    gcc|make|luajit|clang|clang-tidy|cppcheck) command -v "$1" >/dev/null ;;
    clang-format-14) command -v clang-format-14 >/dev/null || clang-format --version 2>/dev/null | grep -q ' 14\.' ;;
    binutils)    command -v readelf >/dev/null ;;
    abigail-tools) command -v abidiff >/dev/null ;;
    *)           dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q 'ok installed' ;;
    esac
}

missing=()
for package in "${want[@]}"; do
    have "$package" || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

if ! command -v apt-get >/dev/null; then
    echo "missing: ${missing[*]} (names as in Debian); install them and try again" >&2
    exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
    echo "missing: ${missing[*]}; run this, then try again:" >&2
    echo "  sudo apt-get install -y ${missing[*]}" >&2
    exit 1
fi
echo "installing: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null 2>&1 || {
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}
