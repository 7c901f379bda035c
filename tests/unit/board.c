/* The board: snapshots are whole while they are written, controls come once and in order. */
#include "t.h"

#include "plugin/base/thread.h"
#include "plugin/board.h"

#include <stdatomic.h>

#define SNAPSHOTS 200000

struct shared {
    struct board *board;
    atomic_bool stop;
};

static inflight_stats snapshot(uint64_t k)
{
    return (inflight_stats){.steps = k,
                            .step_ns = k,
                            .kv_pages_cached = k,
                            .preemptions = k,
                            .waiting = (uint32_t)k,
                            .threads = (uint32_t)k};
}

static bool is_whole(const inflight_stats *s)
{
    uint64_t k = s->steps;
    return s->step_ns == k && s->kv_pages_cached == k && s->preemptions == k &&
           s->waiting == (uint32_t)k && s->threads == (uint32_t)k;
}

static void *write_snapshots(void *arg)
{
    struct shared *shared = arg;
    for (uint64_t k = 1; k <= SNAPSHOTS; k++) {
        inflight_stats s = snapshot(k);
        board_set_stats(shared->board, &s);
    }
    atomic_store(&shared->stop, true);
    return NULL;
}

TEST(board, a_reader_sees_whole_snapshots_and_none_goes_back)
{
    struct shared shared = {0};
    struct thread thread = {0};
    uint64_t last = 0, broken = 0, backwards = 0;
    CHECK_EQ(board_open(&shared.board, &mem_system, NULL), 0);
    CHECK_EQ(thread_start(&thread, "writer", write_snapshots, &shared, NULL), 0);
    for (bool ended = false; !ended;) {
        inflight_stats s = {.h = {7, 9}};
        ended = atomic_load(&shared.stop);
        board_stats(shared.board, &s);
        broken += !is_whole(&s) || s.h.struct_size != 7 || s.h.abi != 9;
        backwards += s.steps < last;
        last = s.steps;
    }
    thread_join(&thread);
    CHECK_EQ(broken, 0);
    CHECK_EQ(backwards, 0);
    CHECK_EQ(last, SNAPSHOTS);
    board_close(shared.board);
}

TEST(board, controls_come_once_in_order_up_to_the_limit)
{
    struct board *board;
    struct board_control out[BOARD_CONTROLS];
    CHECK_EQ(board_open(&board, &mem_system, NULL), 0);
    CHECK_EQ(board_take_controls(board, out), 0);
    for (uint32_t i = 0; i < BOARD_CONTROLS; i++)
        CHECK(board_put_control(board, (struct board_control){1, i}));
    CHECK(!board_put_control(board, (struct board_control){1, 99}));
    CHECK_EQ(board_take_controls(board, out), BOARD_CONTROLS);
    for (uint32_t i = 0; i < BOARD_CONTROLS; i++)
        CHECK_EQ(out[i].value, i);
    CHECK_EQ(board_take_controls(board, out), 0);
    board_close(board);
}
