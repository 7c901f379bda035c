/* The descriptor's level in every order in which the two sides can meet. One thread plays
 * both: the interface has a step for each place where the other side may come between. */
#include "t.h"

#include "plugin/exchange/doorbell.h"

#include <poll.h>

static struct doorbell bell;
static int published, taken;

static bool wanted(const void *what)
{
    (void)what;
    return published > taken;
}

static bool publish(void)
{
    published++;
    return doorbell_ring(&bell, wanted, NULL);
}

static bool readable(void)
{
    struct pollfd p = {.fd = bell.fd, .events = POLLIN};
    return poll(&p, 1, 0) == 1;
}

static void open_bell(void)
{
    published = taken = 0;
    CHECK_EQ(doorbell_open(&bell, NULL), INFLIGHT_OK);
    CHECK(!readable());
    CHECK(!doorbell_rung(&bell));
}

/* Readable, handed out and rung are one and the same between polls. */
static void check_level(bool up)
{
    CHECK_EQ(readable(), up);
    CHECK_EQ(doorbell_rung(&bell), up);
    CHECK_EQ(published > taken, up);
}

TEST(doorbell, goes_up_once_and_down_when_all_is_taken)
{
    open_bell();
    CHECK(publish());
    CHECK(!publish());
    check_level(true);
    taken = 2;
    doorbell_lower(&bell);
    doorbell_drain(&bell);
    check_level(false);
    CHECK(publish());
    check_level(true);
    doorbell_close(&bell);
}

TEST(doorbell, stays_up_for_what_came_before_it_was_lowered)
{
    open_bell();
    publish();
    taken = 1;
    CHECK(!publish()); /* finds it up, and leaves the rest to the consumer */
    doorbell_lower(&bell);
    doorbell_keep(&bell);
    check_level(true);
    taken = 2;
    doorbell_lower(&bell);
    doorbell_drain(&bell);
    check_level(false);
    doorbell_close(&bell);
}

TEST(doorbell, goes_up_again_for_what_came_while_it_was_lowered)
{
    open_bell();
    publish();
    taken = 1;
    doorbell_lower(&bell);
    CHECK(publish()); /* before the drain, which must not swallow it */
    doorbell_drain(&bell);
    check_level(true);
    taken = 2;
    doorbell_lower(&bell);
    CHECK(publish()); /* the second look finds this one */
    doorbell_keep(&bell);
    check_level(true);
    taken = 3;
    doorbell_lower(&bell);
    doorbell_drain(&bell);
    check_level(false);
    doorbell_close(&bell);
}

static bool taken_meanwhile(const void *what)
{
    (void)what;
    taken = published;
    return false;
}

TEST(doorbell, is_not_raised_for_what_an_earlier_poll_took)
{
    open_bell();
    published = 1;
    CHECK(!doorbell_ring(&bell, taken_meanwhile, NULL));
    check_level(false);
    doorbell_close(&bell);
}

/* A consumer that keeps and lowers between the producer's look and its raise. */
static bool consumer_comes_between(const void *what)
{
    static bool once;
    (void)what;
    if (once)
        return published > taken;
    once = true;
    doorbell_keep(&bell);
    taken = published;
    doorbell_lower(&bell);
    return true; /* as it was when the producer looked */
}

TEST(doorbell, notices_a_consumer_that_came_and_went)
{
    open_bell();
    publish();
    taken = 1;
    doorbell_lower(&bell); /* and is about to take a second look */
    published = 2;
    CHECK(!doorbell_ring(&bell, consumer_comes_between, NULL));
    doorbell_drain(&bell);
    check_level(false);
    doorbell_close(&bell);
}
