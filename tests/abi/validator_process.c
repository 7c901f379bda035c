/* A good guest: what the host's process was before, it is afterwards. */
#include "validator.h"

#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

static bool child_calls_are_refused(struct watch *w)
{
    inflight_request r = long_request(1);
    inflight_event ev;
    inflight_req id;
    inflight_stats s = {.h = {sizeof s, INFLIGHT_ABI}};
    uint32_t level = 0;
    double begin = now_ms();
    bool refused =
        w->api->submit(w->engine, &r, &id) == INFLIGHT_E_FORKED &&
        w->api->poll(w->engine, &ev, sizeof ev, 1, 1000) == INFLIGHT_E_FORKED &&
        w->api->cancel(w->engine, w->item[0].req) == INFLIGHT_E_FORKED &&
        w->api->event_fd(w->engine) == INFLIGHT_E_FORKED &&
        w->api->query(w->engine, INFLIGHT_Q_STATS, &s, sizeof s) == INFLIGHT_E_FORKED &&
        w->api->control(w->engine, INFLIGHT_CTL_PAUSE, &level, sizeof level) == INFLIGHT_E_FORKED &&
        w->api->free(w->engine) == INFLIGHT_E_FORKED &&
        w->api->free(w->engine) == INFLIGHT_E_FORKED;
    return refused && now_ms() - begin < 1000;
}

static void fork_child(void)
{
    struct object o = object_open(target.object);
    static struct watch w;
    watch_init(&w, o.api, engine_start_ready(o.api));
    w.readies = 1;
    for (int i = 0; i < 4; i++)
        watch_submit(&w, long_request(50));
    for (int i = 0; i < 3; i++) {
        int status;
        pid_t pid = fork();
        if (!pid)
            _exit(child_calls_are_refused(&w) ? 0 : 1);
        WANT(waitpid(pid, &status, 0) == pid);
        if (!WIFEXITED(status) || WEXITSTATUS(status))
            fail("a call in the child was not refused with E_FORKED in time (%#x)", status);
    }
    watch_drain(&w, 60000);
    for (int i = 0; i < 4; i++)
        WANT_EQ(w.item[i].status, INFLIGHT_OK);
    WANT_EQ(o.api->free(w.engine), INFLIGHT_OK);
}

/* A process of its own that ends while its engine works. */
static void exit_alive(void)
{
    pid_t pid = fork();
    if (!pid) {
        struct object o = object_open(target.object);
        static struct watch w;
        watch_init(&w, o.api, engine_start_ready(o.api));
        w.readies = 1;
        for (int i = 0; i < 4; i++)
            watch_submit(&w, long_request(100000));
        watch_poll(&w, 20000000);
        exit(3);
    }
    int status = 0;
    double end = now_ms() + 70000;
    while (waitpid(pid, &status, WNOHANG) == 0) {
        if (now_ms() > end)
            fail("exit() with a live engine hangs");
        sleep_ms(5);
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 3)
        fail("exit(3) with a live engine ended as %#x", status);
}

/* A graphics driver keeps its devices open for the life of the process, with the numbers that it
 * got. */
static void closed_stdio(void)
{
    struct object o = object_open(target.object);
    for (int fd = 0; fd < 3; fd++)
        close(fd);
    clean_round(o.api);
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) != -1 && !is_of_driver(fd)) {
            char path[64], name[256] = "";
            snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
            if (readlink(path, name, sizeof name - 1) < 0)
                name[0] = 0;
            fail("descriptor %d is left open: %s", fd, name);
        }
}

/* What a library prints goes to 1 and 2. */
static void silent(void)
{
    int fd[2];
    if (pipe(fd) || dup2(fd[1], 1) < 0 || dup2(fd[1], 2) < 0)
        skip("no pipe");
    struct object o = object_open(target.object);
    inflight_init_params bad = {.h = {sizeof bad, INFLIGHT_ABI}};
    inflight_engine *e;
    bad.config = (inflight_str){"version: 1\nnonsense: [1, &a *a", INFLIGHT_NTS};
    WANT(o.api->init(&bad, &e) < 0);
    clean_round(o.api);
    object_close(&o);
    if (fd_readable(fd[0], 50))
        fail("the library wrote to the standard output or error");
}

static void foreign_locale(void)
{
    static const char *const names[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8",
                                        "ru_RU.UTF-8", "de_DE",      "fr_FR"};
    bool found = false;
    for (size_t i = 0; i < sizeof names / sizeof *names && !found; i++)
        found = setlocale(LC_ALL, names[i]) && strcmp(localeconv()->decimal_point, ",") == 0;
    if (!found)
        skip("no locale with a decimal comma is installed");
    struct object o = object_open(target.object);
    static struct watch w;
    char before[256];
    strncpy(before, setlocale(LC_ALL, NULL), sizeof before - 1);
    watch_init(&w, o.api, engine_start_ready(o.api));
    w.readies = 1;
    inflight_request r = long_request(4);
    r.options = (inflight_str){"{\"temperature\": 0.75, \"top_p\": 0.5}", INFLIGHT_NTS};
    uint32_t i = watch_submit(&w, r);
    watch_drain(&w, 60000);
    WANT_EQ(w.item[i].status, INFLIGHT_OK);
    WANT(strncmp(before, setlocale(LC_ALL, NULL), sizeof before - 1) == 0);
    WANT_EQ(o.api->free(w.engine), INFLIGHT_OK);
}

static void on_signal(int number)
{
    (void)number;
}

static void signals_kept(void)
{
    enum { SIGNALS = 65 };
    static struct sigaction before[SIGNALS], after;
    sigset_t mask, mask_after;
    struct sigaction mine = {.sa_handler = on_signal};
    static const int set[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGCHLD, SIGTERM, SIGINT, SIGABRT};
    for (size_t i = 0; i < sizeof set / sizeof *set; i++)
        sigaction(set[i], &mine, NULL);
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR1);
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
    for (int s = 1; s < SIGNALS; s++)
        sigaction(s, NULL, &before[s]);
    struct object o = object_open(target.object);
    clean_round(o.api);
    object_close(&o);
    for (int s = 1; s < SIGNALS; s++)
        if (sigaction(s, NULL, &after) == 0 &&
            (after.sa_handler != before[s].sa_handler || after.sa_flags != before[s].sa_flags))
            fail("the handler of signal %d was changed", s);
    pthread_sigmask(SIG_SETMASK, NULL, &mask_after);
    for (int s = 1; s < SIGNALS; s++)
        WANT_EQ(sigismember(&mask_after, s), s == SIGUSR1);
}

/* A storm of signals to the process lands on host threads and interrupts poll's wait. */
static void signal_storm(void)
{
    struct sigaction mine = {.sa_handler = on_signal};
    sigaction(SIGALRM, &mine, NULL);
    struct object o = object_open(target.object);
    static struct watch w;
    watch_init(&w, o.api, engine_start_ready(o.api));
    w.readies = 1;
    pid_t parent = getpid(), pid = fork();
    if (!pid) {
        for (int i = 0; i < 2000; i++) {
            kill(parent, SIGALRM);
            usleep(500);
        }
        _exit(0);
    }
    for (int i = 0; i < 10; i++)
        watch_submit(&w, long_request(20));
    watch_drain(&w, 60000);
    inflight_event ev;
    double begin = now_ms();
    while (o.api->poll(w.engine, &ev, sizeof ev, 1, 50000000) > 0)
        begin = now_ms();
    WANT(now_ms() - begin >= 49.9); /* an interrupted wait goes on */
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    WANT_EQ(o.api->free(w.engine), INFLIGHT_OK);
}

static void float_mode(void)
{
#if defined(__x86_64__)
    unsigned before = _mm_getcsr(), odd = (before & ~0x6000u) | 0x2000u | 0x8040u;
    struct object o = object_open(target.object);
    _mm_setcsr(odd); /* rounding down, denormals are zero */
    clean_round(o.api);
    object_close(&o);
    unsigned after = _mm_getcsr();
    _mm_setcsr(before);
    if ((after & ~0x3fu) != (odd & ~0x3fu))
        fail("MXCSR was %#x and is %#x", odd, after);
#else
    skip("not an x86-64 machine");
#endif
}

static void *round_on_thread(void *arg)
{
    clean_round(arg);
    return arg;
}

static void small_stack(void)
{
    struct object o = object_open(target.object);
    unsigned long thread;
    start_thread(&thread, round_on_thread, (void *)o.api, 64 << 10);
    join_thread(thread);
}

static void no_descriptors(void)
{
    struct object o = object_open(target.object);
    struct rlimit limit, few;
    WANT(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    int probe = open("/dev/null", O_RDONLY);
    for (int extra = 0; extra < 3; extra++) {
        few = limit;
        few.rlim_cur = (rlim_t)(probe + extra);
        close(probe);
        WANT(setrlimit(RLIMIT_NOFILE, &few) == 0);
        inflight_init_params p = default_params();
        inflight_engine *e = NULL;
        int32_t rc = o.api->init(&p, &e);
        if (rc == INFLIGHT_OK) {
            inflight_event ev = {0};
            for (double end = now_ms() + 60000; ev.type != INFLIGHT_EV_READY && now_ms() < end;)
                WANT(o.api->poll(e, &ev, sizeof ev, 1, 50000000) >= 0);
            WANT_EQ(ev.type, INFLIGHT_EV_READY);
            WANT_EQ(o.api->free(e), INFLIGHT_OK);
        } else {
            WANT(rc < 0 && !e && error_text(o.api, NULL)[0]);
        }
        WANT(setrlimit(RLIMIT_NOFILE, &limit) == 0);
        probe = open("/dev/null", O_RDONLY);
    }
    close(probe);
    clean_round(o.api);
}

/* A second in which nothing is to be done; sanitizers have a thread of their own. */
static void check_rest(const char *when)
{
    double most_ms = SANITIZED ? 50 : 2;
    long most_sleeps = SANITIZED ? 100 : 2;
    sleep_ms(100); /* threads on their way to sleep */
    struct effort before = effort_now();
    sleep_ms(1000);
    struct effort after = effort_now();
    double ms = after.cpu_ms - before.cpu_ms;
    long sleeps = after.sleeps - before.sleeps;
    char driver[64] = "";
    if (after.left_out)
        snprintf(driver, sizeof driver, " (%d threads of a graphics driver left out)",
                 after.left_out);
    if (ms > most_ms || sleeps > most_sleeps)
        fail("%s, the process used %.2f ms and its threads woke %ld times in a second%s", when, ms,
             sleeps, driver);
    note("%s%s %.2f ms, %ld wake-ups%s", when[0] == 'b' ? "" : "; ", when, ms, sleeps, driver);
}

static void idle(void)
{
    struct object o = object_open(target.object);
    static struct watch w;
    watch_init(&w, o.api, engine_start_ready(o.api));
    w.readies = 1;
    check_rest("before any request");
    for (int i = 0; i < 3; i++)
        watch_submit(&w, long_request(20));
    watch_drain(&w, 60000);
    check_rest("after three");
    WANT_EQ(o.api->free(w.engine), INFLIGHT_OK);
}

const struct test tests_process[] = {
    {"idle", "with nothing to do, no time is used", idle, 90},
    {"fork", "calls in a child of fork are refused, the parent goes on", fork_child, 90},
    {"exit-alive", "exit() with a live engine", exit_alive, 90},
    {"closed-stdio", "descriptors 0, 1 and 2 are closed, and stay so but for /dev/nvidia*",
     closed_stdio, 60},
    {"silent", "nothing is printed", silent, 60},
    {"foreign-locale", "a locale with a decimal comma", foreign_locale, 60},
    {"signals-kept", "handlers and masks are the host's", signals_kept, 60},
    {"signal-storm", "signals interrupt nothing", signal_storm, 90},
    {"float-mode", "the host's MXCSR stays", float_mode, 60},
    {"small-stack", "calls from a thread with 64 KiB of stack", small_stack, 60},
    {"no-descriptors", "RLIMIT_NOFILE is used up", no_descriptors, 120},
    {0},
};
