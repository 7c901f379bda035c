#!/usr/bin/env python3
"""Makes tests/model/folders, small tokenizers in each of the ways that Hugging Face folders have
them, and tests/model/golden/tokenizer_folders.bin, what the reference implementations make with
them of the lines of tokenizer.bin (pip install tokenizers sentencepiece protobuf gguf).

    tests/model/tokenizer_folders.py

Each is trained on Python's standard library and those lines. The file, little-endian:

    "TOKFLDS1", u32 folders
    per folder: u8 length, name, u32 lists
                per list: u8 length, name, u32 hashes, u32 each

"plain" are ids of texts without control tokens, "trusted" with them and what is put around a text,
"text" is what comes back for plain ids. Hashes are those of tokenizer.bin, run on over
LINES_PER_CUT lines; a text ends with a byte 0xFF.
"""
import io
import json
import os
import struct

import sentencepiece
from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers,
                        pre_tokenizers, processors, trainers)
from tokenizer_families import standard_library
from tokenizer_hf import (BLOOM, FALCON, FNV_START, GPT4O, LINES_PER_CUT, LLAMA3, QWEN2, fnv,
                          make_lines)

FOLDERS, OUT = "tests/model/folders", "tests/model/golden/tokenizer_folders.bin"
CONTROLS = ["<|im_start|>", "<|im_end|>", "<|endoftext|>"]
N_MERGES = 500
BYTES = [f"<0x{b:02X}>" for b in range(256)]
MARK = "\u2581"


def texts(lines):
    return [*list(standard_library())[:12], *lines[:3000]]


# ---- Byte-level BPE

def byte_level(lines, steps, normalizer=None, whole=False, n=N_MERGES):
    t = Tokenizer(models.BPE(ignore_merges=whole))
    t.pre_tokenizer = pre_tokenizers.Sequence(steps)
    if normalizer:
        t.normalizer = normalizer
    t.train_from_iterator(texts(lines), trainers.BpeTrainer(
        vocab_size=256 + n, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    t.decoder = decoders.ByteLevel()
    return t


def cut(expression, use_regex=False):
    return [pre_tokenizers.Split(Regex(expression), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)]


def with_controls(t, start=None, end=None):
    t.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in CONTROLS])
    if start or end:
        parts = [s for s in (start, "$A", end) if s]
        t.post_processor = processors.TemplateProcessing(
            single=" ".join(parts), pair=" ".join(parts) + " $B",
            special_tokens=[(s, t.token_to_id(s)) for s in (start, end) if s])
    return t


def llama3(lines):
    return with_controls(byte_level(lines, cut(LLAMA3), whole=True), start="<|im_start|>")


def qwen2(lines):
    t = byte_level(lines, cut(QWEN2), normalizers.NFC())
    t.add_tokens([AddedToken("<tool>", normalized=False), AddedToken("e\u0301t", normalized=True)])
    return with_controls(t)


def gpt4o(lines):
    return with_controls(byte_level(lines, cut(GPT4O), whole=True))


def roberta(lines):
    t = byte_level(lines, [pre_tokenizers.ByteLevel(add_prefix_space=True)])
    t = with_controls(t)
    t.post_processor = processors.RobertaProcessing(
        ("<|im_end|>", t.token_to_id("<|im_end|>")), ("<|im_start|>", t.token_to_id("<|im_start|>")))
    t.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True)])
    return t


def smollm(lines):
    t = byte_level(lines, [pre_tokenizers.Digits(individual_digits=True),
                           pre_tokenizers.ByteLevel(add_prefix_space=False)])
    t.add_tokens([AddedToken("fox", single_word=True, normalized=False),
                  AddedToken("jumps", lstrip=True, rstrip=True, normalized=True),
                  AddedToken("ing", rstrip=True, normalized=True)])
    return with_controls(t)


def bloom(lines):
    return with_controls(byte_level(lines, cut(BLOOM)))


def falcon(lines):
    return with_controls(byte_level(lines, FALCON))


def olmo(lines):
    """Matches are what is kept, as in files made of tiktoken's."""
    steps = [pre_tokenizers.Split(Regex(QWEN2), "removed", invert=True),
             pre_tokenizers.Split(Regex(r"(?=\d{3}$)|\W(?<=[^\s\w]{2})"), "merged_with_next"),
             pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    return with_controls(byte_level(lines, steps))


def steps(lines):
    """Steps that few models use, all at once."""
    t = byte_level(lines, [
        pre_tokenizers.Split(".", "merged_with_previous"),
        pre_tokenizers.Split(Regex(r"[A-Z]"), "contiguous"),
        pre_tokenizers.CharDelimiterSplit("|"),
        pre_tokenizers.Punctuation("merged_with_previous"),
        pre_tokenizers.Digits(individual_digits=False),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)],
        normalizers.Sequence([normalizers.NFKC(), normalizers.Strip(left=True, right=True),
                              normalizers.Replace(Regex(r"\s\s+"), "  "),
                              normalizers.Replace("''", '"')]))
    return with_controls(t)


def whitespace(lines):
    t = byte_level(lines, [pre_tokenizers.Whitespace(),
                           pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    return with_controls(t)


# ---- BPE of characters, as files made of SentencePiece's

def characters(lines, normalizer, cutter, start="<s>", bytes_=True, split=True):
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    trained.train_from_iterator(texts(lines), trainers.BpeTrainer(
        vocab_size=900, limit_alphabet=300, show_progress=False))
    model = json.loads(trained.to_str())["model"]
    specials = ["<unk>", "<s>", "</s>"] + (BYTES if bytes_ else [])
    vocab = {s: i for i, s in enumerate(specials)}
    for piece in sorted(model["vocab"], key=model["vocab"].get):
        vocab.setdefault(piece, len(vocab))
    for n in range(2, 8):
        vocab.setdefault(MARK * n, len(vocab))
    merges = [tuple(m) for m in model["merges"]]
    merges += [(MARK * (n // 2), MARK * (n - n // 2)) for n in range(2, 8)]
    t = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True,
                             byte_fallback=bytes_))
    t.add_special_tokens([AddedToken(s, special=True, normalized=False)
                          for s in ["<unk>", "<s>", "</s>"]])
    if normalizer:
        t.normalizer = normalizer
    if cutter:
        t.pre_tokenizer = cutter
    t = with_controls(t, start=start)
    return t


def sentencepiece_decoder(strip):
    parts = [decoders.Replace(MARK, " "), decoders.ByteFallback(), decoders.Fuse()]
    return decoders.Sequence(parts + ([decoders.Strip(" ", 1, 0)] if strip else []))


def llama2(lines):
    t = characters(lines, normalizers.Sequence([normalizers.Prepend(MARK),
                                                normalizers.Replace(" ", MARK)]), None)
    t.decoder = sentencepiece_decoder(True)
    t.add_tokens([AddedToken("quick", normalized=True), AddedToken("<tool>", normalized=False)])
    return t


def mistral(lines):
    t = characters(lines, None, pre_tokenizers.Metaspace(prepend_scheme="first", split=False))
    t.decoder = sentencepiece_decoder(True)
    return t


def gemma(lines):
    t = characters(lines, normalizers.Replace(" ", MARK),
                   pre_tokenizers.Split(" ", "merged_with_previous"))
    t.decoder = sentencepiece_decoder(False)
    t.add_tokens([AddedToken("\n\n", normalized=False), AddedToken(MARK * 2, normalized=False)])
    return t


def unknown(lines):
    """Without tokens of bytes: what is no character of the vocabulary is unknown."""
    t = characters(lines, None, pre_tokenizers.Metaspace(), bytes_=False)
    t.decoder = decoders.Metaspace()
    return t


# ---- Unigram

def charsmap():
    """SentencePiece's own table for nmt_nfkc is large: a small one."""
    rules = [("\uff21", "A"), ("\uff11", "1"), ("\u3000", " "), ("\u00a0", " "), ("\ufb01", "fi"),
             ("e\u0301", "\u00e9"), ("\u200b", ""), ("\t", " "), ("\n", " "), ("\u2126", "\u03a9"),
             ("\uff22\uff23", "BC"), ("\uff22", "B")]
    path = "build/tokenizer_folders_rules.tsv"
    with open(path, "w", encoding="utf-8") as f:
        for left, right in rules:
            f.write(" ".join(f"{ord(c):X}" for c in left) + "\t" +
                    " ".join(f"{ord(c):X}" for c in right) + "\n")
    return path


def train_sentencepiece(lines, **options):
    model = io.BytesIO()
    sentences = [part for text in texts(lines) for part in text.split("\n") if part][:6000]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences), model_writer=model, vocab_size=1200, num_threads=1,
        character_coverage=0.98, minloglevel=2, **options)
    return model.getvalue()


def parse(model):
    from sentencepiece import sentencepiece_model_pb2 as pb
    proto = pb.ModelProto()
    proto.ParseFromString(model)
    return proto


def unigram(lines, byte_fallback, end=None):
    proto = parse(train_sentencepiece(lines, model_type="unigram", byte_fallback=byte_fallback,
                                      normalization_rule_tsv=charsmap()))
    t = Tokenizer(models.Unigram([(p.piece, p.score) for p in proto.pieces], 0, byte_fallback))
    t.normalizer = normalizers.Sequence(
        [normalizers.Precompiled(proto.normalizer_spec.precompiled_charsmap),
         normalizers.Replace(Regex(" {2,}"), MARK)])
    t.add_special_tokens([AddedToken(s, special=True, normalized=False)
                          for s in ["<unk>", "<s>", "</s>"]])
    return with_controls(t, end=end)


def t5(lines):
    t = unigram(lines, False, end="</s>")
    t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    t.decoder = decoders.Metaspace()
    return t


def xlmr(lines):
    t = unigram(lines, True)
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(),
                                               pre_tokenizers.Metaspace(prepend_scheme="always")])
    t.decoder = sentencepiece_decoder(True)
    return t


# ---- tokenizer.model

SENTENCEPIECE = {
    "spm-bpe": dict(model_type="bpe", byte_fallback=True, normalization_rule_name="identity",
                    remove_extra_whitespaces=False, split_digits=True,
                    allow_whitespace_only_pieces=True),
    "spm-bpe-user": dict(model_type="bpe", byte_fallback=True, add_dummy_prefix=False,
                         normalization_rule_name="identity", remove_extra_whitespaces=False,
                         user_defined_symbols=["fox", "<tool>", MARK * 2, "o\u0302"]),
    "spm-bpe-unknown": dict(model_type="bpe", byte_fallback=False),
    "spm-unigram": dict(model_type="unigram", byte_fallback=True,
                        user_defined_symbols=["fox", "<tool>"]),
    "spm-unigram-unknown": dict(model_type="unigram", byte_fallback=False),
}

# ---- Writing

HUGGING_FACE = {f.__name__: f for f in (llama3, qwen2, gpt4o, roberta, smollm, bloom, falcon, olmo,
                                        steps, whitespace, llama2, mistral, gemma, unknown, t5,
                                        xlmr)}
# Older files write a rule as one text.
RULES_AS_TEXT = {"qwen2", "llama2"}


def save(name, files):
    folder = os.path.join(FOLDERS, name)
    os.makedirs(folder, exist_ok=True)
    for file, data in files.items():
        with open(os.path.join(folder, file), "wb") as f:
            f.write(data if isinstance(data, bytes) else
                    json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")


def ids_bytes(ids):
    return struct.pack(f"<{len(ids)}i", *ids)


def list_bytes(name, values):
    out = []
    for i, value in enumerate(values):
        if i % LINES_PER_CUT == 0:
            out.append(FNV_START)
        out[-1] = fnv(value, out[-1])
    return (struct.pack("B", len(name)) + name.encode() +
            struct.pack(f"<I{len(out)}I", len(out), *out))


def reference(t, lines):
    t.encode_special_tokens = True
    plain = [e.ids for e in t.encode_batch(lines, add_special_tokens=False)]
    text = [s.encode() + b"\xff" for s in t.decode_batch(plain)]
    t.encode_special_tokens = False
    trusted = [e.ids for e in t.encode_batch(lines)]
    return {"plain": map(ids_bytes, plain), "trusted": map(ids_bytes, trusted), "text": text}


def hugging_face(name, lines):
    t = HUGGING_FACE[name](lines)
    data = json.loads(t.to_str())
    if name in RULES_AS_TEXT:
        data["model"]["merges"] = [" ".join(m) for m in data["model"]["merges"]]
    save(name, {"tokenizer.json": data})
    return reference(Tokenizer.from_str(json.dumps(data)), lines)


def sentencepiece_model(name, lines):
    options = SENTENCEPIECE[name]
    if "normalization_rule_name" not in options:
        options = options | {"normalization_rule_tsv": charsmap()}
    model = train_sentencepiece(lines, **options)
    proto = parse(model)
    proto.ClearField("trainer_spec")
    proto.trainer_spec.CopyFrom(parse(model).trainer_spec)
    proto.trainer_spec.ClearField("input")
    model = proto.SerializeToString()
    save(name, {"tokenizer.model": model})
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    plain = [processor.encode(line) for line in lines]
    result = {"plain": map(ids_bytes, plain)}
    # What is unknown is a double question mark there; here it has no text, as in tokenizers.
    if "unknown" not in name:
        result["text"] = [processor.decode(ids).encode() + b"\xff" for ids in plain]
    return result


def gpt2(lines):
    """The files of GPT-2: they have no tokenizer.json."""
    t = with_controls(byte_level(lines, [pre_tokenizers.ByteLevel(add_prefix_space=False)]))
    model = json.loads(t.to_str())["model"]
    vocab = model["vocab"] | {s: t.token_to_id(s) for s in CONTROLS}
    merges = "#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in model["merges"])
    config = {"tokenizer_class": "GPT2Tokenizer", "bos_token": "<|endoftext|>",
              "eos_token": "<|endoftext|>",
              "additional_special_tokens": ["<|im_start|>", "<|im_end|>"]}
    save("gpt2", {"vocab.json": vocab, "merges.txt": merges.encode(),
                  "tokenizer_config.json": config})
    return reference(t, lines)


def main():
    lines = make_lines(1)
    results = {name: hugging_face(name, lines) for name in HUGGING_FACE}
    results |= {name: sentencepiece_model(name, lines) for name in SENTENCEPIECE}
    results["gpt2"] = gpt2(lines)
    with open(OUT, "wb") as f:
        f.write(b"TOKFLDS1" + struct.pack("<I", len(results)))
        for name, lists in results.items():
            f.write(struct.pack("B", len(name)) + name.encode() + struct.pack("<I", len(lists)))
            for key, values in lists.items():
                f.write(list_bytes(key, list(values)))
            print(name)


if __name__ == "__main__":
    main()
