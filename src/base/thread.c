#include "base/thread.h"
#include <signal.h>

int thread_start(void *(*run)(void *), void *arg, const char *name, size_t stack_bytes,
                 pthread_t *ret)
{
    pthread_attr_t attributes;
    pthread_t thread;
    sigset_t all, old;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes,
                                ret ? PTHREAD_CREATE_JOINABLE : PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, stack_bytes);
    int r = pthread_create(&thread, &attributes, run, arg);
    if (r == 0 && name) {
        pthread_setname_np(thread, name);
    }
    pthread_attr_destroy(&attributes);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (r == 0 && ret) {
        *ret = thread;
    }
    return -r;
}
