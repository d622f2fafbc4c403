/* Leases that end with a process (`tangram run`).  A pidfd tells of its end, whatever way it comes;
 * the start time of the process tells it from a later one with the same number, also after a
 * restart of the daemon. */
#include "base/log.h"
#include "daemon/daemon.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>

static int read_start(int pid, uint64_t *ret)
{
    char path[64], text[1024];
    unsigned long long start = 0;

    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    CLEANUP(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (n <= 0) {
        return n < 0 ? -errno : -ESRCH;
    }
    text[n] = '\0';
    /* The name, field 2, is in parentheses and may hold anything; field 3 follows the last one. */
    const char *p = strrchr(text, ')');
    for (int field = 2; p && field < 22; field++) {
        p = strchr(p + 1, ' ');
    }
    if (!p || sscanf(p, " %llu", &start) != 1) {
        return -EIO;
    }
    *ret = start;
    return 0;
}

uint64_t watch_process_start(int pid)
{
    uint64_t start = 0;

    return read_start(pid, &start) == 0 ? start : 0;
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

/* 0: it is watched; -ESRCH: the process has ended; else it cannot be watched now, which says
 * nothing about the process. */
static int begin(struct watch *w)
{
    uint64_t start = 0;
    int fd = (int)syscall(SYS_pidfd_open, w->pid, 0);
    int rc = fd < 0 ? (errno == EINVAL ? -ESRCH : -errno) : 0;
    int known = read_start(w->pid, &start);

    w->pidfd = fd;
    if (known == -ENOENT || known == -ESRCH || (known == 0 && start != w->start)) {
        return -ESRCH;
    }
    rc = rc < 0 ? rc : known;
    rc = rc < 0 ? rc : sd_event_add_io(w->daemon->event, &w->source, fd, EPOLLIN, on_end, w);
    if (rc < 0) {
        closep(&w->pidfd);
        w->pidfd = -1;
    }
    return rc < 0 ? rc : 0;
}

void watch_add(struct daemon *d, uint64_t lease, int pid, uint64_t start)
{
    struct watch *w = xcalloc(1, sizeof(*w));

    sweep(d);
    *w = (struct watch){.daemon = d, .lease = lease, .pid = pid, .start = start, .pidfd = -1};
    LIST_INSERT_HEAD(&d->watches, w, link);
    int rc = begin(w);
    if (rc == -ESRCH) {
        watch_free(w);
        tell_gone(d, lease);
    } else if (rc < 0) {
        log_warn("process %d cannot be watched now (%s): l-%" PRIu64 " is kept, and it is tried "
                 "again", pid, strerror(-rc), lease);
    }
}

void watch_retry(struct daemon *d)
{
    struct watch *next = NULL;

    sweep(d);
    for (struct watch *w = LIST_FIRST(&d->watches); w; w = next) {
        next = LIST_NEXT(w, link);
        uint64_t lease = w->lease;
        if (!w->source && begin(w) == -ESRCH) {
            watch_free(w);
            tell_gone(d, lease);
        }
    }
}

void watch_done(struct daemon *d)
{
    while (!LIST_EMPTY(&d->watches)) {
        watch_free(LIST_FIRST(&d->watches));
    }
}
