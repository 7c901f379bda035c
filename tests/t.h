/* A test is a sentence: TEST(sched, short_request_passes_long_prefill) { ... }.
 * Tests register themselves; a program of tests is one or more files linked with
 * t.c, which has main. Output: one line per test, and at the end the counts as
 * "name: 12 passed, 0 failed". A failed CHECK prints its place and values, marks
 * the test failed and goes on. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct t_test {
    const char *suite, *name;
    void (*run)(void);
    struct t_test *next;
};

void t_register(struct t_test *test);
void t_fail(const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Marks the running test as skipped, with the reason (copied); return from it
 * afterwards. */
void t_skip(const char *reason);

#define TEST(suite_name, test_name)                                                            \
    static void suite_name##_##test_name(void);                                                \
    __attribute__((constructor)) static void suite_name##_##test_name##_register(void)         \
    {                                                                                          \
        static struct t_test test = {#suite_name, #test_name, suite_name##_##test_name, NULL}; \
        t_register(&test);                                                                     \
    }                                                                                          \
    static void suite_name##_##test_name(void)

#define CHECK(condition)                                  \
    do {                                                  \
        if (!(condition))                                 \
            t_fail(__FILE__, __LINE__, "%s", #condition); \
    } while (0)

#define CHECK_EQ(got, want)                                                           \
    do {                                                                              \
        long long t_got = (long long)(got), t_want = (long long)(want);               \
        if (t_got != t_want)                                                          \
            t_fail(__FILE__, __LINE__, "%s is %lld, want %lld", #got, t_got, t_want); \
    } while (0)

#define CHECK_NEAR(got, want, tolerance)                                                         \
    do {                                                                                         \
        double t_got = (double)(got), t_want = (double)(want);                                   \
        double t_off = t_got > t_want ? t_got - t_want : t_want - t_got;                         \
        if (!(t_off <= (double)(tolerance)))                                                     \
            t_fail(__FILE__, __LINE__, "%s is %.9g, want %.9g within %.3g", #got, t_got, t_want, \
                   (double)(tolerance));                                                         \
    } while (0)

#define CHECK_TEXT(got, want)                                             \
    do {                                                                  \
        const char *t_got = (got), *t_want = (want);                      \
        if (!t_got || strcmp(t_got, t_want) != 0)                         \
            t_fail(__FILE__, __LINE__, "%s is \"%s\", want \"%s\"", #got, \
                   t_got ? t_got : "(null)", t_want);                     \
    } while (0)
