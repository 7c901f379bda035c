"""Writes Hugging Face folders with nothing but Python: safetensors files, in shards or not, and
the tokenizer of the models that tests make up.
"""
import json
import os
import struct

DTYPE = {"f32": "F32", "f16": "F16", "bf16": "BF16", "e4m3": "F8_E4M3", "i8": "I8", "u8": "U8",
         "i32": "I32", "i64": "I64"}


def safetensors(path, tensors):
    """tensors: (name, shape with the row's length last, format, bytes) each."""
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, shape, form, raw in tensors:
        header[name] = {"dtype": DTYPE[form], "shape": list(shape),
                        "data_offsets": [at, at + len(raw)]}
        at += len(raw)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for _, _, _, raw in tensors:
            f.write(raw)


def weights(folder, tensors, shards):
    """One file, or that many and an index. Tensors are dealt out in turn, so that a layer's are in
    all of them."""
    if shards == 1:
        return safetensors(f"{folder}/model.safetensors", tensors)
    place = {}
    for i in range(shards):
        name = f"model-{i + 1:05d}-of-{shards:05d}.safetensors"
        safetensors(f"{folder}/{name}", tensors[i::shards])
        place.update({t[0]: name for t in tensors[i::shards]})
    total = sum(len(raw) for _, _, _, raw in tensors)
    return json_file(f"{folder}/model.safetensors.index.json",
                     {"metadata": {"total_size": total}, "weight_map": place})


def json_file(path, value):
    with open(path, "w", encoding="utf-8") as f:
        json.dump(value, f, indent=2, ensure_ascii=False)


QWEN2_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|" \
              r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def pre_tokenizer(words, level):
    """What makes words of a text: GPT-2's, or the same with each digit alone, or those of Qwen 2."""
    if words == "gpt2":
        return level
    first = {"digits": {"type": "Digits", "individual_digits": True},
             "qwen2": {"type": "Split", "pattern": {"Regex": QWEN2_WORDS}, "behavior": "Isolated",
                       "invert": False}}[words]
    return {"type": "Sequence",
            "pretokenizers": [first, {**level, "use_regex": words != "qwen2"}]}


def tokenizer(folder, tokens, kinds, merges, words="gpt2"):
    """GPT-2's byte-level BPE; of kind 3 are control tokens, of kind 4 others that are no text, and
    those of kind 5 are none."""
    added = [{"id": i, "content": t, "single_word": False, "lstrip": False, "rstrip": False,
              "normalized": False, "special": kind == 3}
             for i, (t, kind) in enumerate(zip(tokens, kinds)) if kind in (3, 4)]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
             "use_regex": True}
    json_file(f"{folder}/tokenizer.json", {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
        "normalizer": {"type": "NFC"} if words == "qwen2" else None,
        "pre_tokenizer": pre_tokenizer(words, level), "post_processor": None, "decoder": level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None,
                  "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": False, "byte_fallback": False,
                  "vocab": {t: i for i, (t, kind) in enumerate(zip(tokens, kinds)) if kind != 5},
                  "merges": merges}})
    json_file(f"{folder}/tokenizer_config.json",
              {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 2048,
               "bos_token": tokens[1], "eos_token": tokens[2]})


def varint(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def field(number, value):
    """Of a protocol buffer: bytes, a float or a whole number."""
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    return varint(number << 3) + varint(value)


def sentencepiece(folder, tokens, scores, kinds, unknown, bos, eos):
    """tokenizer.model of pairs that are joined by their scores, with bytes for what no token has and
    spaces as they are: Gemma's. kinds are numbered as in GGUF files."""
    pieces = (field(1, t.encode()) + field(2, float(s)) + field(3, 2 if i == unknown else int(k))
              for i, (t, s, k) in enumerate(zip(tokens, scores, kinds)))
    model = b"".join(field(1, piece) for piece in pieces)
    model += field(2, field(3, 2) + field(35, 1) + field(40, unknown) + field(41, bos) +
                   field(42, eos))
    model += field(3, field(1, b"identity") + field(3, 0) + field(4, 0) + field(5, 1))
    with open(f"{folder}/tokenizer.model", "wb") as f:
        f.write(model)


def open_folder(path):
    os.makedirs(path, exist_ok=True)
    return path
