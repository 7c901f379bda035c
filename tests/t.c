#include "t.h"

#include <stdarg.h>
#include <stdlib.h>

static struct t_test *first, **last = &first;
static bool failed;
static char skipped[256]; /* why, empty: it runs */

void t_register(struct t_test *test)
{
    *last = test;
    last = &test->next;
}

void t_fail(const char *file, int line, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    printf("  %s:%d: ", file, line);
    vprintf(format, args);
    printf("\n");
    va_end(args);
    failed = true;
}

void t_skip(const char *reason)
{
    (void)snprintf(skipped, sizeof skipped, "%s", reason);
}

/* Underscores of the identifier become the spaces of the sentence. */
static void print_sentence(const char *name)
{
    for (; *name; name++)
        putchar(*name == '_' ? ' ' : *name);
}

/* Arguments: parts of names; only tests whose "suite_name" contains one of them run. */
static bool wanted(const struct t_test *test, int argc, char **argv)
{
    char full[256];
    snprintf(full, sizeof full, "%s_%s", test->suite, test->name);
    for (int i = 1; i < argc; i++)
        if (strstr(full, argv[i]))
            return true;
    return argc < 2;
}

int main(int argc, char **argv)
{
    int n_passed = 0, n_failed = 0, n_skipped = 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (const struct t_test *test = first; test; test = test->next) {
        if (!wanted(test, argc, argv))
            continue;
        failed = false;
        *skipped = '\0';
        test->run();
        n_failed += failed;
        n_skipped += !failed && *skipped;
        n_passed += !failed && !*skipped;
        printf("%s %s: ", failed ? "FAIL" : *skipped ? "skip" : "ok  ", test->suite);
        print_sentence(test->name);
        if (*skipped)
            printf(" (%s)", skipped);
        printf("\n");
    }
    const char *slash = strrchr(argv[0], '/');
    printf("%s: %d passed, %d failed, %d skipped\n", slash ? slash + 1 : argv[0], n_passed,
           n_failed, n_skipped);
    return n_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
