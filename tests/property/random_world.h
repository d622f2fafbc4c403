/* The world of the random pool test: machines whose hardware is simulated, the daemon's contract
 * played with, and the books that the laws are held against.  test_pool_random.c says what for.
 *
 * random_hardware.c  what the GPUs do with a job
 * random_daemon.c    one step of the pool, its transaction, its actions; start and restart
 * random_laws.c      what must hold after each step, and what when everything has been done */
#pragma once

#include "../pool_world.h"
#include "replay/random.h"
#include <inttypes.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#define GPUS_MAX 4
#define JOBS_MAX 256
#define BATCHES_MAX 8
#define TENANTS 4
#define UNITS_MAX 24
#define DUE_NEVER INT64_MAX
#define DUE_UNKNOWN INT64_MIN /* a lease that had stopped was renewed meanwhile */

/* An instance on the hardware. */
struct unit {
    struct mig_instance gi;
    uint64_t serial;
    bool is_ours;
    char user[POOL_TENANT_SIZE]; /* who was granted it, ever */
    uint32_t told;               /* processes at the last look that the pool was told of */
};

struct machine_gpu {
    struct mig_gpu_info info;
    struct mig_geometry geometry;
    bool has_geometry, is_managed;
    enum pool_mig_policy policy;
    bool is_mig_enabled, is_hung, is_lost, is_disturbed;
    bool is_mig_pending; /* what the mode is after the next reset */
    uint32_t processes;
    struct unit unit[UNITS_MAX];
    unsigned unit_count;
    struct pool_job job[JOBS_MAX];
    unsigned job_count;
    struct pool_job_result result[JOBS_MAX];
    struct mig_scan scan[JOBS_MAX];
    unsigned result_count;
};

/* What we know of a lease from committed answers. */
struct book {
    uint64_t id;
    bool is_granted, is_ended;
    bool is_broken; /* the hardware went away under it */
    bool is_moved;  /* of a grant: it has gone on with the time that it had */
    int64_t due_ms; /* the end of its time, by our clock */
    unsigned tenant, part_count;
    struct {
        unsigned gpu;
        uint64_t serial; /* 0: whole GPU */
        char mig_uuid[MIG_UUID_SIZE];
    } part[POOL_MAX_COUNT];
};

struct batch {
    struct pool_record *record;
    unsigned record_count;
    struct pool_action *action;
    unsigned action_count;
    struct book *grant; /* and moves that were confirmed: where the lease is from then on */
    unsigned grant_count;
    bool is_adoption, is_adopted;
    uint64_t adopted_serial;
    uint64_t renewed; /* the lease that has a new time limit with it, 0 none */
    int64_t due_ms, old_ttl_ms;
    int64_t jump_ms; /* what the clock was found to have been set by */
};

struct stored {
    enum pool_record_kind kind;
    uint64_t id;
    char *body;
};

struct machine {
    struct replay_random random;
    uint64_t seed;
    unsigned step;
    struct pool *pool, *twin;
    struct pool_settings settings;
    struct pool_actions actions, twin_actions;
    struct machine_gpu gpu[GPUS_MAX];
    unsigned gpu_count;
    int64_t now_ms;
    int64_t set_ms; /* of it, what somebody has set the clock ahead by */
    int64_t jump_ms; /* and of that, what has not been noticed */
    struct batch batch[BATCHES_MAX];
    unsigned batch_count;
    struct stored *db;
    unsigned db_count, db_size;
    struct book *book;
    unsigned book_count, book_size;
    uint64_t *doomed; /* slices that a DESTROY was seen for */
    unsigned doomed_count, doomed_size;
    uint64_t next_serial, next_cookie;
    bool is_calm; /* no failures are injected */
    bool is_moving; /* an episode of movable leases, with less trouble */
    bool is_traced;
    struct pool_action reply;
    bool has_reply;
    uint64_t adopting_serial; /* of the event under way, 0 none */
    bool is_adopting;
    bool is_asking, is_renewing; /* the same, with this time limit */
    int64_t asking_ms;
    uint64_t asked_before; /* the last lease before it */
    int64_t *ttl_ms; /* by lease: what was promised */
    uint64_t ttl_size;
    struct pool_explanation *why;
    struct pool_preview *preview;
    unsigned heads_waiting, jumps;
    unsigned seen_granted, seen_lost, seen_rejected, seen_expired, crashes, reboots, foreign_seen,
        quarantined, ops_done, ops_failed, modes, asked, moved, not_moved, stopped, asked_part,
        asked_for_gang;
};

extern struct machine *machine; /* for the message when something fails */
extern const char *const tenants[TENANTS];
extern const struct pool_limits tenant_limits[TENANTS];

#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            fail_msg("seed %" PRIu64 " step %u: %s (line %d)", machine->seed, machine->step,       \
                     #cond, __LINE__);                                                             \
        }                                                                                          \
    } while (0)

uint32_t draw(struct machine *m, uint32_t below);
bool chance(struct machine *m, uint32_t one_in);

/* random_hardware.c */
struct unit *unit_at(struct machine_gpu *g, unsigned start);
struct unit *unit_by_serial(struct machine *m, uint64_t serial);
struct unit *unit_by_uuid(struct machine_gpu *g, const char *uuid);
struct mig_use hardware_use(const struct machine_gpu *g);
void count_processes(struct mig_instance *gi);
void add_ci(struct machine *m, struct machine_gpu *g, struct unit *u, unsigned slices);
struct unit *add_unit(struct machine *m, struct machine_gpu *g, uint32_t profile_id,
                      unsigned start, unsigned size, bool is_ours);
void drop_unit(struct machine *m, struct machine_gpu *g, struct unit *u, bool is_by_us);
void reset_gpu(struct machine *m, struct machine_gpu *g);
bool execute(struct machine *m, struct machine_gpu *g);

/* random_daemon.c */
struct book *find_book(struct machine *m, uint64_t id);
void take_batch(struct machine *m);
void lose_batch(struct machine *m, struct batch *b);
void commit_one(struct machine *m, unsigned action_limit);
void commit_some(struct machine *m);
void step(struct machine *m, struct pool_event *e);
bool deliver(struct machine *m, struct machine_gpu *g);
void start(struct machine *m);
void tick(struct machine *m, int64_t ms);

/* random_laws.c */
void check_now(struct machine *m);
void check_same_as_hardware(struct machine *m);
void check_head_must_wait(struct machine *m);
void check_restart(struct machine *m);
void check_queue_empties(struct machine *m);
void work_off(struct machine *m);
void calm(struct machine *m);
struct pool_actor actor_of(unsigned tenant, enum pool_role role);

/* test_pool_random.c */
void answer_move(struct machine *m);
