#pragma once
#include <pthread.h>
#include <stddef.h>

/* Starts run(arg) on a thread that gets no signals (they are the loop's).  name: as `ps -L` shows
 * it, at most 15 bytes, NULL the process's; stack_bytes: virtual, what is not touched costs
 * nothing.  *ret has to be joined; with ret NULL the thread is detached.  0 or -errno, and no
 * thread then. */
int thread_start(void *(*run)(void *), void *arg, const char *name, size_t stack_bytes,
                 pthread_t *ret);
