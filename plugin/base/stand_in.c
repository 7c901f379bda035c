/* Names of the C library that the plugin or the statically linked libraries refer to and
 * that a guest in somebody else's process must not import. Hidden, so they bind to these. */
#define _GNU_SOURCE
#include <stddef.h>
#include <sys/stat.h>
#include <time.h>

#define HIDDEN __attribute__((visibility("hidden")))

/* The libraries were compiled with assert, whose failure would print and abort. Their
 * assertions guard against misuse by their caller, us, that does not happen; should one
 * fail after all, the thread stops here for good, which loses one engine and not the
 * program around it. */
HIDDEN __attribute__((noreturn)) void __assert_fail(const char *assertion, const char *file,
                                                    unsigned line, const char *function);

void __assert_fail(const char *assertion, const char *file, unsigned line, const char *function)
{
    (void)assertion;
    (void)file;
    (void)line;
    (void)function;
    for (;;)
        nanosleep(&(struct timespec){.tv_sec = 3600}, NULL);
}

/* jansson compares the stream it reads with stdin, to name it in messages, in code that is
 * not position-independent. It is never given a stream here. */
extern HIDDEN void *const stand_in_stdin __asm__("stdin");
void *const stand_in_stdin = NULL;

#ifdef OLD_GLIBC
/* glibc has fstat as a symbol since 2.33; before, a header called this with the version of
 * struct stat, which is 1. Newer ones keep it for programs of that time. */
int __fxstat(int version, int fd, struct stat *st);

HIDDEN int fstat(int fd, struct stat *st)
{
    return __fxstat(1, fd, st);
}
#endif
