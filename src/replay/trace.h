#pragma once
#include "base/cleanup.h"
#include "base/error.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A trace: CSV with arrival_ms,profile,duration_ms[,tenant,priority,movable].  A first line that
 * names columns sets their order and may leave the last three out; without one they stand in this
 * order.  Lines that start with # and empty lines are skipped. */

struct replay_job {
    int64_t arrival_ms, duration_ms;
    uint32_t profile; /* index in trace.profiles */
    uint32_t tenant;  /* a number for each name, 0 for none */
    int32_t priority; /* higher goes first */
    bool is_movable;
};

struct replay_trace {
    size_t count;
    struct replay_job *jobs; /* by arrival; equal arrivals in the order of the file */
    uint32_t profile_count;
    char **profiles;  /* as written */
    bool has_movable; /* the file says who may be moved */
};

void replay_trace_done(struct replay_trace *trace);
/* "-" is standard input.  -EINVAL names file, line and byte; caps: a million
 * jobs, 1,000 profiles. */
int replay_trace_read(const char *path, struct replay_trace *ret, struct error *err);
