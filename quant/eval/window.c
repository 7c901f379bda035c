#include "window.h"

#include "../../plugin/base/thread.h"

#include <string.h>

#define THREADS_MOST 64

/* Logits of a pass, and the threads that read them. */
struct pass {
    struct model *model, *reference;
    const int32_t *next; /* (n) the tokens that came */
    int32_t n, V;
    struct position_score score[WINDOW_PASS];
    int32_t threads;
};

struct worker {
    struct pass *pass;
    int32_t index;
};

static void *score_share(void *arg)
{
    const struct worker *worker = arg;
    struct pass *pass = worker->pass;
    for (int32_t r = worker->index; r < pass->n; r += pass->threads)
        pass->score[r] = score_position(model_logits(pass->model, r),
                                        pass->reference ? model_logits(pass->reference, r) : NULL,
                                        pass->V, pass->next[r]);
    return NULL;
}

static int32_t score_rows(struct pass *pass, struct err *err)
{
    struct thread thread[THREADS_MOST] = {{0}};
    struct worker worker[THREADS_MOST];
    int32_t rc = INFLIGHT_OK;
    for (int32_t i = 0; i < pass->threads; i++) {
        worker[i] = (struct worker){pass, i};
        if (i > 0 && !rc)
            rc = thread_start(&thread[i], "score", score_share, &worker[i], err);
    }
    if (!rc)
        (void)score_share(&worker[0]);
    for (int32_t i = 1; i < pass->threads; i++)
        thread_join(&thread[i]);
    return rc;
}

static int32_t forward(struct model *m, const struct batch *batch, struct err *err)
{
    int code = model_forward(m, batch);
    return code ? err_set(err, code, "a forward pass of %d tokens failed", batch->T) : INFLIGHT_OK;
}

struct reading {
    const struct windows *w;
    struct pass pass;
    struct score *score;
    int32_t *page;     /* (pages of a window) 0, 1, ... */
    int32_t *token;    /* (length) of the window */
    int32_t *position; /* (length) 0, 1, ... */
};

static int32_t read_pass(struct reading *r, int32_t at, int32_t n, struct err *err)
{
    int32_t row[WINDOW_PASS], R = 0, first = 0;
    for (int32_t i = at; i < at + n; i++)
        if (i >= r->w->length / 2 && i + 1 < r->w->length) {
            first = R ? first : i;
            row[R++] = i - at;
        }
    struct batch_seq seq = {.first = 0, .n = n, .position = at, .page = r->page};
    struct batch batch = {.T = n,
                          .S = 1,
                          .R = R,
                          .token = r->token + at,
                          .position = r->position + at,
                          .seq = &seq,
                          .row = row};
    if (forward(r->pass.model, &batch, err) ||
        (r->pass.reference && forward(r->pass.reference, &batch, err)))
        return err->code;
    r->pass.n = R;
    r->pass.next = r->token + first + 1;
    if (score_rows(&r->pass, err))
        return err->code;
    for (int32_t i = 0; i < R; i++)
        score_put(r->score, &r->pass.score[i], r->pass.reference != NULL);
    return INFLIGHT_OK;
}

static int32_t take_tables(struct reading *r, struct arena *arena, struct err *err)
{
    size_t length = (size_t)r->w->length;
    r->page = arena_take_array(arena, length, sizeof *r->page);
    r->token = arena_take_array(arena, length, sizeof *r->token);
    r->position = arena_take_array(arena, length, sizeof *r->position);
    if (!r->page || !r->token || !r->position)
        return err_set(err, INFLIGHT_E_NOMEM, "no memory for a window of %zu tokens", length);
    for (int32_t i = 0; i < r->w->length; i++)
        r->page[i] = r->position[i] = i;
    return INFLIGHT_OK;
}

static int32_t read_window(struct reading *r, int32_t number, windows_progress *progress,
                           void *user, struct err *err)
{
    const struct windows *w = r->w;
    int64_t before = (int64_t)number * w->length;
    memcpy(r->token, w->token + before, (size_t)w->length * sizeof *r->token);
    if (w->start >= 0)
        r->token[0] = w->start;
    for (int32_t at = 0; at < w->length; at += WINDOW_PASS) {
        int32_t n = MIN(WINDOW_PASS, w->length - at);
        if (read_pass(r, at, n, err))
            return err->code;
        if (progress && progress(user, before + at + n))
            return err_set(err, INFLIGHT_E_SHUTDOWN, "stopped");
    }
    score_end_window(r->score);
    return INFLIGHT_OK;
}

int32_t windows_score(const struct windows *w, struct model *model, struct model *reference,
                      struct score *score, windows_progress *progress, void *user, struct err *err)
{
    struct arena arena;
    struct reading r = {.w = w, .score = score};
    r.pass = (struct pass){.model = model,
                           .reference = reference,
                           .V = model_hparams(model)->V,
                           .threads = MIN(MAX(w->threads, 1), THREADS_MOST)};
    *score = (struct score){.window_divergence = score->window_divergence};
    arena_init(&arena, &mem_system);
    int32_t rc = take_tables(&r, &arena, err);
    for (int32_t i = 0; i < w->n && !rc; i++)
        rc = read_window(&r, i, progress, user, err);
    arena_release(&arena);
    return rc;
}
