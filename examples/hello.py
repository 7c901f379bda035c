#!/usr/bin/env python3
"""Two prompts answered together, then one conversation streamed.

usage: hello.py [MODEL]"""
import asyncio
import os
import sys

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
sys.path.insert(0, os.path.join(ROOT, "hostapi"))
from inflight import LLM, SamplingParams  # noqa: E402


async def talk(llm):
    messages = [{"role": "user", "content": "Name three colours."}]
    async for text in llm.stream(messages, SamplingParams(max_tokens=48)):
        print(text, end="", flush=True)
    print()


def main():
    if sys.argv[1:] in (["-h"], ["--help"]):
        return print(__doc__)
    model = sys.argv[1] if len(sys.argv) > 1 else os.path.join(
        ROOT, "build", "models", "SmolLM2-135M-Instruct.Q4_1.gguf")
    with LLM(model=model) as llm:
        prompts = ["The capital of France is", "Water boils at"]
        for out in llm.generate(prompts, SamplingParams(max_tokens=24, temperature=0)):
            print(f"{out.prompt!r} -> {out.text!r} ({out.n_tokens} tokens, {out.finish_reason})")
        asyncio.run(talk(llm))


main()
