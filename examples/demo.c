/* Many requests in flight at once, streamed side by side, and what that costs. */
#define _DEFAULT_SOURCE
#include "host.h"
#include "panes.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define MOST        64
#define FRAME_NS    33000000u /* between two drawings */
#define POLL_EVENTS 64

static const char *const question[] = {
    "Why is the sky blue?",
    "Write a short story about a robot who learns to paint.",
    "Explain how a bicycle stays upright.",
    "List five uses for an old newspaper.",
    "What does a compiler do?",
    "Describe a walk through a forest in autumn.",
    "How do vaccines work?",
    "Give me a recipe for pancakes.",
};

struct job {
    const char *question;
    char *text; /* (cap), owned */
    size_t len, cap;
    size_t shown; /* printed so far, without panes */
    bool done;
    int32_t status;
    uint32_t n_tokens;
    uint64_t ttft_ns, total_ns;
};

struct demo {
    struct host host;
    struct job job[MOST];
    int n, left;
    struct panes panes;
    bool in_panes; /* stdout is a terminal with enough room */
};

static bool append(struct job *job, const char *data, size_t len)
{
    if (job->cap - job->len < len) {
        size_t cap = 2 * (job->len + len);
        char *grown = realloc(job->text, cap);
        if (!grown)
            return false;
        job->text = grown;
        job->cap = cap;
    }
    memcpy(job->text + job->len, data, len);
    job->len += len;
    return true;
}

/* Whole lines with their request's number; at the end also what is left. */
static void print_lines(struct demo *demo, int i)
{
    struct job *job = &demo->job[i];
    while (job->shown < job->len) {
        const char *line = job->text + job->shown;
        size_t left = job->len - job->shown;
        const char *end = memchr(line, '\n', left);
        if (!end && !job->done)
            return;
        size_t len = end ? (size_t)(end - line) : left;
        printf("[%d] %.*s\n", i + 1, (int)len, line);
        job->shown += len + (end != NULL);
    }
}

static void take(struct demo *demo, const inflight_event *event)
{
    struct job *job = &demo->job[event->user];
    if (event->type == INFLIGHT_EV_TEXT && !append(job, event->data, event->data_len))
        fprintf(stderr, "no memory for the text\n");
    if (event->type == INFLIGHT_EV_DONE) {
        job->done = true;
        job->status = event->status;
        job->n_tokens = event->n_tokens;
        job->ttft_ns = event->ttft_ns;
        job->total_ns = event->total_ns;
        demo->left--;
        if (event->status < 0)
            append(job, event->data, event->data_len);
    }
    if (!demo->in_panes)
        print_lines(demo, (int)event->user);
}

static bool submit_all(struct demo *demo, int max_tokens)
{
    for (int i = 0; i < demo->n; i++) {
        struct job *job = &demo->job[i];
        job->question = question[(size_t)i % (sizeof question / sizeof question[0])];
        inflight_request request = {{sizeof request, INFLIGHT_ABI}, .user = (uint64_t)i};
        request.input = (inflight_str){job->question, INFLIGHT_NTS};
        request.max_tokens = (uint32_t)max_tokens;
        inflight_req req;
        if (demo->host.api->submit(demo->host.engine, &request, &req) != INFLIGHT_OK) {
            host_complain(&demo->host, "submit");
            return false;
        }
        demo->left++;
        if (!demo->in_panes)
            printf("[%d] > %s\n", i + 1, job->question);
    }
    return true;
}

static void draw(struct demo *demo)
{
    struct pane pane[MOST];
    for (int i = 0; i < demo->n; i++) {
        const struct job *job = &demo->job[i];
        pane[i] = (struct pane){job->question, job->text, job->len, job->done};
    }
    panes_draw(&demo->panes, pane, demo->n);
}

static bool stream(struct demo *demo)
{
    inflight_event event[POLL_EVENTS];
    uint64_t drawn = 0;
    while (demo->left > 0) {
        int32_t n =
            demo->host.api->poll(demo->host.engine, event, sizeof event[0], POLL_EVENTS, FRAME_NS);
        if (n < 0) {
            host_complain(&demo->host, "poll");
            return false;
        }
        for (int32_t i = 0; i < n; i++)
            if (event[i].req)
                take(demo, &event[i]);
        if (demo->in_panes && host_clock_ns() - drawn >= FRAME_NS) {
            draw(demo);
            drawn = host_clock_ns();
        }
    }
    if (demo->in_panes)
        draw(demo);
    return true;
}

static void print_requests(const struct demo *demo)
{
    printf("\n  #  tokens  first token  tokens/s\n");
    for (int i = 0; i < demo->n; i++) {
        const struct job *job = &demo->job[i];
        double decoding = (double)(job->total_ns - job->ttft_ns) / 1e9;
        double speed = job->n_tokens > 1 && decoding > 0 ? (job->n_tokens - 1) / decoding : 0;
        printf("%3d %7u %9.1f ms %9.1f%s%s\n", i + 1, job->n_tokens, (double)job->ttft_ns / 1e6,
               speed, job->status < 0 ? "  " : "",
               job->status < 0 ? demo->host.api->strerror(job->status) : "");
    }
}

static void print_summary(const struct demo *demo, double seconds)
{
    uint64_t tokens = 0;
    for (int i = 0; i < demo->n; i++)
        tokens += demo->job[i].n_tokens;
    print_requests(demo);
    printf("\n%llu tokens in %.2f s: %.1f tokens/s in all\n", (unsigned long long)tokens, seconds,
           seconds > 0 ? (double)tokens / seconds : 0);

    inflight_stats stats = {{sizeof stats, INFLIGHT_ABI}, .steps = 0};
    struct rusage usage;
    const double mib = 1 << 20;
    if (demo->host.api->query(demo->host.engine, INFLIGHT_Q_STATS, &stats, sizeof stats) < 0 ||
        getrusage(RUSAGE_SELF, &usage) < 0)
        return;
    printf("%llu steps, on average %.1f sequences in each\n", (unsigned long long)stats.steps,
           stats.steps ? (double)stats.batch_rows / (double)stats.steps : 0);
    printf("weights %.1f MiB, KV cache %.1f MiB, workspace %.1f MiB, peak RSS %.1f MiB\n",
           (double)stats.weights_bytes / mib, (double)stats.kv_bytes / mib,
           (double)stats.workspace_bytes / mib, (double)usage.ru_maxrss / 1024);
}

static bool run(struct demo *demo, int max_tokens)
{
    demo->in_panes = panes_init(&demo->panes, demo->n);
    uint64_t start = host_clock_ns();
    bool ok = submit_all(demo, max_tokens) && stream(demo);
    if (ok)
        print_summary(demo, (double)(host_clock_ns() - start) / 1e9);
    for (int i = 0; i < demo->n; i++)
        free(demo->job[i].text);
    return ok;
}

int main(int argc, char **argv)
{
    struct host_paths paths = {0};
    static struct demo demo;
    int max_tokens = 128;
    demo.n = 4;
    for (int option; (option = getopt(argc, argv, HOST_OPTIONS "n:t:")) != -1;) {
        if (option == 'n')
            demo.n = host_number(optarg, MOST);
        else if (option == 't')
            max_tokens = host_number(optarg, 1 << 20);
        if ((option == 'n' || option == 't') ? demo.n && max_tokens
                                             : host_option(&paths, option, optarg))
            continue;
        printf("usage: demo [-n REQUESTS] [-t TOKENS] [-m MODEL | -c CONFIG] [-l LIBRARY]\n"
               "Streams answers to several questions at once, side by side.\n\n"
               "  -n N     requests in flight (4), at most %d\n"
               "  -t N     most tokens of an answer (128)\n" HOST_HELP,
               MOST);
        return option == 'h' ? 0 : 2;
    }
    if (!host_open(&demo.host, &paths))
        return 1;
    bool ok = run(&demo, max_tokens);
    host_close(&demo.host);
    return ok ? 0 : 1;
}
