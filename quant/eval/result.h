/* What inflight-eval says: a table for people, JSON for programs. */
#pragma once

#include "score.h"

struct result {
    const char *model, *text;
    const char *reference; /* NULL: there is none */
    struct score score;
    int32_t context;                    /* tokens of a window */
    int64_t tokens, windows, positions; /* of the text, read, scored */
    uint64_t weight_bytes, kv_token;    /* in memory; kv_token: of one position */
    double seconds;
};

void result_print(const struct result *r);

/* path "-": standard output. False: said why on standard error. */
bool result_write(const struct result *r, const char *path);
