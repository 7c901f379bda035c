/* Prints size and place of every public type and field, one per line, to be compared with
 * the file of the release: lines may be added, never changed. abidiff does not see types
 * that are only reached through inflight_extension. */
#include "include/inflight.h"

#include <stddef.h>
#include <stdio.h>

#define TYPE(t)     printf("%s %zu\n", #t, sizeof(t))
#define FIELD(t, f) printf("%s.%s %zu %zu\n", #t, #f, offsetof(t, f), sizeof(((t *)0)->f))
#define VALUE(v)    printf("%s %lld\n", #v, (long long)(v))

static void print_structs(void)
{
    TYPE(inflight_hdr);
    FIELD(inflight_hdr, struct_size);
    FIELD(inflight_hdr, abi);
    TYPE(inflight_str);
    FIELD(inflight_str, ptr);
    FIELD(inflight_str, len);
    TYPE(inflight_req);
    TYPE(inflight_io);
    FIELD(inflight_io, user);
    FIELD(inflight_io, open);
    FIELD(inflight_io, pread);
    FIELD(inflight_io, close);
    TYPE(inflight_alloc);
    FIELD(inflight_alloc, user);
    FIELD(inflight_alloc, alloc);
    FIELD(inflight_alloc, release);
    TYPE(inflight_init_params);
    FIELD(inflight_init_params, config);
    FIELD(inflight_init_params, config_path);
    FIELD(inflight_init_params, user);
    FIELD(inflight_init_params, log);
    FIELD(inflight_init_params, wakeup);
    FIELD(inflight_init_params, io);
    FIELD(inflight_init_params, alloc);
    FIELD(inflight_init_params, flags);
    FIELD(inflight_init_params, reserved);
    FIELD(inflight_init_params, cuda_context);
    TYPE(inflight_request);
    FIELD(inflight_request, user);
    FIELD(inflight_request, kind);
    FIELD(inflight_request, priority);
    FIELD(inflight_request, input);
    FIELD(inflight_request, options);
    FIELD(inflight_request, deadline_ns);
    FIELD(inflight_request, max_tokens);
    FIELD(inflight_request, overflow);
    FIELD(inflight_request, flags);
    FIELD(inflight_request, reserved);
}

static void print_answers(void)
{
    TYPE(inflight_event);
    FIELD(inflight_event, struct_size);
    FIELD(inflight_event, type);
    FIELD(inflight_event, flags);
    FIELD(inflight_event, req);
    FIELD(inflight_event, user);
    FIELD(inflight_event, seq);
    FIELD(inflight_event, time_ns);
    FIELD(inflight_event, data);
    FIELD(inflight_event, data_len);
    FIELD(inflight_event, status);
    FIELD(inflight_event, n_tokens);
    FIELD(inflight_event, choice);
    FIELD(inflight_event, finish);
    FIELD(inflight_event, n_prompt);
    FIELD(inflight_event, n_cached);
    FIELD(inflight_event, ttft_ns);
    FIELD(inflight_event, total_ns);
    FIELD(inflight_event, done);
    FIELD(inflight_event, total);
    TYPE(inflight_stats);
    FIELD(inflight_stats, steps);
    FIELD(inflight_stats, prompt_tokens);
    FIELD(inflight_stats, cached_tokens);
    FIELD(inflight_stats, generated_tokens);
    FIELD(inflight_stats, step_ns);
    FIELD(inflight_stats, batch_rows);
    FIELD(inflight_stats, kv_pages);
    FIELD(inflight_stats, kv_pages_used);
    FIELD(inflight_stats, kv_pages_cached);
    FIELD(inflight_stats, weights_bytes);
    FIELD(inflight_stats, kv_bytes);
    FIELD(inflight_stats, workspace_bytes);
    FIELD(inflight_stats, preemptions);
    FIELD(inflight_stats, waiting);
    FIELD(inflight_stats, running);
    FIELD(inflight_stats, parked);
    FIELD(inflight_stats, threads);
}

static void print_tables(void)
{
    TYPE(inflight_api);
    FIELD(inflight_api, init);
    FIELD(inflight_api, submit);
    FIELD(inflight_api, poll);
    FIELD(inflight_api, cancel);
    FIELD(inflight_api, free);
    FIELD(inflight_api, event_fd);
    FIELD(inflight_api, query);
    FIELD(inflight_api, control);
    FIELD(inflight_api, extension);
    FIELD(inflight_api, strerror);
    TYPE(inflight_text_api);
    FIELD(inflight_text_api, encode);
    FIELD(inflight_text_api, decode);
    FIELD(inflight_text_api, render);
    TYPE(inflight_frame_api);
    FIELD(inflight_frame_api, run_until);
}

static void print_values(void)
{
    VALUE(INFLIGHT_ABI_MAJOR);
#define STATUS(name, sentence) VALUE(INFLIGHT_##name);
#include "plugin/abi/status.def"
#undef STATUS
    VALUE(INFLIGHT_EV_LOAD);
    VALUE(INFLIGHT_EV_READY);
    VALUE(INFLIGHT_EV_TEXT);
    VALUE(INFLIGHT_EV_LOGPROBS);
    VALUE(INFLIGHT_EV_DONE);
    VALUE(INFLIGHT_EV_BUDGET);
    VALUE(INFLIGHT_EV_LOG);
    VALUE(INFLIGHT_EV_DEVICE);
    VALUE(INFLIGHT_EVF_LAST);
    VALUE(INFLIGHT_EVF_GAP);
    VALUE(INFLIGHT_FINISH_NONE);
    VALUE(INFLIGHT_FINISH_STOP);
    VALUE(INFLIGHT_FINISH_LENGTH);
    VALUE(INFLIGHT_FINISH_DEADLINE);
    VALUE(INFLIGHT_FINISH_CANCEL);
    VALUE(INFLIGHT_CHAT);
    VALUE(INFLIGHT_PROMPT);
    VALUE(INFLIGHT_OVERFLOW_PARK);
    VALUE(INFLIGHT_OVERFLOW_DROP_OLDEST);
    VALUE(INFLIGHT_OVERFLOW_FAIL);
    VALUE(INFLIGHT_REQ_NO_COALESCE);
    VALUE(INFLIGHT_INIT_PLAN_ONLY);
    VALUE(INFLIGHT_Q_ERROR);
    VALUE(INFLIGHT_Q_CONFIG);
    VALUE(INFLIGHT_Q_PLAN);
    VALUE(INFLIGHT_Q_MODEL);
    VALUE(INFLIGHT_Q_CAPS);
    VALUE(INFLIGHT_Q_BUILD);
    VALUE(INFLIGHT_Q_STATS);
    VALUE(INFLIGHT_CTL_PAUSE);
    VALUE(INFLIGHT_CTL_RESUME);
    VALUE(INFLIGHT_CTL_THREADS);
    VALUE(INFLIGHT_CTL_BATCHING);
}

int main(void)
{
    print_structs();
    print_answers();
    print_tables();
    print_values();
    return 0;
}
