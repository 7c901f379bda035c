/* SPDX-License-Identifier: MIT
 *
 * Inflight: an LLM engine inside your program. ABI 1.1.
 *
 * One shared object, four verbs: init, submit, poll, free. An engine is a model
 * with its memory and its own threads; a request is a prompt given to it; events
 * carry the text back. init returns at once and loads in the background; submit
 * is legal before loading has ended.
 *
 * Threads. Each function carries a tag. [any thread, bounded] functions never
 * wait for the engine, for I/O or for another host thread's work. poll has one
 * consumer at a time: a second concurrent call returns INFLIGHT_E_BUSY.
 *
 * Contract of events:
 *   init   OK -> LOAD* -> READY          READY exactly once; status < 0: loading failed
 *   submit OK -> (TEXT | LOGPROBS)* -> DONE   DONE exactly once and last, whatever happens
 * If loading fails, every queued and later request gets a DONE with that status.
 * After free returns no event is delivered and every id is stale.
 *
 * Memory. The library copies what it is given before it returns. What an event
 * points to stays valid until the next poll on the same engine. Nothing that one
 * side allocates is released by the other.
 *
 * Growth. Every struct begins with inflight_hdr. A struct longer than the
 * library knows is accepted when the unknown tail is all zero, otherwise
 * INFLIGHT_E_NEWER; a shorter one has zeros in the missing fields. Zero always
 * means "the default". Fields are only ever appended.
 *
 * The header is plain C11 and C++11 for 64-bit systems: no bit fields, unions,
 * varargs, enums in signatures or structs by value, so that any FFI reads it.
 */
#ifndef INFLIGHT_H
#define INFLIGHT_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define INFLIGHT_ABI_MAJOR 1u
#define INFLIGHT_ABI_MINOR 1u
#define INFLIGHT_ABI       ((INFLIGHT_ABI_MAJOR << 16) | INFLIGHT_ABI_MINOR)

/* "Length" of a NUL-terminated string. */
#define INFLIGHT_NTS UINT64_MAX

#if defined(INFLIGHT_BUILD)
#define INFLIGHT_API __attribute__((visibility("default")))
#else
#define INFLIGHT_API
#endif

/* Status codes: stable numbers, 0 or negative. The sentence that belongs to a
 * failure, with its numbers, is inflight_query(engine, INFLIGHT_Q_ERROR). */
enum {
    INFLIGHT_OK = 0,
    INFLIGHT_E_ABI = -1,          /* another major version of this ABI */
    INFLIGHT_E_NEWER = -2,        /* a field this library does not know is set */
    INFLIGHT_E_ARG = -3,          /* a NULL, a bad size, a value out of range */
    INFLIGHT_E_CONFIG = -4,       /* the YAML is refused; the text says file:line:column */
    INFLIGHT_E_NOMEM = -5,        /* out of memory, or over the configured budget */
    INFLIGHT_E_BUSY = -6,         /* queue full, or poll is running on another thread */
    INFLIGHT_E_STALE = -7,        /* this id names nothing any more */
    INFLIGHT_E_DEADLINE = -8,     /* the request's deadline passed */
    INFLIGHT_E_CANCELLED = -9,    /* cancelled by the host */
    INFLIGHT_E_IO = -10,          /* a file cannot be opened or read */
    INFLIGHT_E_MODEL = -11,       /* the model file is damaged or not supported */
    INFLIGHT_E_DEVICE = -12,      /* the device failed */
    INFLIGHT_E_STATE = -13,       /* not possible in the engine's present state */
    INFLIGHT_E_UNSUPPORTED = -14, /* this build or model cannot do that */
    INFLIGHT_E_FORKED = -15,      /* called in a child of fork() */
    INFLIGHT_E_SHUTDOWN = -16,    /* the engine is being freed */
    INFLIGHT_E_OVERFLOW = -17,    /* the host did not poll and the request asked to fail then */
    INFLIGHT_E_TOO_LONG = -18,    /* prompt plus one token do not fit the context */
    INFLIGHT_E_INTERNAL = -19     /* our fault */
};

/* Event types. */
enum {
    INFLIGHT_EV_LOAD = 1, /* progress: done of total bytes; data: the stage; at most 30 a second */
    INFLIGHT_EV_READY =
        2, /* status; data: JSON {"device","model","threads","context",...} or error; with
            * "fallback" if device.kind is auto and a device before that one cannot serve: why; with
            * "packed_cache" if the configuration names one: "mapped", "written", "refused" where it
            * can be neither, "unused" by devices that do not keep weights */
    INFLIGHT_EV_TEXT = 3,     /* data: whole UTF-8 code points; n_tokens */
    INFLIGHT_EV_LOGPROBS = 4, /* data: JSON object of one token, OpenAI's field names */
    INFLIGHT_EV_DONE = 5,     /* status, finish, counts, times; data: error sentence or empty */
    INFLIGHT_EV_BUDGET = 6,   /* a control took effect: status, done = value now in force */
    INFLIGHT_EV_LOG = 7,      /* data: one line; status: level. Only without a log hook */
    INFLIGHT_EV_DEVICE = 8    /* the device was lost. Status 0: the model is on the next one of
                               * device.kind auto, data as in READY; otherwise every request is
                               * answered with the status, data: a sentence */
};

/* Event flags. */
enum {
    INFLIGHT_EVF_LAST = 1, /* TEXT, only if n > 1: this choice has ended, see finish */
    INFLIGHT_EVF_GAP = 2   /* TEXT: older text was dropped before this, done = bytes lost so far */
};

/* Why a request or choice ended. */
enum {
    INFLIGHT_FINISH_NONE = 0,     /* not by itself: see status */
    INFLIGHT_FINISH_STOP = 1,     /* end token or a stop string */
    INFLIGHT_FINISH_LENGTH = 2,   /* max_tokens, or the context is full */
    INFLIGHT_FINISH_DEADLINE = 3, /* deadline passed; the partial text has been delivered */
    INFLIGHT_FINISH_CANCEL = 4
};

/* Kinds of request input. */
enum {
    INFLIGHT_CHAT = 0,  /* input: OpenAI's messages, a JSON array or {"messages": [...]}, or plain
                           text, taken as one user message */
    INFLIGHT_PROMPT = 1 /* input: raw text, given to the model as it is */
};

/* What happens when the host does not poll and a request's stream buffer is full. */
enum {
    INFLIGHT_OVERFLOW_PARK = 0,        /* leave the batch until the buffer is half empty */
    INFLIGHT_OVERFLOW_DROP_OLDEST = 1, /* keep generating, mark the gap */
    INFLIGHT_OVERFLOW_FAIL = 2         /* DONE with INFLIGHT_E_OVERFLOW */
};

/* Request flags. */
enum {
    INFLIGHT_REQ_NO_COALESCE = 1 /* one TEXT event per token instead of per poll */
};

/* Init flags. */
enum {
    INFLIGHT_INIT_PLAN_ONLY = 1 /* read the headers, answer queries, load nothing */
};

/* What to query. Text answers are UTF-8; see inflight_query. */
enum {
    INFLIGHT_Q_ERROR = 1,  /* text: the last error of this engine (NULL: of this thread's init) */
    INFLIGHT_Q_CONFIG = 2, /* text: the normalised configuration, YAML */
    INFLIGHT_Q_PLAN =
        3, /* text: the memory plan, JSON; exact, known before anything is allocated */
    INFLIGHT_Q_MODEL = 4, /* text: facts about the model, JSON */
    INFLIGHT_Q_CAPS = 5,  /* text: what this build can do, JSON array; engine may be NULL */
    INFLIGHT_Q_BUILD = 6, /* text: version, compiler, instruction sets, JSON; engine may be NULL */
    INFLIGHT_Q_STATS = 7  /* out: inflight_stats, O(1) */
};

/* Controls. in points to a uint32_t unless said otherwise. */
enum {
    INFLIGHT_CTL_PAUSE = 1,  /* 0: stop stepping, keep everything; 1: also release the workspace */
    INFLIGHT_CTL_RESUME = 2, /* in: NULL */
    INFLIGHT_CTL_THREADS =
        3, /* compute threads from the next step on, 1 .. the configured number */
    INFLIGHT_CTL_BATCHING =
        4 /* 0: in-flight; 1: static (a batch starts only when the last ended) */
};

/* First member of every struct: its size as the caller compiled it, and INFLIGHT_ABI. */
typedef struct inflight_hdr {
    uint32_t struct_size;
    uint32_t abi;
} inflight_hdr;

/* Bytes with a length; len may be INFLIGHT_NTS. Text is UTF-8. */
typedef struct inflight_str {
    const char *ptr;
    uint64_t len;
} inflight_str;

typedef struct inflight_engine inflight_engine; /* opaque */

/* Names one accepted request: slot and generation, never 0, never reused soon.
 * A stale id is an error, not a crash. */
typedef uint64_t inflight_req;

/* Optional: read files out of an archive. Every call may come from any engine
 * thread; reads are positional, so one handle serves several threads. */
typedef struct inflight_io {
    inflight_hdr h;
    void *user;
    /* NULL: not found. *size: bytes of the file. */
    void *(*open)(void *user, const char *path, uint64_t *size);
    /* Bytes read, 1 .. n; 0: the file has ended; negative: an error. */
    int64_t (*pread)(void *user, void *file, void *dst, uint64_t n, uint64_t offset);
    void (*close)(void *user, void *file);
} inflight_io;

/* Optional: where host memory comes from. alloc returns NULL when there is none. */
typedef struct inflight_alloc {
    inflight_hdr h;
    void *user;
    void *(*alloc)(void *user, uint64_t size, uint64_t align);
    void (*release)(void *user, void *ptr, uint64_t size);
} inflight_alloc;

/* How to open an engine. Exactly one of config and config_path is set. The hooks
 * may be called on any engine thread and must not call into the library. */
typedef struct inflight_init_params {
    inflight_hdr h;
    inflight_str config;      /* the YAML text */
    inflight_str config_path; /* or its file; relative paths in it start at its folder */
    void *user;               /* handed to log and wakeup */
    void (*log)(void *user, int32_t level, const char *line, uint64_t len); /* 0 error .. 3 debug */
    void (*wakeup)(void *user); /* events went from none to some */
    const inflight_io *io;
    const inflight_alloc *alloc;
    uint32_t flags; /* INFLIGHT_INIT_* */
    uint32_t reserved;
    /* Since 1.1. A CUcontext in which device cuda works, on the card that it is of; NULL: the
     * primary context of the first card. A renderer gives the one it shares with its graphics, a
     * framework its own. It is only ever current on threads of the engine and stays the host's:
     * its flags and limits are not touched, it is not reset or destroyed, and inflight_free leaves
     * nothing in it. The host keeps it until then. One that cannot be used is an error of READY,
     * or the reason why device.kind auto went on. */
    void *cuda_context;
} inflight_init_params;

/* One request. options is JSON with OpenAI's field names: max_tokens, min_tokens,
 * temperature, top_p, top_k, min_p, repetition_penalty, presence_penalty,
 * frequency_penalty, logit_bias, seed, stop, stop_token_ids, ignore_eos, n,
 * logprobs, top_logprobs, and skip_special_tokens, which false makes control tokens come as they
 * are written. Empty: the configuration's defaults. */
typedef struct inflight_request {
    inflight_hdr h;
    uint64_t user;     /* echoed on every event of this request */
    uint32_t kind;     /* INFLIGHT_CHAT, INFLIGHT_PROMPT */
    uint32_t priority; /* 0 background .. 255 urgent; waiting raises it */
    inflight_str input;
    inflight_str options;
    uint64_t deadline_ns; /* CLOCK_MONOTONIC; 0: none. Partial text is delivered */
    uint32_t max_tokens;  /* 0: as in options */
    uint32_t overflow;    /* INFLIGHT_OVERFLOW_* */
    uint32_t flags;       /* INFLIGHT_REQ_* */
    uint32_t reserved;
} inflight_request;

/* One event. The host says how large its own struct is (the stride of poll). */
typedef struct inflight_event {
    uint32_t struct_size; /* the stride */
    uint16_t type;        /* INFLIGHT_EV_* */
    uint16_t flags;       /* INFLIGHT_EVF_* */
    inflight_req req;     /* 0: an event of the engine */
    uint64_t user;        /* echoed from the request */
    uint64_t seq;         /* 0, 1, 2, ... within one request */
    uint64_t time_ns;     /* CLOCK_MONOTONIC when it was produced */
    const char *data;     /* not NUL-terminated; valid until the next poll on this engine */
    uint64_t data_len;
    int32_t status;
    uint32_t n_tokens; /* TEXT: tokens in this event; DONE: generated in all */
    uint32_t choice;   /* 0 .. n-1 */
    uint32_t finish;   /* INFLIGHT_FINISH_*; DONE: of choice 0 */
    uint32_t n_prompt; /* DONE: tokens of the prompt */
    uint32_t n_cached; /* DONE: of these, taken from the prefix cache */
    uint64_t ttft_ns;  /* DONE: submit to first token, 0: there was none */
    uint64_t total_ns; /* DONE: submit to end */
    uint64_t done;     /* LOAD: bytes; TEXT with GAP: bytes lost; BUDGET: value in force */
    uint64_t total;    /* LOAD: bytes in all */
} inflight_event;

/* The engine's counters. Written as one consistent snapshot of the last step. */
typedef struct inflight_stats {
    inflight_hdr h;
    uint64_t steps;         /* forward passes so far */
    uint64_t prompt_tokens; /* prefilled, without cached ones */
    uint64_t cached_tokens; /* taken from the prefix cache */
    uint64_t generated_tokens;
    uint64_t step_ns;         /* time spent in steps, in all */
    uint64_t batch_rows;      /* sum over steps of sequences in the batch */
    uint64_t kv_pages;        /* in the pool */
    uint64_t kv_pages_used;   /* of running sequences */
    uint64_t kv_pages_cached; /* kept by the prefix cache alone */
    uint64_t weights_bytes;
    uint64_t kv_bytes;
    uint64_t workspace_bytes;
    uint64_t preemptions; /* sequences parked because pages ran out */
    uint32_t waiting;     /* accepted, not in the batch */
    uint32_t running;     /* in the batch of the last step */
    uint32_t parked;      /* waiting for the host to poll, or for pages */
    uint32_t threads;     /* compute threads in use */
} inflight_stats;

/* Validates the parameters and the configuration, starts the threads and returns
 * in milliseconds; LOAD events and one READY follow. On failure *engine is NULL
 * and inflight_query(NULL, INFLIGHT_Q_ERROR) on the same thread has the sentence.
 * [any thread, bounded] */
INFLIGHT_API int32_t inflight_init(const inflight_init_params *params, inflight_engine **engine);

/* Copies the request and queues it. Full queue: INFLIGHT_E_BUSY, try again after
 * a poll. *req is written only on success. [any thread, bounded] */
INFLIGHT_API int32_t inflight_submit(inflight_engine *engine, const inflight_request *request,
                                     inflight_req *req);

/* Takes up to cap events, each written at events + i * stride. Returns how many,
 * or a negative status. One TEXT per request and poll carries all its new text.
 * timeout_ns 0 never waits; otherwise waits until there is an event or the time
 * is over. [one thread at a time; bounded with timeout_ns = 0] */
INFLIGHT_API int32_t inflight_poll(inflight_engine *engine, inflight_event *events, uint32_t stride,
                                   uint32_t cap, uint64_t timeout_ns);

/* Ends a request at the next step; its DONE follows. Idempotent. [any thread, bounded] */
INFLIGHT_API int32_t inflight_cancel(inflight_engine *engine, inflight_req req);

/* Cancels everything, joins every thread, releases all memory and descriptors.
 * unload of the object is safe afterwards. NULL is allowed.
 * [any thread, blocking, not from a hook] */
INFLIGHT_API int32_t inflight_free(inflight_engine *engine);

/* An eventfd, readable exactly while poll would return events. Owned by the
 * engine: wait on it, never read or close it. [any thread, bounded] */
INFLIGHT_API int32_t inflight_event_fd(inflight_engine *engine);

/* Text answers: copies at most out_size - 1 bytes and a NUL into out and returns
 * the whole length without the NUL; out may be NULL to ask for it. Struct
 * answers: out begins with inflight_hdr; returns INFLIGHT_OK. [any thread, bounded] */
INFLIGHT_API int32_t inflight_query(inflight_engine *engine, uint32_t what, void *out,
                                    uint64_t out_size);

/* Changes a running engine from its next step on; a BUDGET event says when it is
 * in force. [any thread, bounded] */
INFLIGHT_API int32_t inflight_control(inflight_engine *engine, uint32_t op, const void *in,
                                      uint64_t in_size);

/* A table of further functions by id ("inflight.text/1"), or NULL. An id never
 * changes its meaning; a breaking change gets the next number. [any thread, bounded] */
INFLIGHT_API const void *inflight_extension(const char *id);

/* The fixed sentence of a status code. [any thread, bounded] */
INFLIGHT_API const char *inflight_strerror(int32_t status);

/* The same functions as a table: one dlsym for a C, C++ or Rust host. */
typedef struct inflight_api {
    inflight_hdr h;
    int32_t (*init)(const inflight_init_params *params, inflight_engine **engine);
    int32_t (*submit)(inflight_engine *engine, const inflight_request *request, inflight_req *req);
    int32_t (*poll)(inflight_engine *engine, inflight_event *events, uint32_t stride, uint32_t cap,
                    uint64_t timeout_ns);
    int32_t (*cancel)(inflight_engine *engine, inflight_req req);
    int32_t (*free)(inflight_engine *engine);
    int32_t (*event_fd)(inflight_engine *engine);
    int32_t (*query)(inflight_engine *engine, uint32_t what, void *out, uint64_t out_size);
    int32_t (*control)(inflight_engine *engine, uint32_t op, const void *in, uint64_t in_size);
    const void *(*extension)(const char *id);
    const char *(*strerror)(int32_t status);
} inflight_api;

/* The table of this library, or NULL if the major version is not served. Lives as
 * long as the object stays loaded. [any thread, bounded] */
INFLIGHT_API const inflight_api *inflight_get_api(uint32_t abi);

/* Extension "inflight.text/1": the loaded model's tokenizer and chat template.
 * All return the number of ids or bytes of the whole answer and write at most cap
 * of them, or a negative status; INFLIGHT_E_STATE before READY. [any thread, bounded] */
#define INFLIGHT_EXT_TEXT "inflight.text/1"
typedef struct inflight_text_api {
    inflight_hdr h;
    /* Plain text: special tokens in it are ordinary characters. */
    int64_t (*encode)(inflight_engine *engine, inflight_str text, int32_t *ids, uint64_t cap);
    /* A whole text: without the space that some tokenizers put before each. */
    int64_t (*decode)(inflight_engine *engine, const int32_t *ids, uint64_t n, char *out,
                      uint64_t cap);
    /* messages: as INFLIGHT_CHAT input; the prompt the model would see. */
    int64_t (*render)(inflight_engine *engine, inflight_str messages, char *out, uint64_t cap);
} inflight_text_api;

/* Extension "inflight.frame/1": the engine computes in the time that a host's frames leave. */
#define INFLIGHT_EXT_FRAME "inflight.frame/1"
typedef struct inflight_frame_api {
    inflight_hdr h;
    /* The engine's threads compute until until_ns (CLOCK_MONOTONIC), then stop where they are, in
     * the middle of a step too, and take no time until the next call; about 0.1 ms after that they
     * go on. A loop calls this when its frame is done, with the time at which the next one begins
     * less what a thread takes for what it has in hand: 0.1 to 0.3 ms, but milliseconds where a
     * long text is read, or of a model's file what is not weights. UINT64_MAX: without an end, as
     * at first; 0: stop now. While they are stopped, requests are accepted and events polled, but
     * none is made, of cancels, deadlines and controls neither; free does not wait for a call. On a
     * card no step begins, and what is under way ends. Of calls on several threads the last counts.
     * [any thread, bounded] */
    int32_t (*run_until)(inflight_engine *engine, uint64_t until_ns);
} inflight_frame_api;

#ifdef __cplusplus
}
#define INFLIGHT_CHECK_LAYOUT(cond, text) static_assert(cond, text)
#else
#define INFLIGHT_CHECK_LAYOUT(cond, text) _Static_assert(cond, text)
#endif
INFLIGHT_CHECK_LAYOUT(sizeof(void *) == 8, "64-bit only");
INFLIGHT_CHECK_LAYOUT(sizeof(inflight_event) == 112, "inflight_event layout");
INFLIGHT_CHECK_LAYOUT(sizeof(inflight_request) == 80, "inflight_request layout");
INFLIGHT_CHECK_LAYOUT(sizeof(inflight_init_params) == 96, "inflight_init_params layout");
INFLIGHT_CHECK_LAYOUT(sizeof(inflight_stats) == 128, "inflight_stats layout");
INFLIGHT_CHECK_LAYOUT(sizeof(inflight_api) == 88, "inflight_api layout");
#undef INFLIGHT_CHECK_LAYOUT

#endif
