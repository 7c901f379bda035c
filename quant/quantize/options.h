/* The command line. */
#pragma once

#include "plan.h"

#define KEEP_MOST          64
#define ACT_ORDER_DEFAULT  (-1)
#define ALPHA_DEFAULT      0.5f
#define CORRECTION_DEFAULT 0.25f

struct options {
    const char *model, *output;
    struct quantize_params params;
    const char *keep[KEEP_MOST];
    int32_t threads;
    int symmetric, head, dry, restart, quiet;
    int act_order; /* 0, 1, or: neither was said */
    float correct; /* of --correct; below 0: it was not said */
};

/* o has the defaults, and what it points to has to last as long as argv. 0: go on; otherwise the
 * status to exit with, plus 1. */
int options_read(struct options *o, int argc, char **argv);
