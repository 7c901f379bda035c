/* The libraries that are linked into the plugin were compiled with assert, whose failure
 * calls this function of the C library, which prints and aborts. Nothing may do that in
 * somebody else's process. The assertions guard against misuse by their caller, us, that
 * does not happen; should one fail after all, the thread stops here for good, which loses
 * one engine and not the program around it. Hidden, so the libraries bind to this one
 * and the object does not import the other. */
#define _GNU_SOURCE
#include <time.h>

__attribute__((visibility("hidden"), noreturn)) void __assert_fail(const char *assertion,
                                                                   const char *file, unsigned line,
                                                                   const char *function);

void __assert_fail(const char *assertion, const char *file, unsigned line, const char *function)
{
    (void)assertion;
    (void)file;
    (void)line;
    (void)function;
    for (;;)
        nanosleep(&(struct timespec){.tv_sec = 3600}, NULL);
}
