#!/usr/bin/env python3
"""The Python binding: answers, streams, errors, slices of time. usage: binding.py LIBRARY MODEL"""
import asyncio
import os
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "hostapi"))
import inflight  # noqa: E402
from inflight import LLM, InflightError, SamplingParams  # noqa: E402

LIBRARY, MODEL = sys.argv[1:]
GREEDY = SamplingParams(max_tokens=12, temperature=0, ignore_eos=True)
QUESTION = [{"role": "user", "content": "Name three colours."}]


def opened(**more):
    return LLM(model=MODEL, library=LIBRARY, **more)


def texts_are_answered_in_their_order():
    with opened() as llm:
        together = llm.generate(["The capital of France is", "Water boils at"], GREEDY)
        alone = llm.generate(["Water boils at"], GREEDY)[0]
    assert [out.n_tokens for out in together] == [12, 12], together
    assert together[1].text == alone.text and together[0].text != alone.text, together
    assert alone.finish_reason == "length" and alone.n_prompt > 2, alone


def a_stream_is_the_answer_in_pieces():
    async def pieces(llm):
        return [text async for text in llm.stream(QUESTION, GREEDY)]

    with opened() as llm:
        whole, streamed = llm.chat(QUESTION, GREEDY).text, asyncio.run(pieces(llm))
    assert whole and "".join(streamed) == whole, (streamed, whole)


def what_is_refused_says_why():
    with LLM(model="no/such.gguf", library=LIBRARY) as llm:
        try:
            llm.wait_ready()
        except InflightError as error:
            assert "no/such.gguf" in str(error) and error.status < 0, error
        else:
            raise AssertionError("a model that is not there was loaded")
    try:
        opened(device={"threads": -1})
    except InflightError as error:
        assert "threads" in str(error), error
    else:
        raise AssertionError("-1 threads were accepted")


def a_cancelled_request_ends():
    with opened() as llm:
        req = llm.submit("Once upon a time", options={"max_tokens": 5000, "ignore_eos": True})
        llm.cancel(req)
        events = []
        while not any(event.type == inflight.EV_DONE for event in events):
            events += llm.poll(1)
    assert events[-1].req == req and events[-1].status == inflight.E_CANCELLED, events[-1]


def it_computes_in_slices():
    with opened() as llm:
        llm.wait_ready()
        llm.run_for(0)
        llm.submit("The sky is", options={"max_tokens": 30, "ignore_eos": True})
        begun, events = time.monotonic(), []
        assert llm.poll(0.1) == [] and time.monotonic() - begun > 0.09
        for _ in range(1000):
            if any(event.type == inflight.EV_DONE for event in events):
                break
            llm.run_for(0.004)
            time.sleep(0.008)
            events += llm.poll()
        assert events and events[-1].type == inflight.EV_DONE and events[-1].n_tokens == 30, events
        llm.run_for()
        assert llm.generate(["The sky is"], GREEDY)[0].n_tokens == 12


for test in (texts_are_answered_in_their_order, a_stream_is_the_answer_in_pieces,
             what_is_refused_says_why, a_cancelled_request_ends, it_computes_in_slices):
    test()
    print("ok   bindings: python,", test.__name__.replace("_", " "), flush=True)
