"""Small models of Hugging Face's code with random weights, what transformers makes of a folder, and
what the engine makes of it (others/read.c). Runs where torch and transformers are."""
import os
import subprocess
import sys

sys.path.append(os.path.join(os.path.dirname(__file__), "..", "model"))
import hf_write
import torch
import transformers
from compressed_tensors.quantization import disable_quantization

BUILD = sys.argv[1] if len(sys.argv) > 1 else "build"
QUANTIZE, READ = f"{BUILD}/bin/inflight-quantize", f"{BUILD}/tests/others/read"

# Bytes alone: each is a token in GPT-2's alphabet.
VISIBLE = [*range(33, 127), *range(161, 173), *range(174, 256)]
OTHERS = [b for b in range(256) if b not in VISIBLE]
TOKENS = [chr(b) if b in VISIBLE else chr(256 + OTHERS.index(b)) for b in range(256)]
TOKENS += ["<s>", "</s>", "<pad>", "<unk>", "<a>", "<b>", "<c>", "<d>"]
IDS = [(37 * i + 11) % 256 for i in range(48)]

# Rows of k and v are no multiple of the 128 of a block.
FAMILIES = {
    "llama": {"num_attention_heads": 8, "num_key_value_heads": 2},
    "qwen2": {"num_attention_heads": 8, "num_key_value_heads": 2, "tie_word_embeddings": True},
    "qwen3": {"num_attention_heads": 6, "num_key_value_heads": 3, "head_dim": 64},
    "phi3": {"num_attention_heads": 8, "num_key_value_heads": 2, "sliding_window": 16},
    "gemma2": {"num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 64,
               "sliding_window": 16, "query_pre_attn_scalar": 64, "tie_word_embeddings": True},
    "gemma3": {"num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 64,
               "sliding_window": 16, "query_pre_attn_scalar": 64, "tie_word_embeddings": True,
               "layer_types": ["sliding_attention", "full_attention"]},
    "bloom": {"num_attention_heads": 8, "tie_word_embeddings": True, "intermediate_size": 1024},
    "falcon": {"num_attention_heads": 8, "tie_word_embeddings": True, "intermediate_size": 1024},
    "gptneox": {"num_attention_heads": 8},
    "gptj": {"num_attention_heads": 8, "rotary_dim": 16, "n_inner": 512, "intermediate_size": 512},
    "mpt": {"num_attention_heads": 8, "tie_word_embeddings": True, "expansion_ratio": 4},
    "phi2": {"num_attention_heads": 4},
    "mixtral": {"num_attention_heads": 8, "num_key_value_heads": 2, "num_local_experts": 4,
                "num_experts_per_tok": 2},
    "qwen3moe": {"num_attention_heads": 6, "num_key_value_heads": 3, "head_dim": 64,
                 "num_experts": 8, "num_experts_per_tok": 3, "moe_intermediate_size": 128},
    "qwen2moe": {"num_attention_heads": 8, "num_key_value_heads": 2, "num_experts": 8,
                 "num_experts_per_tok": 3, "moe_intermediate_size": 128,
                 "shared_expert_intermediate_size": 256},
    "glm4moe": {"num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 64,
                "n_routed_experts": 8, "num_experts_per_tok": 3, "moe_intermediate_size": 128,
                "n_shared_experts": 2, "first_k_dense_replace": 1, "attention_bias": True},
    "cohere2": {"num_attention_heads": 8, "num_key_value_heads": 2, "sliding_window": 16,
                "tie_word_embeddings": True, "logit_scale": 0.25,
                "layer_types": ["sliding_attention", "full_attention"]},
    "glm4": {"num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 64},
    "granite": {"num_attention_heads": 8, "num_key_value_heads": 2, "embedding_multiplier": 3.0,
                "residual_multiplier": 0.5, "attention_multiplier": 0.25, "logits_scaling": 2.0},
    "nemotron": {"num_attention_heads": 8, "num_key_value_heads": 2},
    "olmo3": {"num_attention_heads": 8, "num_key_value_heads": 2, "sliding_window": 16,
              "layer_types": ["sliding_attention", "full_attention"]},
    "starcoder2": {"num_attention_heads": 8, "num_key_value_heads": 2},
}
CLASS = {"llama": "Llama", "qwen2": "Qwen2", "qwen3": "Qwen3", "phi3": "Phi3",
         "gemma2": "Gemma2", "gemma3": "Gemma3", "bloom": "Bloom", "falcon": "Falcon",
         "gptneox": "GPTNeoX", "gptj": "GPTJ", "mpt": "Mpt", "phi2": "Phi",
         "mixtral": "Mixtral", "qwen3moe": "Qwen3Moe", "qwen2moe": "Qwen2Moe",
         "glm4moe": "Glm4Moe", "cohere2": "Cohere2", "glm4": "Glm4",
         "granite": "Granite", "nemotron": "Nemotron", "olmo3": "Olmo3", "starcoder2": "Starcoder2"}


def make_model(family, folder, **more):
    """Writes it as transformers does, in bf16 and with a tokenizer; returns the model."""
    torch.manual_seed(sum(map(ord, family)))
    name = CLASS[family]
    keys = {"tie_word_embeddings": False, "rms_norm_eps": 1e-5, "intermediate_size": 384,
            **FAMILIES[family], **more}
    config = getattr(transformers, name + ("TextConfig" if family == "gemma3" else "Config"))(
        vocab_size=len(TOKENS), hidden_size=256, num_hidden_layers=2,
        max_position_embeddings=256, initializer_range=0.06, bos_token_id=256, eos_token_id=257,
        pad_token_id=None, attn_implementation="eager", **keys)
    model = getattr(transformers, name + "ForCausalLM")(config).eval()
    with torch.no_grad():
        for key, value in model.named_parameters():
            if key.endswith("weight") and ("norm" in key or ".ln_" in key):
                value.uniform_(0.5, 1.5)
            elif key.endswith("bias"):
                value.normal_(0, 0.1)
    model = model.bfloat16()
    model.save_pretrained(folder)
    write_tokenizer(folder)
    return model


def write_tokenizer(folder):
    hf_write.tokenizer(folder, TOKENS, [1] * 256 + [3] * (len(TOKENS) - 256), [])


def matrices(model):
    """Names and shapes of the layers' matrices and the head's."""
    return {name: (module.out_features, module.in_features) for name, module in
            model.named_modules() if isinstance(module, torch.nn.Linear)}


def layers_of(model):
    """But for routers and the like."""
    return {name: shape for name, shape in matrices(model).items()
            if name != "lm_head" and not name.endswith("shared_expert_gate")}


def quantize(model, out, *options):
    done = subprocess.run([QUANTIZE, model, "-o", out, "--quiet", *options],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


def ours(folder, shapes=None):
    """The engine's logits (ids, vocabulary), its matrices by name, and their formats."""
    shapes = shapes or {}
    arguments = [str(x) for name, shape in shapes.items() for x in (name, *shape)]
    done = subprocess.run([READ, folder, ",".join(map(str, IDS)), *arguments],
                          capture_output=True, check=False)
    if done.returncode:
        raise AssertionError(f"the engine refuses it: {done.stderr.decode()}")
    numbers = torch.frombuffer(bytearray(done.stdout), dtype=torch.float32)
    sizes = [len(IDS) * len(TOKENS), *(n * k for n, k in shapes.values())]
    logits, *rows = numbers.split(sizes)
    formats = dict(line.split() for line in done.stderr.decode().splitlines())
    return (logits.reshape(len(IDS), -1),
            {name: r.reshape(shape) for (name, shape), r in zip(shapes.items(), rows)}, formats)


def logits_of(model):
    with torch.no_grad():
        return model(torch.tensor([IDS])).logits[0].float()


def off(got, want):
    """Largest difference over the root mean square, as in families.c."""
    return float((got - want).abs().max() / want.square().mean().sqrt())


# Of families.c: float32 by another order of sums. Measured: at most 1e-5.
BOUND = 5e-5


def opened(folder, dtype=torch.float32):
    """By transformers, with matrices dequantized; inputs of matrices are quantized as the folder
    says until as_weights_alone."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype,
                                                              attn_implementation="eager").eval()
    model.get_output_embeddings().to(dtype)  # that of GPT-NeoX is read under another name
    logits_of(model)  # the first pass is what dequantizes
    return model


def as_weights_alone(model):
    model.apply(disable_quantization)
    return model


def check(folder, formats, shapes):
    """Numbers and logits; returns the model as transformers has it."""
    logits, rows, found = ours(folder, shapes)
    assert set(found.values()) == set(formats), found
    model = opened(folder)
    with_activations = logits_of(model)
    for name, want in rows.items():
        got = model.get_submodule(name).weight.detach()
        differ = int((got != want).sum())
        assert got.dtype == torch.float32 and differ == 0, \
            f"{folder}: {differ} of {want.numel()} numbers of {name} differ"
    error = off(logits, logits_of(as_weights_alone(model)))
    print(f"  {os.path.basename(folder):28s} logits off by {error:.1e}")
    assert error < BOUND, f"{folder}: logits off by {error}"
    return model, with_activations
