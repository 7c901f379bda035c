/* inflight-validator: does this libinflight.so keep the promises of inflight.h?
 *
 * Every test runs in a child process with a time limit, so that a crash or a hang is a
 * result like any other. The report is one JSON object on the standard output. */
#include "validator.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define EXIT_SKIP 77

struct target target = {.cycles = 1000};

static int result_fd = -1; /* of a child: its message */
static int n_passed, n_failed, n_skipped;

/* ---- In the child */

static void say(const char *format, va_list args)
{
    char text[1024];
    int n = vsnprintf(text, sizeof text, format, args);
    size_t len = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
    if (write(result_fd, text, len) < 0)
        _exit(EXIT_FAILURE);
}

noreturn void fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say(format, args);
    va_end(args);
    _exit(EXIT_FAILURE);
}

noreturn void skip(const char *reason)
{
    if (write(result_fd, reason, strlen(reason)) < 0)
        _exit(EXIT_FAILURE);
    _exit(EXIT_SKIP);
}

void note(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    say(format, args);
    va_end(args);
}

static noreturn void run_child(const struct test *test, int fd)
{
    /* Away from the numbers that tests close. */
    result_fd = fcntl(fd, F_DUPFD_CLOEXEC, 100);
    if (result_fd < 0)
        result_fd = fd;
    else
        close(fd);
    test->run();
    _exit(EXIT_SUCCESS);
}

/* ---- In the parent */

static void print_json_text(const char *text)
{
    putchar('"');
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\')
            printf("\\%c", c);
        else if (c < 0x20)
            printf("\\u%04x", c);
        else
            putchar(c);
    }
    putchar('"');
}

static double clock_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* The child's message until it has ended, or its process group is killed at the limit. */
static bool wait_child(pid_t pid, int fd, unsigned timeout_s, char *text, size_t room, int *status)
{
    double end = clock_ms() + timeout_s * 1e3;
    size_t len = 0;
    bool in_time = true;
    while (in_time) {
        double left = end - clock_ms();
        struct pollfd p = {.fd = fd, .events = POLLIN};
        in_time = left > 0 && poll(&p, 1, (int)left + 1) > 0;
        if (!in_time)
            break;
        ssize_t n = read(fd, text + len, room - 1 - len);
        if (n <= 0 || (len += (size_t)n) == room - 1)
            break;
    }
    text[len] = '\0';
    while (in_time && waitpid(pid, status, WNOHANG) == 0) {
        in_time = clock_ms() < end;
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    }
    kill(-pid, SIGKILL);
    if (!in_time)
        waitpid(pid, status, 0);
    return in_time;
}

static void report(const struct test *test, const char *result, double ms, const char *text)
{
    printf("%s\n    {\"name\": \"%s\", \"result\": \"%s\", \"ms\": %lld.%lld, \"message\": ",
           n_passed + n_failed + n_skipped ? "," : "", test->name, result, (long long)ms,
           (long long)(ms * 10) % 10);
    print_json_text(text);
    printf("}");
    fflush(stdout);
}

static void run_test(const struct test *test)
{
    int fd[2];
    char text[2048] = "";
    int status = 0;
    fflush(stdout);
    if (pipe2(fd, O_CLOEXEC)) {
        perror("pipe");
        exit(2);
    }
    double begin = clock_ms();
    pid_t pid = fork();
    if (pid == 0) {
        setpgid(0, 0);
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* ends with the validator, whatever ends that */
        close(fd[0]);
        run_child(test, fd[1]);
    }
    if (pid < 0) {
        perror("fork");
        exit(2);
    }
    close(fd[1]);
    bool in_time = wait_child(pid, fd[0], test->timeout_s, text, sizeof text, &status);
    close(fd[0]);
    size_t len = strlen(text);
    const char *result = "fail";
    if (!in_time)
        snprintf(text + len, sizeof text - len, "%sno end within %u s", len ? "; " : "",
                 test->timeout_s);
    else if (WIFSIGNALED(status))
        snprintf(text + len, sizeof text - len, "%skilled by signal %d", len ? "; " : "",
                 WTERMSIG(status));
    else if (WEXITSTATUS(status) == EXIT_SKIP)
        result = "skip";
    else if (WEXITSTATUS(status) == EXIT_SUCCESS)
        result = "pass";
    report(test, result, clock_ms() - begin, text);
    n_passed += result[0] == 'p';
    n_skipped += result[0] == 's';
    n_failed += result[0] == 'f';
}

static const struct test *const lists[] = {tests_abi,     tests_flow,   tests_pressure, tests_hooks,
                                           tests_process, tests_unload, tests_context};

static int for_each(const char *only, void (*body)(const struct test *))
{
    int n = 0;
    for (size_t l = 0; l < sizeof lists / sizeof *lists; l++)
        for (const struct test *t = lists[l]; t->name; t++)
            if (!only || strcmp(only, t->name) == 0) {
                body(t);
                n++;
            }
    return n;
}

static void print_test(const struct test *test)
{
    printf("%-28s %s\n", test->name, test->what);
}

static void usage(FILE *to)
{
    fputs("Usage: inflight-validator [options] LIBRARY (--config FILE | --model FILE)\n"
          "Checks a libinflight.so against the promises of inflight.h, each test in a\n"
          "process of its own. Prints one JSON object; exit status 0: nothing failed.\n"
          "  --config FILE  configuration of the engines that the tests open\n"
          "  --model FILE   or a model: the configuration is written for it\n"
          "  --only NAME    one test\n"
          "  --cycles N     times that the object is loaded and unloaded, default 1000\n"
          "  --list         names of all tests\n"
          "  -h, --help     this text\n",
          to);
}

static bool absolute(const char *path, char *out)
{
    char full[PATH_MAX];
    if (!realpath(path, full)) {
        fprintf(stderr, "inflight-validator: %s: %s\n", path, strerror(errno));
        return false;
    }
    snprintf(out, sizeof target.object, "%s", full);
    return true;
}

static bool set_model(const char *path)
{
    char full[sizeof target.object];
    if (!absolute(path, full) || strpbrk(full, "\"\\\n"))
        return false;
    snprintf(target.config, sizeof target.config,
             "version: 1\nmodel:\n  path: \"%s\"\nrequests:\n  stream_buffer: 16KiB\n", full);
    return true;
}

static bool set_cycles(const char *text)
{
    char *end;
    long n = strtol(text, &end, 10);
    target.cycles = (int)n;
    if (end != text && !*end && n >= CYCLES_LEAST && n <= CYCLES_MOST)
        return true;
    fprintf(stderr, "inflight-validator: --cycles %s: must be a number from %d to %d\n", text,
            CYCLES_LEAST, CYCLES_MOST);
    return false;
}

/* 0: go on; otherwise the exit status + 1. */
static int parse(int argc, char **argv, const char **only)
{
    const char *object = NULL;
    bool ok = true;
    for (int i = 1; i < argc && ok; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(argv[i], "-h") == 0 || strcmp(argv[i], "--help") == 0) {
            usage(stdout);
            return 1;
        } else if (strcmp(argv[i], "--list") == 0) {
            for_each(NULL, print_test);
            return 1;
        } else if (argv[i][0] != '-') {
            object = argv[i];
            continue;
        }
        if (strcmp(argv[i], "--only") == 0 && value)
            *only = value;
        else if (strcmp(argv[i], "--config") == 0 && value)
            ok = absolute(value, target.config_path);
        else if (strcmp(argv[i], "--model") == 0 && value)
            ok = set_model(value);
        else if (strcmp(argv[i], "--cycles") == 0 && value)
            ok = set_cycles(value);
        else
            ok = false;
        i++;
    }
    if (ok && object && (target.config_path[0] || target.config[0]))
        return absolute(object, target.object) ? 0 : 3;
    usage(stderr);
    return 3;
}

int main(int argc, char **argv)
{
    const char *only = NULL;
    int end = parse(argc, argv, &only);
    if (end)
        return end - 1;
    signal(SIGPIPE, SIG_IGN);
    printf("{\n  \"library\": ");
    print_json_text(target.object);
    printf(",\n  \"cycles\": %d,\n  \"tests\": [", target.cycles);
    int n = for_each(only, run_test);
    printf("\n  ],\n  \"passed\": %d,\n  \"failed\": %d,\n  \"skipped\": %d\n}\n", n_passed,
           n_failed, n_skipped);
    if (!n)
        fprintf(stderr, "inflight-validator: no test is called %s\n", only);
    return n && !n_failed ? EXIT_SUCCESS : EXIT_FAILURE;
}
