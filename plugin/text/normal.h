/* Normalisation: the steps text goes through before it is cut into words. */
#pragma once

#include "charsmap.h"
#include "regex.h"

struct normal {
    struct normal_step step[SPEC_STEPS]; /* texts in the arena */
    struct regex regex[SPEC_STEPS];      /* of patterns */
    struct charsmap charsmap;
    int n;
};

int32_t normal_open(struct normal *normal, const struct spec *spec, struct err *err);
void normal_close(struct normal *normal); /* zeroed or closed is allowed */

/* The buffers of one thread. */
struct normal_work {
    struct buf text[2], scratch;
    int next; /* which of the two the text is not in */
    struct regex_search search;
};

bool normal_work_init(struct normal_work *work, const struct mem *mem); /* false: no memory */
void normal_work_release(struct normal_work *work);

/* text (well-formed UTF-8) through the steps; *out is text itself if nothing changes, or in work
 * until the next call. begins: nothing of the text stands before it. */
int32_t normal_run(const struct normal *normal, struct str text, bool begins,
                   struct normal_work *work, struct str *out);

/* White_Space of Unicode. */
bool is_white_space(int32_t code_point);
