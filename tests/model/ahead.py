#!/usr/bin/env python3
"""A device that chooses tokens itself, step ahead of step, gives the text that the host chooses.

    tests/model/ahead.py LIB MODEL.gguf [DEVICE] [TOKENS]

With log probabilities the host chooses, from the same logits and with the same generator. Each
kind of sampling is asked for both ways, many requests at once, and the texts must be the same.
"""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "hostapi"))
import inflight  # noqa: E402

OPTIONS = (
    {"temperature": 0},
    {"temperature": 0.9, "seed": 1},
    {"temperature": 1.2, "seed": 2, "top_k": 20},
    {"temperature": 1.1, "seed": 3, "top_p": 0.8},
    {"temperature": 1.0, "seed": 4, "min_p": 0.05},
    {"temperature": 1.3, "seed": 5, "top_k": 50, "top_p": 0.9, "min_p": 0.01},
    {"temperature": 0, "repetition_penalty": 1.3},
    {"temperature": 0.8, "seed": 6, "presence_penalty": 0.6, "frequency_penalty": 0.4},
    {"temperature": 0, "min_tokens": 8, "logit_bias": {"40": 2.5, "41": -100}},
    {"temperature": 1.0, "seed": 7, "n": 3},
)
PROMPTS = ("The sea is", "Once upon a time there was a small", "import os\n\ndef main():\n",
           "Q: What is gravity?\nA:")


def run(engine, requests):
    """The text of each request's choices; all at once."""
    text, left = {}, {}
    for i, (prompt, options) in enumerate(requests):
        left[engine.submit(prompt, options=options, user=i)] = i
    while left:
        for event in engine.poll(60):
            if event.type == inflight.EV_TEXT:
                key = event.user, event.choice
                text[key] = text.get(key, "") + event.data
            elif event.type == inflight.EV_DONE:
                if event.status:
                    sys.exit(f"request {event.user}: {event.status} {event.data}")
                del left[event.req]
    return text


def main():
    library, model = sys.argv[1:3]
    device = sys.argv[3] if len(sys.argv) > 3 else "cuda"
    tokens = int(sys.argv[4]) if len(sys.argv) > 4 else 24
    config = {"model": {"path": str(pathlib.Path(model).resolve()), "context": 256},
              "device": {"kind": device}}
    requests = [(prompt, {**options, "max_tokens": tokens})
                for options in OPTIONS for prompt in PROMPTS]
    host = [(prompt, {**options, "logprobs": True}) for prompt, options in requests]
    with inflight.Engine(config, library=library) as engine:
        ahead, at_once = run(engine, requests), run(engine, host)
    wrong = [key for key in at_once if ahead.get(key) != at_once[key]]
    for user, choice in wrong[:10]:
        print(f"{requests[user]}, choice {choice}:\n  {ahead.get((user, choice))!r}\n"
              f"  {at_once[user, choice]!r}")
    print(f"{len(at_once) - len(wrong)} of {len(at_once)} texts are the same")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
