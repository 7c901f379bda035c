/* The object loads beside any glibc from 2.31 on, though it is built beside a newer one. The
 * Makefile includes this file first in every source. glibc 2.32 to 2.34 moved the threads and
 * the loader into libc and gave their functions new versions; the old ones, which newer glibc
 * keeps, are asked for here by name. They used to live in libpthread and libdl, so the
 * Makefile has the object need these two as well: empty today, they hold the code below 2.34.
 * What a source does not call, its object does not mention. On other C libraries and
 * architectures, whose versions differ, and under sanitizers nothing happens. Includes
 * nothing, so that a source may still choose its feature macros. */
#pragma once

#if defined(__x86_64__) && defined(__has_include)
#if __has_include(<gnu/libc-version.h>)

#define OLD_GLIBC 1 /* stand_in.c: there is no fstat before 2.33 */

__asm__(".symver dladdr, dladdr@GLIBC_2.2.5\n"
        ".symver dlclose, dlclose@GLIBC_2.2.5\n"
        ".symver dlerror, dlerror@GLIBC_2.2.5\n"
        ".symver dlopen, dlopen@GLIBC_2.2.5\n"
        ".symver dlsym, dlsym@GLIBC_2.2.5\n"
        ".symver pthread_condattr_setclock, pthread_condattr_setclock@GLIBC_2.3.3\n"
        ".symver pthread_create, pthread_create@GLIBC_2.2.5\n"
        ".symver pthread_join, pthread_join@GLIBC_2.2.5\n"
        ".symver pthread_mutex_trylock, pthread_mutex_trylock@GLIBC_2.2.5\n"
        ".symver pthread_setname_np, pthread_setname_np@GLIBC_2.12\n"
        ".symver pthread_sigmask, pthread_sigmask@GLIBC_2.2.5\n");

#endif
#endif
