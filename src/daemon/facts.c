/* What the daemon knows of itself, for /v1 and `doctor`. */
#include "daemon/daemon.h"
#include "base/clock.h"
#include "base/text.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <sys/statvfs.h>

#define ROOM_BYTES (64ULL << 20)
#define CLOCK_MS 5000

void facts_fill(void *userdata, struct api_facts *ret)
{
    const struct daemon *d = userdata;
    const struct driver_versions *v = driver_versions(d->driver);

    *ret = (struct api_facts){
        .machine = d->machine,
        .driver_version = v->driver[0] ? v->driver : NULL,
        .nvml_version = v->nvml[0] ? v->nvml : NULL,
        .library = d->config.driver,
        .started_ms = d->started_ms,
        .is_simulated = d->is_simulated,
        .not_ready = d->not_ready[0] ? d->not_ready : NULL,
        .store_problem = d->store_problem[0] ? d->store_problem : NULL,
        .is_shutting_down = d->is_stopping,
    };
}

typedef void check_fn(const struct api_check *check, void *arg);

static void check_driver(const struct daemon *d, check_fn *each, void *arg)
{
    const struct driver_versions *v = driver_versions(d->driver);
    unsigned capable = 0;
    char what[300];

    for (unsigned i = 0; i < pool_gpu_count(d->pool); i++) {
        capable += pool_gpu(d->pool, i)->info.is_mig_capable;
    }
    snprintf(what, sizeof(what), "driver %s, %u GPUs, %u of them can do MIG%s",
             v->driver[0] ? v->driver : "of unknown version", pool_gpu_count(d->pool), capable,
             d->is_simulated ? " (simulated)" : "");
    each(&(struct api_check){.name = "driver", .what = what,
                             .state = capable ? API_CHECK_OK : API_CHECK_WARNING,
                             .todo = capable ? NULL : "whole GPUs can be leased; slices need a "
                                                      "MIG-capable GPU (A100, A30, H100 or newer)"},
         arg);
}

const char *facts_state_problem(const struct daemon *d)
{
    struct stat st;

    if (stat(d->config.state_dir, &st) < 0) {
        return NULL; /* the journal will say so */
    }
    if (st.st_uid != geteuid()) {
        return "belongs to another user, who may change the journal; chown it to tangramd's";
    }
    return st.st_mode & 022 ? "may be written by others, who may change the journal; chmod 0700 it"
                            : NULL;
}

static void check_store(const struct daemon *d, check_fn *each, void *arg)
{
    if (d->store_problem[0]) {
        each(&(struct api_check){.name = "journal", .state = API_CHECK_ERROR,
                                 .what = d->store_problem,
                                 .todo = "make room on the disk or mend it; tangramd goes on by "
                                         "itself as soon as it can write"}, arg);
    } else {
        each(&(struct api_check){.name = "journal", .what = d->config.state_dir}, arg);
    }
    if (facts_state_problem(d)) {
        char what[5000];
        snprintf(what, sizeof(what), "%.4096s %s", d->config.state_dir, facts_state_problem(d));
        each(&(struct api_check){.name = "journal", .state = API_CHECK_WARNING, .what = what}, arg);
    }
    for (unsigned i = 0; i < d->store_report.count && d->store_report.is_damaged; i++) {
        each(&(struct api_check){.name = "journal", .state = API_CHECK_WARNING,
                                 .what = d->store_report.lines[i],
                                 .todo = "compare `tangram leases` with what you expect"}, arg);
    }
}

static void check_rights(const struct daemon *d, check_fn *each, void *arg)
{
    bool is_enough = geteuid() == 0 || d->is_simulated;

    each(&(struct api_check){.name = "permissions",
                             .state = is_enough ? API_CHECK_OK : API_CHECK_WARNING,
                             .what = is_enough ? "tangramd may cut GPUs"
                                               : "tangramd does not run as root",
                             .todo = is_enough ? NULL
                                               : "cutting needs root, or access to "
                                                 "/proc/driver/nvidia/capabilities/mig/config"},
         arg);
}

/* Before the disk is full: then it is too late. */
static void check_room(const struct daemon *d, check_fn *each, void *arg)
{
    struct statvfs disk = {0};
    char what[sizeof(d->config.state_dir) + 100];

    if (statvfs(d->config.state_dir, &disk) < 0) {
        return;
    }
    uint64_t room = (uint64_t)disk.f_bavail * disk.f_frsize;
    if (room < ROOM_BYTES) {
        snprintf(what, sizeof(what), "%llu MiB are left on the disk of %s",
                 (unsigned long long)(room >> 20), d->config.state_dir);
        each(&(struct api_check){.name = "journal", .state = API_CHECK_WARNING, .what = what,
                                 .todo = "make room: what cannot be written down is refused"},
             arg);
    }
}

static void check_clock(const struct daemon *d, check_fn *each, void *arg)
{
    int64_t ahead_ms = clock_real_ms() - daemon_now_ms(d);
    char span[32], what[200];

    if (llabs(ahead_ms) < CLOCK_MS) {
        return;
    }
    snprintf(what, sizeof(what), "the machine's clock was set %s by %s since tangramd started",
             ahead_ms > 0 ? "forward" : "back",
             text_format_duration_ms((llabs(ahead_ms) + 500) / 1000 * 1000, span));
    each(&(struct api_check){.name = "clock", .state = API_CHECK_WARNING, .what = what,
                             .todo = "leases end when they should, but the times that are shown "
                                     "are off by that; 'systemctl restart tangramd' mends them"},
         arg);
}

void facts_doctor(void *userdata, check_fn *each, void *arg)
{
    const struct daemon *d = userdata;

    check_driver(d, each, arg);
    check_store(d, each, arg);
    check_room(d, each, arg);
    check_clock(d, each, arg);
    check_rights(d, each, arg);
}
