/* What the engine thread and host threads tell each other beside requests and events:
 * texts for queries, the counters, and controls. Behind one lock that is only ever held
 * for a copy. */
#pragma once

#include "base/buf.h"
#include "base/err.h"

#define BOARD_CONTROLS 32 /* controls not yet applied */

struct board;

struct board_control {
    uint32_t op, value;
};

/* What the loop counts itself. */
struct board_counts {
    uint64_t steps, step_ns, batch_rows, generated;
};

enum board_text { BOARD_CONFIG, BOARD_PLAN, BOARD_MODEL, BOARD_TEXTS };

int32_t board_open(struct board **out, const struct mem *mem, struct err *err);
void board_close(struct board *b); /* NULL is allowed */

/* Takes text over; text is empty afterwards. */
void board_set_text(struct board *b, enum board_text which, struct buf *text);

/* Appends to out. INFLIGHT_E_STATE if there is no such text yet, INFLIGHT_E_NOMEM. */
int32_t board_text(struct board *b, enum board_text which, struct buf *out);

void board_set_stats(struct board *b, const inflight_stats *stats);

/* All but the header. */
void board_stats(struct board *b, inflight_stats *out);

/* False: full. */
bool board_put_control(struct board *b, struct board_control control);

/* Moves all controls to out, (BOARD_CONTROLS), in order; returns how many. */
int32_t board_take_controls(struct board *b, struct board_control *out);
