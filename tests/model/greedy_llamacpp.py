#!/usr/bin/env python3
"""Writes greedy.json: what llama.cpp answers greedily, to compare with our own text.

    pip install llama-cpp-python jinja2
    tests/model/greedy_llamacpp.py MODEL.gguf > tests/model/greedy.json

Ten prompts, 64 tokens each (fewer if the model ends). The file is first written out in
F32, so that llama.cpp computes with float activations: with 4-bit weights it rounds them to
8 bits, which decides about one token in thirty of this small model differently. gap[i] is
the difference between the two largest logits at token i.
"""
import ctypes
import json
import os
import sys
import tempfile

import jinja2
import llama_cpp

CHATS = [
    "What is the capital of France?",
    "Write a short poem about the sea.",
    "Explain in two sentences why the sky is blue.",
    "List three uses of a paper clip.",
    "Translate 'good morning' into Spanish and Italian.",
]
TEXTS = [
    "Once upon a time, in a village by the sea, there lived",
    "def fibonacci(n):\n    ",
    "The three laws of thermodynamics are:\n1.",
    "In 1969, the first humans",
    "Ingredients for pancakes:\n- 2 eggs\n-",
]
N = 64


def render(model, user):
    template = model.metadata["tokenizer.chat_template"]
    env = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    return env.from_string(template).render(
        messages=[{"role": "user", "content": user}], add_generation_prompt=True,
        bos_token="<|im_start|>", eos_token="<|im_end|>")


def generate(model, prompt, special):
    ids = model.tokenize(prompt.encode(), add_bos=False, special=special)
    model.reset()
    model.eval(ids)
    out, gaps = [], []
    for _ in range(N):
        pointer = llama_cpp.llama_get_logits(model.ctx)
        logits = ctypes.cast(pointer, ctypes.POINTER(ctypes.c_float * model.n_vocab())).contents
        best, second = sorted(logits, reverse=True)[:2]
        token = max(range(len(logits)), key=logits.__getitem__)
        gaps.append(round(best - second, 4))
        if llama_cpp.llama_vocab_is_eog(model._model.vocab, token):
            break
        out.append(token)
        model.eval([token])
    return ids, out, gaps


def main():
    exact = os.path.join(tempfile.mkdtemp(), "f32.gguf")
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype, params.allow_requantize = 0, True
    if llama_cpp.llama_model_quantize(sys.argv[1].encode(), exact.encode(), ctypes.byref(params)):
        sys.exit("llama.cpp could not write the file in F32")
    model = llama_cpp.Llama(exact, n_ctx=512, n_threads=1, verbose=False)
    rows = []
    for kind, texts in (("chat", CHATS), ("prompt", TEXTS)):
        for text in texts:
            prompt = render(model, text) if kind == "chat" else text
            ids, out, gaps = generate(model, prompt, kind == "chat")
            answer = model.detokenize(out).decode("utf-8", "replace")
            rows.append({"kind": kind, "input": text, "prompt": prompt, "prompt_ids": ids,
                         "ids": out, "text": answer, "gap": gaps})
    json.dump({"engine": "llama-cpp-python " + llama_cpp.__version__, "rows": rows}, sys.stdout,
              indent=None, ensure_ascii=False, separators=(",", ":"))
    print()
    os.remove(exact)


if __name__ == "__main__":
    main()
