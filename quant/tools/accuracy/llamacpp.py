#!/usr/bin/env python3
"""The same model in llama.cpp: its file, its quantizer, its perplexity. In a Python that has
llama-cpp-python, numpy and gguf_to_hf's needs.

    llamacpp.py convert FOLDER OUT.gguf          a Llama or Qwen 2 of bf16 as a GGUF file of bf16
    llamacpp.py quantize IN.gguf OUT.gguf FORM   layers alone, embedding and head stay bf16
    llamacpp.py perplexity MODEL.gguf TEXT CONTEXT WINDOWS

FORM is Q8_0, Q4_0 or Q4_K, with every matrix in this format ("pure"), or Q4_K_M, llama.cpp's own
mixture. Rows that do not consist of blocks of 256 values get what llama.cpp falls back to, Q5_0 in
place of Q4_K. There is no importance matrix: its K-quants are as they come without one.

perplexity reads the windows that inflight-eval reads and scores the same positions."""
import ctypes
import json
import math
import pathlib
import sys

import numpy as np

import folder
import gguf_write as gguf

FTYPE = {"Q8_0": (7, True), "Q4_0": (2, True), "Q4_K": (14, True), "Q4_K_M": (15, False)}
BF16 = 30  # of ggml's types
PARTS = {"input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
         "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
         "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate",
         "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}
WHOLE = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def name_of(name):
    stem, _, kind = name.rpartition(".")
    if stem in WHOLE:
        return f"{WHOLE[stem]}.{kind}"
    _, _, layer, part = stem.split(".", 3)
    return f"blk.{layer}.{PARTS[part]}.{kind}"


def neighbouring_pairs(x, heads):
    """Rows i and i + half of a head, which turn together, one after another: llama.cpp's order."""
    return x.reshape(heads, 2, -1, x.shape[-1]).swapaxes(1, 2).reshape(x.shape)


def tensors(path, config):
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    for name, x in folder.each_weight(path):
        n = heads.get(name.split(".")[-2]) if config["model_type"] == "llama" else None
        x = neighbouring_pairs(x, n) if n else x
        form = "bf16" if x.ndim == 2 else "f32"
        yield name_of(name), x.shape[::-1], form, folder.pack(x, form)


def text_keys(path, config):
    with open(f"{path}/tokenizer.json", encoding="utf-8") as f:
        spec = json.load(f)
    vocabulary = spec["model"]["vocab"]
    tokens = sorted(vocabulary, key=vocabulary.get)
    kinds = dict.fromkeys(tokens, 1)
    kinds.update({t["content"]: 3 if t["special"] else 4 for t in spec["added_tokens"]})
    kinds.update({f"[PAD{i}]": 5 for i in range(len(tokens), config["vocab_size"])})
    merges = [m if isinstance(m, str) else " ".join(m) for m in spec["model"]["merges"]]
    pre = "qwen2" if config["model_type"] == "qwen2" else \
        "smollm" if "Digits" in json.dumps(spec["pre_tokenizer"]) else "gpt-2"
    return [*gguf.tokenizer_keys(pre, list(kinds), list(kinds.values()), merges),
            gguf.key("tokenizer.ggml.bos_token_id", gguf.U32, config["bos_token_id"]),
            gguf.key("tokenizer.ggml.eos_token_id", gguf.U32, config["eos_token_id"])]


def convert(path, out):
    config = folder.config(path)
    numbers = {"block_count": "num_hidden_layers", "context_length": "max_position_embeddings",
               "embedding_length": "hidden_size", "feed_forward_length": "intermediate_size",
               "attention.head_count": "num_attention_heads",
               "attention.head_count_kv": "num_key_value_heads", "vocab_size": "vocab_size"}
    arch = config["model_type"]
    keys = [gguf.key("general.architecture", gguf.STRING, arch),
            *(gguf.key(f"{arch}.{k}", gguf.U32, config[v]) for k, v in numbers.items()),
            gguf.key(f"{arch}.rope.dimension_count", gguf.U32,
                     config["hidden_size"] // config["num_attention_heads"]),
            gguf.key(f"{arch}.attention.layer_norm_rms_epsilon", gguf.F32, config["rms_norm_eps"]),
            gguf.key(f"{arch}.rope.freq_base", gguf.F32, config["rope_theta"]),
            *text_keys(path, config)]
    gguf.write(out, keys, list(tensors(path, config)))


def library():
    from llama_cpp import llama_cpp as c
    c.keep_log = c.llama_log_callback(lambda level, text, user: None)
    c.llama_log_set(c.keep_log, None)
    c.llama_backend_init()
    return c


def quantize(source, out, form):
    c = library()
    params = c.llama_model_quantize_default_params()
    params.ftype, params.pure = FTYPE[form]
    params.nthread = 2
    params.token_embedding_type = params.output_tensor_type = BF16
    part = out + ".part"
    if c.llama_model_quantize(source.encode(), part.encode(), ctypes.byref(params)):
        sys.exit(f"llama.cpp cannot write {out}")
    pathlib.Path(part).rename(out)


class Reader:
    def __init__(self, path, context):
        c = self.c = library()
        params = c.llama_model_default_params()
        params.n_gpu_layers = 0
        self.model = c.llama_model_load_from_file(path.encode(), params)
        if not self.model:
            sys.exit(f"llama.cpp cannot load {path}")
        self.vocab = c.llama_model_get_vocab(self.model)
        params = c.llama_context_default_params()
        params.n_ctx = params.n_batch = params.n_ubatch = context
        params.n_threads = params.n_threads_batch = 2
        self.context = c.llama_init_from_model(self.model, params)
        self.batch = c.llama_batch_init(context, 0, 1)

    def tokens(self, text):
        raw = text.encode()
        out = (self.c.llama_token * len(raw))()
        n = self.c.llama_tokenize(self.vocab, raw, len(raw), out, len(raw), False, False)
        return np.array(out[:n], np.int32)

    def logits(self, tokens, scored):
        c, b, n = self.c, self.batch, len(tokens)
        b.n_tokens = n
        for i, token in enumerate(tokens):
            b.token[i], b.pos[i], b.n_seq_id[i], b.logits[i] = int(token), i, 1, i in scored
            b.seq_id[i][0] = 0
        c.llama_memory_clear(c.llama_get_memory(self.context), True)
        if c.llama_decode(self.context, b):
            sys.exit("llama_decode failed")
        rows = c.llama_get_logits(self.context)
        return np.ctypeslib.as_array(rows, (len(scored), c.llama_vocab_n_tokens(self.vocab)))


def perplexity(path, text, context, windows):
    reader = Reader(path, context)
    with open(text, encoding="utf-8") as f:
        tokens = reader.tokens(f.read())
    n = min(windows, len(tokens) // context) if windows else len(tokens) // context
    scored = range(context // 2, context - 1)
    losses = []
    for i in range(n):
        window = tokens[i * context:(i + 1) * context]
        if reader.c.llama_vocab_get_add_bos(reader.vocab):
            window = np.concatenate(([reader.c.llama_vocab_bos(reader.vocab)], window[1:]))
        x = reader.logits(window, scored).astype("f8")
        x -= x.max(axis=1, keepdims=True)
        p = x - np.log(np.exp(x).sum(axis=1, keepdims=True))
        losses.append(-p[np.arange(len(scored)), window[scored.start + 1:]].mean())
    return {"tokens": len(tokens), "windows": n, "perplexity": math.exp(np.mean(losses))}


def main():
    if len(sys.argv) == 4 and sys.argv[1] == "convert":
        convert(*sys.argv[2:])
    elif len(sys.argv) == 5 and sys.argv[1] == "quantize" and sys.argv[4] in FTYPE:
        quantize(*sys.argv[2:])
    elif len(sys.argv) == 6 and sys.argv[1] == "perplexity":
        print(json.dumps(perplexity(sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
