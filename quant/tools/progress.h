/* One line on a terminal that says how far a program is, how fast, and what time is left. Nothing
 * is shown where standard error is not a terminal. [one thread] */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct progress {
    const char *what; /* before the bar */
    const char *unit; /* of total: "tokens", or "B" for bytes */
    uint64_t total;
    uint64_t skipped; /* of total, done before this run */
    uint64_t began_ns, shown_ns;
    uint64_t shown; /* of total: what is shown does not go back */
    bool is_shown;
};

/* quiet: nothing is shown at all. */
void progress_begin(struct progress *p, const char *what, const char *unit, uint64_t total,
                    bool quiet);
/* done of total; drawn ten times a second at most. */
void progress_show(struct progress *p, uint64_t done);
void progress_end(struct progress *p); /* takes the line away; zeroed is allowed */
