#!/usr/bin/env python3
"""Writes a GGUF file of a Llama with SmolLM2's tokenizer, a Qwen 2 or a Gemma 3 as a Hugging Face folder,
its weights decoded and rounded to bf16: a folder with the knowledge of a real model, for tests and
for measuring what formats cost.

    pip install gguf numpy
    tests/model/gguf_to_hf.py build/models/SmolLM2-135M-Instruct.Q4_1.gguf \\
        build/models/SmolLM2-135M-Instruct [--shards 2] [--dtype bf16|f16|f32]
"""
import argparse

import hf_write

PARTS = {"attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
         "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
         "ffn_norm": "post_attention_layernorm", "ffn_gate": "mlp.gate_proj",
         "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
GEMMA_PARTS = {**PARTS, "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm",
               "post_attention_norm": "post_attention_layernorm",
               "ffn_norm": "pre_feedforward_layernorm",
               "post_ffw_norm": "post_feedforward_layernorm"}
WHOLE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
# tokenizer.ggml.pre of what is written, the words of its tokenizer in hf_write, its architecture.
KINDS = {"llama": ("smollm", "digits", "LlamaForCausalLM"),
         "qwen2": ("qwen2", "qwen2", "Qwen2ForCausalLM"),
         "gemma3": ("default", None, "Gemma3ForCausalLM")}


def name_of(name, parts):
    stem, _, kind = name.rpartition(".")
    if stem in WHOLE:
        return f"{WHOLE[stem]}.{kind}"
    _, layer, part = stem.split(".")
    return f"model.layers.{layer}.{parts[part]}.{kind}"


def pack(x, form):
    """Rounded to the nearest, ties to even."""
    import numpy as np
    if form == "f32":
        return x.astype("<f4").tobytes()
    if form == "f16":
        return x.astype("<f2").tobytes()
    bits = np.ascontiguousarray(x, dtype="<f4").view("<u4").astype(np.uint64)
    return ((bits + 0x7fff + (bits >> 16 & 1)) >> 16).astype("<u2").tobytes()


def split_pairs(x, heads):
    """Neighbouring rows of a head become row i and row i + half: the order of llama.cpp undone."""
    return x.reshape(heads, -1, 2, x.shape[-1]).swapaxes(1, 2).reshape(x.shape)


class Source:
    def __init__(self, path):
        from gguf import GGUFReader
        self.reader = GGUFReader(path)
        self.arch = self.get("general.architecture")

    def get(self, key, missing=None):
        field = self.reader.fields.get(key)
        return missing if field is None else field.contents()

    def number(self, key, missing=None):
        return self.get(f"{self.arch}.{key}", missing)

    def tensors(self, form):
        from gguf.quants import dequantize
        for t in self.reader.tensors:
            x = dequantize(t.data, t.tensor_type).astype("f4")
            heads = {"attn_q": "attention.head_count", "attn_k": "attention.head_count_kv"}
            key = heads.get(t.name.split(".")[-2])
            if key and self.arch == "llama":
                x = split_pairs(x, self.number(key))
            if self.arch == "gemma3" and x.ndim == 1:
                x = x - 1  # a norm
            parts = GEMMA_PARTS if self.arch == "gemma3" else PARTS
            yield name_of(t.name, parts), x.shape, form, pack(x, form)


def config_of(source, names):
    more = {"hidden_act": "silu", "mlp_bias": False}
    if source.arch == "gemma3":
        more = {"hidden_activation": "gelu_pytorch_tanh", "sliding_window_pattern": 6,
                "head_dim": source.number("attention.key_length"), "rope_local_base_freq": 10000.0,
                "query_pre_attn_scalar": source.number("attention.key_length"),
                "sliding_window": source.number("attention.sliding_window")}
    return {
        "architectures": [KINDS[source.arch][2]],
        "model_type": "gemma3_text" if source.arch == "gemma3" else source.arch,
        "hidden_size": source.number("embedding_length"),
        "intermediate_size": source.number("feed_forward_length"),
        "num_hidden_layers": source.number("block_count"),
        "num_attention_heads": source.number("attention.head_count"),
        "num_key_value_heads": source.number("attention.head_count_kv"),
        "max_position_embeddings": source.number("context_length"),
        "rms_norm_eps": source.number("attention.layer_norm_rms_epsilon"),
        "rope_theta": source.number("rope.freq_base", 10000.0), "rope_scaling": None,
        "vocab_size": len(source.get("tokenizer.ggml.tokens")), **more,
        "attention_bias": "model.layers.0.self_attn.q_proj.bias" in names,
        "tie_word_embeddings": "lm_head.weight" not in names,
        "bos_token_id": source.get("tokenizer.ggml.bos_token_id"),
        "eos_token_id": source.get("tokenizer.ggml.eos_token_id")}


def write_text(source, folder):
    tokens, kinds = (source.get(f"tokenizer.ggml.{k}") for k in ("tokens", "token_type"))
    if source.arch == "gemma3":
        hf_write.sentencepiece(folder, tokens, source.get("tokenizer.ggml.scores"), kinds,
                               *(source.get(f"tokenizer.ggml.{k}_token_id")
                                 for k in ("unknown", "bos", "eos")))
    else:
        hf_write.tokenizer(folder, tokens, kinds, source.get("tokenizer.ggml.merges"),
                           KINDS[source.arch][1])
    bos, eos = (source.get(f"tokenizer.ggml.{k}_token_id") for k in ("bos", "eos"))
    hf_write.json_file(f"{folder}/tokenizer_config.json", {
        **({"tokenizer_class": "GemmaTokenizer", "add_bos_token": True}
           if source.arch == "gemma3" else
           {"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": False}),
        "bos_token": tokens[bos],
        "eos_token": tokens[eos], "model_max_length": source.number("context_length"),
        "chat_template": source.get("tokenizer.chat_template")})
    hf_write.json_file(f"{folder}/generation_config.json",
                       {"bos_token_id": bos, "eos_token_id": eos})


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("gguf")
    parser.add_argument("folder")
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--dtype", choices=hf_write.DTYPE, default="bf16")
    args = parser.parse_args()
    source = Source(args.gguf)
    if KINDS.get(source.arch, [None])[0] != source.get("tokenizer.ggml.pre"):
        raise SystemExit("only Llamas with SmolLM2's tokenizer, Qwen 2 and Gemma 3 are written")
    folder = hf_write.open_folder(args.folder)
    tensors = list(source.tensors(args.dtype))
    hf_write.weights(folder, tensors, args.shards)
    hf_write.json_file(f"{folder}/config.json", config_of(source, {t[0] for t in tensors}))
    write_text(source, folder)


if __name__ == "__main__":
    main()
