#!/usr/bin/env python3
"""Makes tests/model/golden/tokenizer_families.bin: a small vocabulary for each family of
tokenizer_hf.py, and the ids that the reference implementation of Hugging Face gives with it
to the lines of tokenizer.bin (pip install tokenizers gguf).

    tests/model/tokenizer_families.py

Each vocabulary is trained on Python's standard library and those lines: the bytes, then what
the merges make, then whole words that no merge makes, then added tokens. The file,
little-endian:

    "TOKFAMS1", u32 families
    per family: u8 length, name, u32 merges, u32 further tokens
                "left right" NUL per merge; u8 type, text NUL per further token
                u32 lines per hash, u32 hashes, u32 each: control tokens recognised
                u32 lines per hash, u32 hashes, u32 each: not recognised

Types are those of tokenizer.ggml.token_type, hashes those of tokenizer.bin, run on.
"""
import collections
import json
import os
import struct

from gguf_write import byte_alphabet
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, trainers
from tokenizer_hf import FAMILIES, FNV_START, LINES_PER_CUT, fnv, make_lines

OUT = "tests/model/golden/tokenizer_families.bin"
N_MERGES, N_WORDS, N_FILES = 1200, 48, 60
NORMAL, CONTROL, USER_DEFINED = 1, 3, 4
CONTROLS = ["<|im_start|>", "<|im_end|>", "<|endoftext|>"]
USERS = ["<repo_name>", "<jupyter_code>", "fox j", "fox jumps", "\u3002\u4f60\u597d", "e\u0301"]
# As the published tokenizer.json files of these families say.
IGNORE_MERGES = {"llama-bpe", "tekken", "gpt-4o"}


def standard_library():
    folder = os.path.dirname(os.__file__)
    names = sorted(n for n in os.listdir(folder) if n.endswith(".py"))[:N_FILES]
    for name in names:
        with open(os.path.join(folder, name), encoding="utf-8") as f:
            yield f.read()


def make(family, vocabulary, merges):
    t = Tokenizer(models.BPE(vocabulary, merges, ignore_merges=family in IGNORE_MERGES))
    normalizer, steps = FAMILIES[family]
    if normalizer:
        t.normalizer = normalizer
    t.pre_tokenizer = pre_tokenizers.Sequence(steps)
    return t


def train(family, lines):
    """Merges in order, none of which makes what another made."""
    t = make(family, {}, [])
    trainer = trainers.BpeTrainer(vocab_size=256 + N_MERGES, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    t.train_from_iterator([*standard_library(), *lines], trainer)
    made, merges = set(byte_alphabet()), []
    for left, right in json.loads(t.to_str())["model"]["merges"]:
        if left + right not in made:
            made.add(left + right)
            merges.append((left, right))
    return merges


def whole_words(family, lines, tokenizer):
    """The commonest words of several tokens."""
    normalizer, steps = FAMILIES[family]
    cutter, count = pre_tokenizers.Sequence(steps), collections.Counter()
    for line in lines:
        text = normalizer.normalize_str(line) if normalizer else line
        count.update(word for word, _ in cutter.pre_tokenize_str(text))
    several = [w for w in count if len(w) < 60 and len(tokenizer.model.tokenize(w)) > 1]
    return sorted(several, key=lambda w: (-count[w], w))[:N_WORDS]


def with_added(tokenizer, controls):
    tokenizer.add_tokens([AddedToken(s, special=False, normalized=False) for s in USERS])
    if controls:
        tokenizer.add_special_tokens([AddedToken(s, special=True, normalized=False)
                                      for s in CONTROLS])
    return tokenizer


def hashes(tokenizer, lines):
    out = []
    for i, e in enumerate(tokenizer.encode_batch(lines, add_special_tokens=False)):
        if i % LINES_PER_CUT == 0:
            out.append(FNV_START)
        out[-1] = fnv(struct.pack(f"<{len(e.ids)}i", *e.ids), out[-1])
    return struct.pack(f"<II{len(out)}I", LINES_PER_CUT, len(out), *out)


def family_bytes(family, lines):
    merges = train(family, lines)
    tokens = byte_alphabet() + [left + right for left, right in merges]
    bare = make(family, {s: i for i, s in enumerate(tokens)}, merges)
    further = [(NORMAL, w) for w in whole_words(family, lines, bare)]
    further += [(USER_DEFINED, s) for s in USERS] + [(CONTROL, s) for s in CONTROLS]
    vocabulary = {s: i for i, s in enumerate(tokens + [s for _, s in further])}
    if len(vocabulary) != len(tokens) + len(further):
        raise SystemExit(f"{family}: a token twice")
    raw = struct.pack("B", len(family)) + family.encode()
    raw += struct.pack("<II", len(merges), len(further))
    raw += b"".join(f"{left} {right}".encode() + b"\0" for left, right in merges)
    raw += b"".join(struct.pack("B", kind) + s.encode() + b"\0" for kind, s in further)
    for controls in (True, False):
        raw += hashes(with_added(make(family, vocabulary, merges), controls), lines)
    print(f"{family}: {len(merges)} merges, {len(further)} further tokens, {len(raw)} bytes")
    return raw


def main():
    lines = make_lines(1)
    with open(OUT, "wb") as f:
        f.write(b"TOKFAMS1" + struct.pack("<I", len(FAMILIES)))
        for family in FAMILIES:
            f.write(family_bytes(family, lines))


if __name__ == "__main__":
    main()
