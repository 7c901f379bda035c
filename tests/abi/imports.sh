#!/bin/sh
# Usage: imports.sh LIBRARY. What a good guest never calls is not even imported. What the
# linked libraries import and never call here is listed with the reason.
set -eu
lib=$1
imports=$(nm -D --undefined-only "$lib" | awk '{print $NF}' | sed 's/@.*//' | sort -u)

# Ends the process, prints, changes what belongs to the whole process, or starts another.
forbidden='abort|_?_?exit|_Exit|quick_exit|atexit|__cxa_atexit|__cxa_thread_atexit_impl|__assert_fail|__assert
signal|sigaction|__sysv_signal|raise|kill|longjmp|siglongjmp|_longjmp|_setjmp|__sigsetjmp|alarm|setitimer
v?printf|__v?printf_chk|puts|putchar|putc|perror|stdout|stderr|syslog|fputs|fputc|psignal|warn|err
setlocale|uselocale|setenv|putenv|unsetenv|clearenv|getenv|secure_getenv|environ|__environ|chdir|fchdir|umask|prctl
sched_setscheduler|setrlimit|setpriority|nice|mlockall|setuid|setgid|setsid|dup2
system|popen|fork|vfork|posix_spawnp?|exec[lv]p?e?|execve
rand|srand|random|srandom|drand48|strtok|localtime|gmtime|asctime|ctime|tmpnam|gethostbyname
pthread_key_create|pthread_atfork|__register_atfork|__tls_get_addr
socket|connect|bind|listen|accept|accept4|getaddrinfo|sendto|recvfrom'
pattern=$(echo "$forbidden" | tr '\n' '|')
if found=$(echo "$imports" | grep -Ex "(${pattern%|})"); then
    echo "imports: $lib must not import:"
    echo "$found"
    exit 1
fi

reason() {
    case $1 in
    __stack_chk_fail) echo "stack protector of the distribution's static libraries" ;;
    __*_chk) echo "bounds check of the distribution's static libraries" ;;
    stdin | fopen | fclose | fread | fwrite | fgetc | ferror) echo "file input of libyaml and jansson, not used: both read memory" ;;
    localeconv | strtod) echo "jansson's numbers: it puts the locale's point right itself" ;;
    getpid) echo "seed of jansson's hash tables; fork guard of old kernels" ;;
    gettimeofday) echo "seed of jansson's hash tables" ;;
    sched_yield) echo "jansson's once; the lock of thread_error.c" ;;
    qsort) echo "jansson's sorted output, not used" ;;
    __ctype_*) echo "PCRE2 builds no tables of its own here" ;;
    sprintf | snprintf | vsnprintf) echo "text of errors and JSON: integers and strings only" ;;
    esac
}
for name in $imports; do
    why=$(reason "$name")
    [ -z "$why" ] || echo "  $name: $why"
done
echo "imports: $(echo "$imports" | wc -w) symbols, none forbidden"
