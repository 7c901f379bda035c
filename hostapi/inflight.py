# SPDX-License-Identifier: MIT
"""Inflight from Python: one file, no dependencies.

    from inflight import LLM, SamplingParams
    with LLM(model="model.gguf") as llm:
        for out in llm.generate(["The sky is", "2 + 2 ="], SamplingParams(max_tokens=16)):
            print(out.text, out.finish_reason)

Engine is the library as it is (submit, poll); LLM adds generate, chat and stream. An engine
has one consumer: do not call poll while generate, chat or stream run on another thread.
"""
import asyncio
import ctypes as C
import dataclasses
import json
import logging
import os
import time
from typing import Any, AsyncIterator, Iterable, NamedTuple, Optional, Sequence, Union

ABI = 0x10001
OK, E_ARG, E_BUSY, E_DEADLINE, E_CANCELLED = 0, -3, -6, -8, -9
E_UNSUPPORTED, E_SHUTDOWN = -14, -16
EV_LOAD, EV_READY, EV_TEXT, EV_LOGPROBS, EV_DONE, EV_BUDGET, EV_LOG, EV_DEVICE = range(1, 9)
EVF_LAST, EVF_GAP = 1, 2
CHAT, PROMPT = 0, 1
OVERFLOW_PARK, OVERFLOW_DROP_OLDEST, OVERFLOW_FAIL = range(3)
REQ_NO_COALESCE, INIT_PLAN_ONLY = 1, 1
Q_ERROR, Q_CONFIG, Q_PLAN, Q_MODEL, Q_CAPS, Q_BUILD, Q_STATS = range(1, 8)
CTL_PAUSE, CTL_RESUME, CTL_THREADS, CTL_BATCHING = range(1, 5)
FINISH = {0: "error", 1: "stop", 2: "length", 3: "deadline", 4: "cancel"}
POLL_EVENTS = 64

log = logging.getLogger("inflight")


# The structs of inflight.h, field by field; tests/bindings/layout.py compares them.
class Hdr(C.Structure):
    _fields_ = [("struct_size", C.c_uint32), ("abi", C.c_uint32)]


class Str(C.Structure):
    _fields_ = [("ptr", C.c_char_p), ("len", C.c_uint64)]


class InitParams(C.Structure):
    _fields_ = [("h", Hdr), ("config", Str), ("config_path", Str), ("user", C.c_void_p),
                ("log", C.c_void_p), ("wakeup", C.c_void_p), ("io", C.c_void_p),
                ("alloc", C.c_void_p), ("flags", C.c_uint32), ("reserved", C.c_uint32),
                ("cuda_context", C.c_void_p)]


class Request(C.Structure):
    _fields_ = [("h", Hdr), ("user", C.c_uint64), ("kind", C.c_uint32), ("priority", C.c_uint32),
                ("input", Str), ("options", Str), ("deadline_ns", C.c_uint64),
                ("max_tokens", C.c_uint32), ("overflow", C.c_uint32), ("flags", C.c_uint32),
                ("reserved", C.c_uint32)]


class RawEvent(C.Structure):
    _fields_ = [("struct_size", C.c_uint32), ("type", C.c_uint16), ("flags", C.c_uint16),
                ("req", C.c_uint64), ("user", C.c_uint64), ("seq", C.c_uint64),
                ("time_ns", C.c_uint64), ("data", C.c_void_p), ("data_len", C.c_uint64),
                ("status", C.c_int32), ("n_tokens", C.c_uint32), ("choice", C.c_uint32),
                ("finish", C.c_uint32), ("n_prompt", C.c_uint32), ("n_cached", C.c_uint32),
                ("ttft_ns", C.c_uint64), ("total_ns", C.c_uint64), ("done", C.c_uint64),
                ("total", C.c_uint64)]


class Stats(C.Structure):
    _fields_ = [("h", Hdr)] + [(name, C.c_uint64) for name in (
        "steps", "prompt_tokens", "cached_tokens", "generated_tokens", "step_ns", "batch_rows",
        "kv_pages", "kv_pages_used", "kv_pages_cached", "weights_bytes", "kv_bytes",
        "workspace_bytes", "preemptions")] + [(name, C.c_uint32) for name in (
            "waiting", "running", "parked", "threads")]


class FrameApi(C.Structure):
    _fields_ = [("h", Hdr), ("run_until", C.CFUNCTYPE(C.c_int32, C.c_void_p, C.c_uint64))]


STRUCTS = {"inflight_hdr": Hdr, "inflight_str": Str, "inflight_init_params": InitParams,
           "inflight_request": Request, "inflight_event": RawEvent, "inflight_stats": Stats,
           "inflight_frame_api": FrameApi}


class Event(NamedTuple):
    """One event, copied: it outlives the next poll. Fields as in inflight.h."""
    type: int
    flags: int
    req: int
    user: int
    seq: int
    time_ns: int
    data: str
    status: int
    n_tokens: int
    choice: int
    finish: int
    n_prompt: int
    n_cached: int
    ttft_ns: int
    total_ns: int
    done: int
    total: int


class InflightError(Exception):
    """status: a code of inflight.h; outputs: what a failed generate has nevertheless."""

    def __init__(self, status: int, text: str, outputs: Sequence["Output"] = ()):
        super().__init__(text)
        self.status = status
        self.outputs = list(outputs)


def load_library(path: Optional[str] = None) -> C.CDLL:
    """path, or $INFLIGHT_LIBRARY, or a build beside this file, or the system's search path."""
    built = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "build",
                         "libinflight.so.1")
    path = path or os.environ.get("INFLIGHT_LIBRARY") or (
        built if os.path.exists(built) else "libinflight.so.1")
    lib = C.CDLL(path)
    P, U32, U64, I32 = C.c_void_p, C.c_uint32, C.c_uint64, C.c_int32
    for name, result, arguments in (
            ("get_api", P, [U32]), ("init", I32, [C.POINTER(InitParams), C.POINTER(P)]),
            ("submit", I32, [P, C.POINTER(Request), C.POINTER(U64)]),
            ("poll", I32, [P, C.POINTER(RawEvent), U32, U32, U64]), ("cancel", I32, [P, U64]),
            ("free", I32, [P]), ("event_fd", I32, [P]), ("query", I32, [P, U32, P, U64]),
            ("control", I32, [P, U32, P, U64]), ("extension", P, [C.c_char_p]),
            ("strerror", C.c_char_p, [I32])):
        function = getattr(lib, "inflight_" + name)
        function.restype, function.argtypes = result, arguments
    if not lib.inflight_get_api(ABI):
        raise InflightError(-1, f"{path} serves another major version of the ABI")
    return lib


def _bytes(text: Union[str, bytes, None]) -> Str:
    data = text.encode() if isinstance(text, str) else text or b""
    return Str(data, len(data))


class Engine:
    """An open engine. config: YAML text or a dict of its keys; config_path: or its file.

    The model loads in the background: the events LOAD and READY of poll tell, wait_ready
    waits. submit works at once."""

    def __init__(self, config: Union[str, dict, None] = None,
                 config_path: Optional[str] = None, *, library: Optional[str] = None,
                 plan_only: bool = False, cuda_context: Optional[int] = None):
        """cuda_context: the address of a CUcontext for device cuda to work in, alive until close."""
        self._engine = C.c_void_p()
        self._lib = load_library(library)
        self._raw = (RawEvent * POLL_EVENTS)()
        if isinstance(config, dict):
            config = json.dumps({"version": 1, **config}, ensure_ascii=False)  # JSON is YAML
        params = InitParams(h=Hdr(C.sizeof(InitParams), ABI), config=_bytes(config),
                            config_path=_bytes(config_path),
                            flags=INIT_PLAN_ONLY if plan_only else 0,
                            cuda_context=cuda_context)
        self._check(self._lib.inflight_init(C.byref(params), C.byref(self._engine)))

    def _check(self, status: int) -> int:
        if status < 0:
            text = self.query(Q_ERROR) or self._lib.inflight_strerror(status).decode()
            raise InflightError(status, text)
        return status

    def submit(self, text: str, *, kind: int = PROMPT, options: Union[str, dict, None] = None,
               user: int = 0, priority: int = 0, timeout: Optional[float] = None,
               overflow: int = OVERFLOW_PARK, flags: int = 0) -> int:
        """Queues a request and returns its id. timeout: seconds until its deadline.
        InflightError with E_BUSY: the queue is full, poll and try again."""
        if isinstance(options, dict):
            options = json.dumps(options)
        deadline = time.monotonic_ns() + int(timeout * 1e9) if timeout is not None else 0
        request = Request(h=Hdr(C.sizeof(Request), ABI), user=user, kind=kind, priority=priority,
                          input=_bytes(text), options=_bytes(options), deadline_ns=deadline,
                          overflow=overflow, flags=flags)
        req = C.c_uint64()
        self._check(self._lib.inflight_submit(self._engine, C.byref(request), C.byref(req)))
        return req.value

    def poll(self, timeout: float = 0) -> list[Event]:
        """The events there are; waits up to timeout seconds for the first."""
        n = self._check(self._lib.inflight_poll(self._engine, self._raw, C.sizeof(RawEvent),
                                                POLL_EVENTS, int(timeout * 1e9)))
        return [Event(e.type, e.flags, e.req, e.user, e.seq, e.time_ns,
                      C.string_at(e.data, e.data_len).decode() if e.data_len else "",
                      e.status, e.n_tokens, e.choice, e.finish, e.n_prompt, e.n_cached,
                      e.ttft_ns, e.total_ns, e.done, e.total) for e in self._raw[:n]]

    def cancel(self, req: int) -> None:
        self._check(self._lib.inflight_cancel(self._engine, req))

    def control(self, op: int, value: Optional[int] = None) -> None:
        number = C.c_uint32(value or 0)
        given = value is not None
        self._check(self._lib.inflight_control(
            self._engine, op, C.byref(number) if given else None, 4 if given else 0))

    def run_for(self, seconds: Optional[float] = None) -> None:
        """From now the engine computes for so long, then takes no time until the next call; None:
        without an end, as at first. A loop calls it behind each frame with what is left until the
        next, less 0.0003. Events come only while it computes; close does not wait for a call."""
        table = self._lib.inflight_extension(b"inflight.frame/1")
        if not table:
            raise InflightError(E_UNSUPPORTED, "this library has no inflight.frame/1")
        until = 2**64 - 1 if seconds is None else time.monotonic_ns() + int(seconds * 1e9)
        self._check(FrameApi.from_address(table).run_until(self._engine, until))

    def query(self, what: int) -> str:
        """A text answer (Q_*), "" if there is none."""
        size = 512
        while True:
            out = C.create_string_buffer(size)
            n = self._lib.inflight_query(self._engine, what, out, size)
            if n < size:
                return out.value.decode(errors="replace") if n > 0 else ""
            size = n + 1

    def stats(self) -> Stats:
        stats = Stats(h=Hdr(C.sizeof(Stats), ABI))
        self._check(self._lib.inflight_query(self._engine, Q_STATS, C.byref(stats),
                                             C.sizeof(Stats)))
        return stats

    def fileno(self) -> int:
        """Readable while poll has events: for select, epoll and asyncio."""
        return self._check(self._lib.inflight_event_fd(self._engine))

    def close(self) -> None:
        """Cancels everything, joins the threads, releases the memory. Blocks."""
        engine, self._engine = self._engine, C.c_void_p()
        if engine:
            self._lib.inflight_free(engine)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __del__(self):
        if getattr(self, "_lib", None):
            self.close()


@dataclasses.dataclass
class SamplingParams:
    """OpenAI's names; None: the default of the configuration."""
    max_tokens: Optional[int] = None
    min_tokens: Optional[int] = None
    temperature: Optional[float] = None
    top_p: Optional[float] = None
    top_k: Optional[int] = None
    min_p: Optional[float] = None
    repetition_penalty: Optional[float] = None
    presence_penalty: Optional[float] = None
    frequency_penalty: Optional[float] = None
    logit_bias: Optional[dict] = None
    seed: Optional[int] = None
    stop: Union[str, list, None] = None
    stop_token_ids: Optional[list] = None
    ignore_eos: Optional[bool] = None
    skip_special_tokens: Optional[bool] = None
    n: Optional[int] = None
    logprobs: Optional[bool] = None
    top_logprobs: Optional[int] = None

    def options(self) -> dict:
        return {key: value for key, value in vars(self).items() if value is not None}


@dataclasses.dataclass
class Choice:
    index: int
    text: str = ""
    n_tokens: int = 0
    finish_reason: Optional[str] = None
    logprobs: list = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Output:
    """The answer to one prompt. text and finish_reason are those of the first choice."""
    prompt: Any
    outputs: list = dataclasses.field(default_factory=list)
    status: Optional[int] = None  # None until it has ended
    error: str = ""
    n_tokens: int = 0
    n_prompt: int = 0
    n_cached: int = 0
    ttft: float = 0.0  # seconds
    total: float = 0.0

    @property
    def text(self) -> str:
        return self.outputs[0].text if self.outputs else ""

    @property
    def finish_reason(self) -> Optional[str]:
        return self.outputs[0].finish_reason if self.outputs else None

    def choice(self, index: int) -> Choice:
        while len(self.outputs) <= index:
            self.outputs.append(Choice(len(self.outputs)))
        return self.outputs[index]

    def take(self, event: Event) -> None:
        choice = self.choice(event.choice)
        if event.type == EV_TEXT:
            choice.text += event.data
            choice.n_tokens += event.n_tokens
            if event.flags & EVF_LAST:
                choice.finish_reason = FINISH.get(event.finish, "error")
        elif event.type == EV_LOGPROBS:
            choice.logprobs.append(json.loads(event.data))
        elif event.type == EV_DONE:
            choice.finish_reason = choice.finish_reason or FINISH.get(event.finish, "error")
            self.status, self.error, self.n_tokens = event.status, event.data, event.n_tokens
            self.n_prompt, self.n_cached = event.n_prompt, event.n_cached
            self.ttft, self.total = event.ttft_ns / 1e9, event.total_ns / 1e9

    def failed(self) -> bool:
        return self.status not in (None, OK, E_DEADLINE, E_CANCELLED)


Prompt = Union[str, list, dict]  # a list or dict: OpenAI's messages


class LLM(Engine):
    """LLM(model="model.gguf", device={"threads": 4}) or
    LLM(config_path="engine.yaml").

    The keywords are the sections of the configuration; model may be just its path, that of a
    GGUF file or of a Hugging Face folder."""

    def __init__(self, model: Union[str, dict, None] = None, *,
                 config_path: Optional[str] = None, library: Optional[str] = None,
                 cuda_context: Optional[int] = None, **sections):
        if model is not None:
            sections["model"] = {"path": model} if isinstance(model, str) else model
        if bool(sections) == bool(config_path):
            raise ValueError("give either model=... or config_path=...")
        self._sinks: dict = {}  # user -> function of an event
        self._next_user = 1
        self._ready: Optional[Event] = None
        super().__init__(sections or None, config_path, library=library, cuda_context=cuda_context)

    def _dispatch(self, timeout: float) -> None:
        for event in self.poll(timeout):
            if event.type == EV_READY:
                self._ready = event
            elif event.type == EV_LOG:
                level = (logging.ERROR, logging.WARNING, logging.INFO, logging.DEBUG)
                log.log(level[min(max(event.status, 0), 3)], "%s", event.data)
            sink = self._sinks.get(event.user) if event.req else None
            if sink:
                sink(event)

    def wait_ready(self) -> dict:
        """Waits for the model; what READY says of it. InflightError if loading failed."""
        while self._ready is None:
            self._dispatch(1.0)
        if self._ready.status < 0:
            raise InflightError(self._ready.status, self._ready.data)
        return json.loads(self._ready.data)

    def _start(self, prompt: Prompt, params: Optional[SamplingParams], sink, **more) -> tuple:
        """Submits with sink as the receiver of its events; (user, id), or None if busy."""
        user, self._next_user = self._next_user, self._next_user + 1
        text = prompt if isinstance(prompt, str) else json.dumps(prompt)
        more.setdefault("kind", PROMPT if isinstance(prompt, str) else CHAT)
        self._sinks[user] = sink
        try:
            return user, self.submit(text, options=params.options() if params else None, user=user,
                                     **more)
        except InflightError as error:
            del self._sinks[user]
            if error.status != E_BUSY:
                raise
            return None

    def generate(self, prompts: Union[Prompt, Iterable[Prompt]],
                 params: Union[SamplingParams, Sequence[SamplingParams], None] = None,
                 **more) -> list[Output]:
        """Answers all prompts together, in their order. A text is completed as it is; messages
        are a list of dicts. Raises when one fails; the exception has all outputs."""
        if isinstance(prompts, (str, dict)) or (prompts and isinstance(prompts, list) and
                                                isinstance(prompts[0], dict)):
            prompts = [prompts]
        outputs = [Output(prompt) for prompt in prompts]
        each = params if isinstance(params, (list, tuple)) else [params] * len(outputs)
        if len(each) != len(outputs):
            raise ValueError(f"{len(outputs)} prompts, {len(each)} params")
        waiting = list(zip(outputs, each))[::-1]
        started: dict = {}  # user -> (id, output)
        try:
            while waiting or started:
                while waiting:
                    ticket = self._start(waiting[-1][0].prompt, waiting[-1][1],
                                         waiting[-1][0].take, **more)
                    if not ticket:
                        break
                    started[ticket[0]] = (ticket[1], waiting.pop()[0])
                self._dispatch(1.0)
                for user in [u for u, (_, output) in started.items() if output.status is not None]:
                    del started[user], self._sinks[user]
        finally:
            for user, (req, _) in started.items():  # only after an exception
                self._abandon(user, req)
        for output in outputs:
            if output.failed():
                raise InflightError(output.status, output.error, outputs)
        return outputs

    def chat(self, messages: Union[str, list, dict], params: Optional[SamplingParams] = None,
             **more) -> Output:
        """One answer to OpenAI's messages, or to a text as one message of the user."""
        text = messages if isinstance(messages, str) else json.dumps(messages)
        return self.generate([text], params, kind=CHAT, **more)[0]

    def _abandon(self, user: int, req: int) -> None:
        self._sinks.pop(user, None)
        if self._engine:
            self._lib.inflight_cancel(self._engine, req)

    async def stream(self, prompt: Prompt, params: Optional[SamplingParams] = None,
                     **more) -> AsyncIterator[str]:
        """async for text in llm.stream(...): the first choice's text as it comes. Any number
        at once on one event loop. Leaving the loop early cancels the request."""
        loop = asyncio.get_running_loop()
        events: asyncio.Queue = asyncio.Queue()
        fd = self.fileno()
        loop.add_reader(fd, self._dispatch, 0)
        ticket = None
        try:
            while not (ticket := self._start(prompt, params, events.put_nowait, **more)):
                await asyncio.sleep(0.005)
            while True:
                event = await events.get()
                if event.type == EV_TEXT and event.choice == 0:
                    yield event.data
                elif event.type == EV_DONE:
                    self._sinks.pop(ticket[0], None)
                    ticket = None
                    if event.status not in (OK, E_DEADLINE, E_CANCELLED):
                        raise InflightError(event.status, event.data)
                    return
        finally:
            if ticket:
                self._abandon(*ticket)
            if not self._sinks and self._engine:
                loop.remove_reader(fd)
