/* The command line. */
#pragma once

#include "plan.h"

#define KEEP_MOST         64
#define ACT_ORDER_DEFAULT (-1)
#define ALPHA_DEFAULT     0.5f

struct options {
    const char *model, *output;
    struct quantize_params params;
    const char *keep[KEEP_MOST];
    int32_t threads;
    int symmetric, head, dry, restart, quiet;
    int act_order; /* 0, 1, or: neither was said */
};

/* o has the defaults, and what it points to has to last as long as argv. 0: go on; otherwise the
 * status to exit with, plus 1. */
int options_read(struct options *o, int argc, char **argv);
