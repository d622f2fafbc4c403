/* Leases that end with a process (`tangram run`).  A pidfd tells of its end, whatever way it comes;
 * the start time of the process tells it from a later one with the same number, also after a
 * restart of the daemon. */
#include "base/log.h"
#include "daemon/daemon.h"
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>

uint64_t watch_process_start(int pid)
{
    char path[64], text[1024];
    unsigned long long start = 0;

    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    CLEANUP(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (n <= 0) {
        return 0;
    }
    text[n] = '\0';
    /* The name, field 2, is in parentheses and may hold anything; field 3 follows the last one. */
    const char *p = strrchr(text, ')');
    for (int field = 2; p && field < 22; field++) {
        p = strchr(p + 1, ' ');
    }
    return p && sscanf(p, " %llu", &start) == 1 ? start : 0;
}

static void tell_gone(struct daemon *d, uint64_t lease)
{
    daemon_step(d, &(struct pool_event){.kind = POOL_EV_HOLDER_GONE, .lease = lease});
}

static void watch_free(struct watch *w)
{
    LIST_REMOVE(w, link);
    sd_event_source_disable_unref(w->source);
    closep(&w->pidfd);
    free(w);
}

static int on_end(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    struct watch *w = userdata;
    struct daemon *d = w->daemon;
    uint64_t lease = w->lease;

    (void)source;
    (void)fd;
    (void)revents;
    watch_free(w);
    tell_gone(d, lease);
    return 0;
}

/* Watches of leases that have ended: nobody says so, so they are swept when a new one comes. */
static void sweep(struct daemon *d)
{
    struct watch *w = LIST_FIRST(&d->watches);

    while (w) {
        struct watch *next = LIST_NEXT(w, link);
        const struct pool_lease *lease = pool_find_lease(d->pool, w->lease);
        if (!lease || pool_lease_is_ended(lease->state)) {
            watch_free(w);
        }
        w = next;
    }
}

void watch_add(struct daemon *d, uint64_t lease, int pid, uint64_t start)
{
    CLEANUP(closep) int fd = (int)syscall(SYS_pidfd_open, pid, 0);

    sweep(d);
    if (fd < 0 || watch_process_start(pid) != start) {
        tell_gone(d, lease);
        return;
    }
    struct watch *w = xcalloc(1, sizeof(*w));
    w->daemon = d;
    w->lease = lease;
    w->pidfd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    LIST_INSERT_HEAD(&d->watches, w, link);
    int rc = sd_event_add_io(d->event, &w->source, w->pidfd, EPOLLIN, on_end, w);
    if (rc < 0) {
        log_error("cannot watch process %d: %s", pid, strerror(-rc));
    }
}

void watch_done(struct daemon *d)
{
    while (!LIST_EMPTY(&d->watches)) {
        watch_free(LIST_FIRST(&d->watches));
    }
}
