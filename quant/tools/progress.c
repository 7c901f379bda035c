#define _DEFAULT_SOURCE
#include "progress.h"

#include "../../plugin/base/thread.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define DRAW_NS 100000000u
#define CELLS   24

void progress_begin(struct progress *p, const char *what, const char *unit, uint64_t total,
                    bool quiet)
{
    *p = (struct progress){.what = what,
                           .unit = unit,
                           .total = total,
                           .began_ns = clock_ns(),
                           .is_shown = !quiet && isatty(STDERR_FILENO)};
}

/* "12.3 M" of a number of units. */
static const char *scaled(double n, char out[16])
{
    static const char *const prefix[] = {"", "k", "M", "G", "T"};
    size_t i = 0;
    for (; n >= 1000 && i + 1 < sizeof prefix / sizeof *prefix; i++)
        n /= 1000;
    (void)snprintf(out, 16, n < 10 && i ? "%.1f %s" : "%.0f %s", n, prefix[i]);
    return out;
}

static void draw(const struct progress *p, uint64_t done, double seconds)
{
    char bar[CELLS + 1], rate[16];
    double share = p->total ? (double)done / (double)p->total : 0;
    double made = (double)(done - p->skipped), left = (double)(p->total - done);
    int full = (int)(share * CELLS);
    memset(bar, '.', CELLS);
    memset(bar, '#', (size_t)full);
    bar[CELLS] = 0;
    double speed = seconds > 0 ? made / seconds : 0;
    (void)fprintf(stderr, "\r%s [%s] %3.0f %%  %s%s/s", p->what, bar, share * 100,
                  scaled(speed, rate), p->unit);
    if (speed > 0) {
        unsigned rest = (unsigned)(left / speed);
        (void)fprintf(stderr, "  %u:%02u left", rest / 60, rest % 60);
    }
    (void)fputs("\033[K", stderr);
    (void)fflush(stderr);
}

void progress_show(struct progress *p, uint64_t done)
{
    uint64_t now = clock_ns();
    if (!p->is_shown || (p->shown_ns && now - p->shown_ns < DRAW_NS) || done > p->total ||
        done < p->shown)
        return;
    p->shown = done;
    p->shown_ns = now;
    draw(p, done, (double)(now - p->began_ns) * 1e-9);
}

void progress_end(struct progress *p)
{
    if (p->is_shown && p->shown_ns)
        (void)fputs("\r\033[K", stderr);
    p->is_shown = false;
}
