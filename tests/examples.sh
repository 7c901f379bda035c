#!/usr/bin/env bash
# examples.sh BUILD: each example does what its help says, and refuses what it does not know.
set -uo pipefail

bin=$1/examples lib=$1/libinflight.so.1 model=$1/models/SmolLM2-135M-Instruct.Q4_1.gguf
passed=0 failed=0
said=$(mktemp) config=$(mktemp) || exit 1
trap 'rm -f "$said" "$config"' EXIT

# Test $1: the status $2 of the command that follows, which prints what the pattern $3 matches.
expect() {
    local name=$1 want=$2 pattern=$3 status
    shift 3
    "$@" >"$said" 2>&1 </dev/null
    status=$?
    if [ "$status" -eq "$want" ] && grep -qE "$pattern" "$said"; then
        passed=$((passed + 1))
        echo "ok   examples: $name"
    else
        failed=$((failed + 1))
        echo "FAIL examples: $name: status $status, printed:"
        head -n 20 "$said"
    fi
}

# What the model says depends on the processor: of all that it may say this is enough.
echo "{version: 1, model: {path: \"$(realpath "$model")\"}, sampling: {max_tokens: 48}}" >"$config"
chat() { printf '%s\n' "Say hello." "And once more." | "$bin/chat" -v -l "$lib" -c "$config" "$@"; }

expect "hello answers a question" 0 '[A-Za-z]{3}' "$bin/hello" "What is a cat?"
expect "hello wants one" 2 '^usage' "$bin/hello"
expect "chat answers line by line" 0 'prompt tokens cached' chat -s "You answer in one word."
expect "demo streams several answers" 0 'tokens in .* in all' \
    "$bin/demo" -n 2 -t 8 -l "$lib" -m "$model"
expect "frame counts frames" 0 'done after' "$bin/frame" -n 2 -r 1 -s 1 -l "$lib" -m "$model"
for example in chat demo frame; do
    expect "$example has a help" 0 "^usage: $example" "$bin/$example" -h
    expect "$example refuses what is no option" 2 '^usage' "$bin/$example" "$model"
    expect "$example says what is missing" 1 'no/such.gguf' \
        "$bin/$example" -l "$lib" -m no/such.gguf
done
echo "examples: $passed passed, $failed failed, 0 skipped"
[ "$failed" -eq 0 ]
