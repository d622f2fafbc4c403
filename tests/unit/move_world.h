#pragma once
/* A small machine on which leases are asked to move, for the tests of moves: who asks for what is a
 * table, and everybody in it has a letter. */
#include "../pool_world.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* Asks for `profile`, or gives back what that letter has (no profile).  The list ends with {0}. */
struct act {
    char who;
    const char *tenant, *profile;
    bool is_movable;
    unsigned count;
    int64_t ttl_ms;
    int priority;
};

#define ASK(who_, tenant_, profile_, ...)                                                          \
    {                                                                                              \
        .who = (who_), .tenant = (tenant_), .profile = (profile_), ##__VA_ARGS__                   \
    }
#define BACK(who_)                                                                                 \
    {                                                                                              \
        .who = (who_)                                                                              \
    }

struct scene {
    struct world w;
    uint64_t id[128]; /* lease by letter */
    struct pool_explanation why;
};

/* GPU a holds a movable 1g ('s'), GPU b a 4g that is not movable ('f'). */
static const struct act two_gpus[] = {
    ASK('s', "vision", "1g.10gb", .is_movable = true), ASK('1', "nlp", "4g.40gb"),
    ASK('2', "nlp", "2g.20gb"), ASK('f', "speech", "4g.40gb"), BACK('1'), BACK('2'), {0}};
/* One GPU: two movable 1g where a 4g ('B') is to go. */
static const struct act two_small[] = {
    ASK('1', "nlp", "3g.40gb"), ASK('s', "vision", "1g.10gb", .is_movable = true),
    ASK('o', "speech", "1g.10gb", .is_movable = true), BACK('1'), ASK('B', "nlp", "4g.40gb"), {0}};
/* The GPU has one set of media engines: a second 1g+me cannot be made beside the first. */
static const struct act engines[] = {
    ASK('1', "nlp", "3g.40gb"),
    ASK('s', "vision", "1g.10gb+me", .is_movable = true, .ttl_ms = 500000), BACK('1'),
    ASK('B', "nlp", "4g.40gb"), {0}};

static inline const struct pool_lease *lease(const struct scene *s, char who)
{
    return pool_find_lease(s->w.pool, s->id[(unsigned char)who]);
}

static inline enum pool_lease_state state_of(const struct scene *s, char who)
{
    return lease(s, who)->state;
}

static inline enum pool_move_phase phase_of(const struct scene *s, char who)
{
    return lease(s, who)->move.phase;
}

static inline unsigned seen(const struct scene *s, enum pool_history what)
{
    return s->w.history[what];
}

/* Time passes, and the driver does what it has to. */
static inline void wait_ms(struct scene *s, int64_t ms)
{
    world_pass(&s->w, ms);
}

/* The same in steps of a second. */
static inline void wait_seconds(struct scene *s, unsigned seconds)
{
    for (unsigned i = 0; i < seconds; i++) {
        wait_ms(s, 1000);
    }
}

static inline void give_back(struct scene *s, char who)
{
    const char *tenant = lease(s, who)->tenant->name;

    world_give_back(&s->w, tenant, s->id[(unsigned char)who]);
}

static inline void play(struct scene *s, const struct act *acts)
{
    for (const struct act *a = acts; a->who; a++) {
        if (!a->profile) {
            give_back(s, a->who);
            continue;
        }
        s->id[(unsigned char)a->who] =
            world_ask(&s->w, a->tenant, a->profile,
                      (struct pool_request){.is_movable = a->is_movable, .count = a->count,
                                            .ttl_ms = a->ttl_ms, .priority = a->priority});
        world_settle(&s->w);
    }
}

/* One more who asks. */
static inline void ask(struct scene *s, char who, const char *tenant, const char *profile)
{
    play(s, (struct act[]){ASK(who, tenant, profile), {0}});
}

static inline struct pool_settings moves_up_to(unsigned max_moves)
{
    struct pool_settings settings;

    pool_settings_default(&settings);
    settings.max_moves = max_moves;
    return settings;
}

/* MIG is on everywhere. */
static inline struct scene *scene_on(struct pool_settings settings, const char *const *models,
                                     unsigned gpus, const struct act *acts)
{
    struct scene *s = xcalloc(1, sizeof(*s));

    s->w.now_ms = 1000000;
    for (unsigned i = 0; i < gpus; i++) {
        world_add_gpu(&s->w, models[i], true);
    }
    world_run(&s->w, &settings);
    play(s, acts);
    return s;
}

static inline struct scene *scene_with(struct pool_settings settings, unsigned gpus,
                                       const struct act *acts)
{
    static const char *const models[] = {"H100-SXM5-80GB", "H100-SXM5-80GB", "H100-SXM5-80GB"};

    return scene_on(settings, models, gpus, acts);
}

static inline struct scene *scene(unsigned max_moves, unsigned gpus, const struct act *acts)
{
    return scene_with(moves_up_to(max_moves), gpus, acts);
}

/* two_gpus, and somebody who wants a whole one ('B'). */
static inline struct scene *scene_of_two(void)
{
    struct scene *s = scene(1, 2, two_gpus);

    assert_ptr_not_equal(lease(s, 's')->part[0].gpu, lease(s, 'f')->part[0].gpu);
    ask(s, 'B', "nlp", "7g.80gb");
    return s;
}

static inline void done(struct scene *s)
{
    world_done(&s->w);
    free(s);
}

/* `uuid` and `move` say what is answered; NULL: whatever is asked. */
static inline enum pool_answer answer_as(struct scene *s, char who, const char *tenant,
                                         bool is_confirmed, const char *uuid, const char *move)
{
    struct pool_event e = {.kind = POOL_EV_MOVE, .lease = s->id[(unsigned char)who], .text = uuid,
                           .move = move, .is_confirmed = is_confirmed,
                           .reply_to = ++s->w.next_cookie,
                           .actor = {.tenant = tenant, .role = POOL_ROLE_TENANT}};
    world_step(&s->w, &e);
    return s->w.reply.answer;
}

/* By its holder; nothing has been done yet in the driver. */
static inline enum pool_answer answer(struct scene *s, char who, bool is_confirmed)
{
    return answer_as(s, who, lease(s, who)->tenant->name, is_confirmed, NULL, NULL);
}

/* And what follows. */
static inline void confirm(struct scene *s, char who)
{
    assert_int_equal(answer(s, who, true), POOL_OK);
    world_settle(&s->w);
}

static inline void refuse(struct scene *s, char who)
{
    assert_int_equal(answer(s, who, false), POOL_OK);
    world_settle(&s->w);
}

static inline const char *explain(struct scene *s, char who)
{
    pool_explain(s->w.pool, lease(s, who), s->w.now_ms, &s->why);
    return s->why.reason;
}

static inline struct mig_instance *instance_of(struct scene *s, const struct pool_slice *slice)
{
    struct world_gpu *g = &s->w.gpu[slice->gpu->id];

    for (unsigned i = 0; i < g->gi_count; i++) {
        if (g->gi[i].start == slice->start) {
            return &g->gi[i];
        }
    }
    fail_msg("the slice is not there");
    return &g->gi[0];
}

/* Somebody destroys it by hand, and the driver tells. */
static inline void destroy_by_hand(struct scene *s, const struct pool_slice *slice)
{
    struct world_gpu *g = &s->w.gpu[slice->gpu->id];
    struct mig_instance *gone = instance_of(s, slice);
    unsigned gpu = slice->gpu->id;

    *gone = g->gi[--g->gi_count];
    world_step(&s->w, &(struct pool_event){.kind = POOL_EV_SCAN, .gpu = gpu});
    world_settle(&s->w);
}

static inline void set_health(struct scene *s, unsigned gpu, enum pool_health health)
{
    struct pool_event e = {.kind = POOL_EV_HEALTH, .gpu = gpu, .health = health, .text = "x"};

    world_step(&s->w, &e);
}

static inline int fail_create(struct world *w, const struct pool_job *job)
{
    (void)w;
    return job->kind == POOL_JOB_CREATE ? -EBUSY : 0;
}

static inline int fail_check(struct world *w, const struct pool_job *job)
{
    (void)w;
    return job->kind == POOL_JOB_CHECK ? -EIO : 0;
}

/* The GPUs again; one of them does not say who it is, if `unknown` is its number. */
static inline void boot_without(struct scene *s, const struct pool_settings *settings,
                                unsigned unknown)
{
    unsigned id = 0;

    if (unknown >= s->w.gpu_count) {
        world_boot(&s->w, settings);
        return;
    }
    s->w.pool = pool_new(settings);
    for (unsigned i = 0; i < s->w.gpu_count; i++) {
        struct mig_gpu_info info = world_info(&s->w, i);
        if (i == unknown) {
            info = (struct mig_gpu_info){.index = i};
        }
        assert_int_equal(pool_add_gpu(s->w.pool, &info, i == unknown ? NULL : &s->w.gpu[i].geometry,
                                      true, POOL_MIG_ON_DEMAND, &id, NULL), 0);
        s->w.gpu[i].job_count = 0;
    }
}

/* The daemon comes back; in any record, where it says the first of a pair it says the second
 * (equally long). */
static inline void restart_edited(struct scene *s, const char *const (*words)[2],
                                  unsigned word_count, unsigned unknown)
{
    struct world_records *r = xcalloc(1, sizeof(*r));
    struct pool_settings settings = *pool_settings(s->w.pool);

    world_take_records(&s->w, r);
    for (unsigned i = 0; i < r->count * word_count; i++) {
        char *body = r->record[i / word_count].body;
        const char *const *pair = words[i % word_count];
        char *at = body ? strstr(body, pair[0]) : NULL;
        if (at) {
            memcpy(at, pair[1], strlen(pair[1]));
        }
    }
    pool_free(s->w.pool);
    boot_without(s, &settings, unknown);
    world_load_records(&s->w, r, 0);
    free(r);
    world_start(&s->w);
    world_settle(&s->w);
}

/* As if the record were damaged there. */
static inline void restart_without(struct scene *s, const char *from, const char *to,
                                   unsigned unknown)
{
    const char *const words[][2] = {{from, to}};

    restart_edited(s, words, 1, unknown);
}

static inline void restart(struct scene *s)
{
    restart_edited(s, NULL, 0, WORLD_GPUS);
}

/* It has what it had, and everybody was told so. */
static inline void expect_called_off(struct scene *s, char who)
{
    world_settle(&s->w);
    assert_int_equal(phase_of(s, who), POOL_MOVE_NONE);
    assert_int_equal(state_of(s, who), POOL_LEASE_ACTIVE);
    assert_int_equal(seen(s, POOL_HIST_LEASE_MOVE_CANCELLED), 1);
    assert_int_equal(seen(s, POOL_HIST_LEASE_MOVED), 0);
}
