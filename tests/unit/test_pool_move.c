/* Leases that are moved so that a request fits: every course that a move can take. */
#include "../pool_world.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

struct scene {
    struct world w;
    uint64_t small, fixed, big; /* a movable 1g, a 2g that stays, a 7g that waits */
    struct pool_explanation why;
};

static struct pool_lease const *lease(const struct scene *s, uint64_t id)
{
    return pool_find_lease(s->w.pool, id);
}

/* GPU a holds a movable 1g, GPU b a 2g that is not movable, and somebody wants a whole one. */
static struct scene *setup_with(struct pool_settings settings)
{
    struct scene *s = xcalloc(1, sizeof(*s));

    s->w.now_ms = 1000000;
    world_add_gpu(&s->w, "H100-SXM5-80GB", true);
    world_add_gpu(&s->w, "H100-SXM5-80GB", true);
    world_boot(&s->w, &settings);
    world_start(&s->w);
    world_settle(&s->w);
    s->small = world_ask(&s->w, "vision", "1g.10gb", (struct pool_request){.is_movable = true});
    uint64_t fill = world_ask(&s->w, "nlp", "4g.40gb", (struct pool_request){0});
    uint64_t fill2 = world_ask(&s->w, "nlp", "2g.20gb", (struct pool_request){0});
    s->fixed = world_ask(&s->w, "speech", "4g.40gb", (struct pool_request){0});
    world_settle(&s->w);
    world_release(&s->w, "nlp", fill);
    world_release(&s->w, "nlp", fill2);
    world_settle(&s->w);
    assert_ptr_not_equal(lease(s, s->small)->part[0].gpu, lease(s, s->fixed)->part[0].gpu);
    return s;
}

static struct scene *setup(unsigned max_moves)
{
    struct pool_settings settings;

    pool_settings_default(&settings);
    settings.max_moves = max_moves;
    return setup_with(settings);
}

static void done(struct scene *s)
{
    world_done(&s->w);
    free(s);
}

static void ask_big(struct scene *s)
{
    s->big = world_ask(&s->w, "nlp", "7g.80gb", (struct pool_request){0});
    world_settle(&s->w);
}

static enum pool_answer answer(struct scene *s, const char *tenant, bool is_confirmed,
                               const char *uuid)
{
    struct pool_event e = {.kind = POOL_EV_MOVE, .lease = s->small, .text = uuid,
                           .is_confirmed = is_confirmed, .reply_to = ++s->w.next_cookie,
                           .actor = {.tenant = tenant, .role = POOL_ROLE_TENANT}};
    world_step(&s->w, &e);
    return s->w.reply.answer;
}

static const char *explain(struct scene *s, uint64_t id)
{
    pool_explain(s->w.pool, lease(s, id), s->w.now_ms, &s->why);
    return s->why.reason;
}

static struct mig_instance *instance_of(struct scene *s, const struct pool_slice *slice)
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

static void a_confirmed_move_makes_room(void **state)
{
    struct scene *s = setup(1);
    char old[MIG_UUID_SIZE];
    (void)state;
    const struct pool_gpu *was_on = lease(s, s->small)->part[0].gpu;
    text_copy(old, sizeof(old), lease(s, s->small)->part[0].slice->ci[0].mig_uuid);
    ask_big(s);
    const struct pool_lease *small = lease(s, s->small);
    assert_int_equal(world_state(&s->w, s->big), POOL_LEASE_QUEUED);
    assert_int_equal(small->move.phase, POOL_MOVE_ASKED);
    assert_string_equal(small->part[0].slice->ci[0].mig_uuid, old); /* until it is confirmed */
    assert_int_equal(s->w.history[POOL_HIST_LEASE_MOVE_ASKED], 1);
    assert_non_null(strstr(explain(s, s->big), "l-1 (vision; asked"));
    assert_int_equal(s->why.block_count, 1);
    assert_int_equal(s->why.block[0].until_ms, small->move.due_ms);
    assert_non_null(strstr(explain(s, s->small), "makes room for l-"));
    const char *uuid = small->move.slice->ci[0].mig_uuid;
    assert_int_equal(answer(s, "speech", true, NULL), POOL_FORBIDDEN);
    assert_int_equal(answer(s, "vision", true, old), POOL_NO_MOVE);
    assert_int_equal(answer(s, "vision", true, uuid), POOL_OK);
    assert_ptr_not_equal(small->part[0].gpu, was_on);
    assert_string_not_equal(small->part[0].slice->ci[0].mig_uuid, old);
    world_settle(&s->w);
    assert_int_equal(world_state(&s->w, s->big), POOL_LEASE_ACTIVE);
    assert_int_equal(world_state(&s->w, s->small), POOL_LEASE_ACTIVE);
    assert_int_equal(small->move.phase, POOL_MOVE_NONE);
    assert_int_equal(answer(s, "vision", true, NULL), POOL_NO_MOVE);
    assert_int_equal(s->w.history[POOL_HIST_LEASE_MOVED], 1);
    done(s);
}

static void nobody_is_asked_who_is_not_movable_or_when_it_is_off(void **state)
{
    struct scene *s = setup(0);
    (void)state;
    ask_big(s);
    assert_int_equal(lease(s, s->small)->move.phase, POOL_MOVE_NONE);
    assert_null(lease(s, s->big)->shift);
    assert_int_equal(answer(s, "vision", true, NULL), POOL_NO_MOVE);
    done(s);
}

/* Whose old slice still has a process keeps both until it ends. */
static void the_old_slice_is_left_when_nothing_runs_on_it(void **state)
{
    struct scene *s = setup(1);
    (void)state;
    ask_big(s);
    struct mig_instance *old = instance_of(s, lease(s, s->small)->part[0].slice);
    old->process_count = 1;
    assert_int_equal(answer(s, "vision", true, NULL), POOL_OK);
    world_settle(&s->w);
    world_wait(&s->w, 5000);
    world_settle(&s->w);
    assert_int_equal(lease(s, s->small)->move.phase, POOL_MOVE_LEAVING);
    assert_int_equal(world_state(&s->w, s->big), POOL_LEASE_QUEUED);
    assert_non_null(strstr(explain(s, s->small), "1 process(es) still run"));
    old->process_count = 0;
    world_wait(&s->w, 2000);
    world_settle(&s->w);
    assert_int_equal(world_state(&s->w, s->big), POOL_LEASE_ACTIVE);
    done(s);
}

/* Nobody else gets what is kept for the request meanwhile. */
static void the_window_is_kept(void **state)
{
    struct scene *s = setup(1);
    (void)state;
    ask_big(s);
    uint64_t other = world_ask(&s->w, "late", "3g.40gb", (struct pool_request){.ttl_ms = 1000});
    world_settle(&s->w);
    if (world_state(&s->w, other) == POOL_LEASE_ACTIVE) {
        assert_ptr_not_equal(lease(s, other)->part[0].gpu, lease(s, s->small)->part[0].gpu);
    }
    uint64_t more = world_ask(&s->w, "late", "4g.40gb", (struct pool_request){.ttl_ms = 1000});
    world_settle(&s->w);
    assert_int_equal(world_state(&s->w, more), POOL_LEASE_QUEUED);
    answer(s, "vision", true, NULL);
    world_settle(&s->w);
    assert_int_equal(world_state(&s->w, s->big), POOL_LEASE_ACTIVE);
    done(s);
}

static void expect_called_off(struct scene *s)
{
    world_settle(&s->w);
    assert_int_equal(lease(s, s->small)->move.phase, POOL_MOVE_NONE);
    assert_int_equal(world_state(&s->w, s->small), POOL_LEASE_ACTIVE);
    assert_int_equal(s->w.history[POOL_HIST_LEASE_MOVE_CANCELLED], 1);
    assert_int_equal(s->w.history[POOL_HIST_LEASE_MOVED], 0);
}

static void a_refusal_is_kept_to_and_asked_again_later(void **state)
{
    struct scene *s = setup(1);
    (void)state;
    ask_big(s);
    const struct pool_slice *had = lease(s, s->small)->part[0].slice;
    assert_int_equal(answer(s, "vision", false, NULL), POOL_OK);
    expect_called_off(s);
    assert_ptr_equal(lease(s, s->small)->part[0].slice, had);
    assert_int_equal(world_state(&s->w, s->big), POOL_LEASE_QUEUED);
    assert_non_null(strstr(explain(s, s->big), "l-1 (vision)"));
    world_wait(&s->w, 300000);
    world_settle(&s->w);
    assert_int_equal(s->w.history[POOL_HIST_LEASE_MOVE_ASKED], 1);
    world_wait(&s->w, 400000);
    world_settle(&s->w);
    assert_int_equal(s->w.history[POOL_HIST_LEASE_MOVE_ASKED], 2);
    done(s);
}

static void silence_is_a_refusal(void **state)
{
    struct scene *s = setup(1);
    (void)state;
    ask_big(s);
    instance_of(s, lease(s, s->small)->move.slice)->process_count = 1; /* it had begun */
    world_wait(&s->w, 61000);
    world_settle(&s->w);
    assert_int_equal(lease(s, s->small)->move.phase, POOL_MOVE_LEAVING);
    assert_false(lease(s, s->small)->move.is_confirmed);
    assert_int_equal(answer(s, "vision", true, NULL), POOL_NO_MOVE);
    instance_of(s, lease(s, s->small)->move.slice)->process_count = 0;
    world_wait(&s->w, 2000);
    expect_called_off(s);
    done(s);
}

static void a_request_that_ends_calls_it_off(void **state)
{
    struct scene *s = setup(1);
    (void)state;
    ask_big(s);
    world_release(&s->w, "nlp", s->big);
    expect_called_off(s);
    /* It was not the holder's fault: the next one may be helped at once. */
    ask_big(s);
    assert_int_equal(lease(s, s->small)->move.phase, POOL_MOVE_ASKED);
    done(s);
}

static void a_request_that_is_served_otherwise_calls_it_off(void **state)
{
    struct scene *s = setup(1);
    (void)state;
    ask_big(s);
    world_release(&s->w, "speech", s->fixed);
    world_settle(&s->w);
    /* The new 1g is on that GPU: the request still waits for one of the two. */
    assert_int_equal(world_state(&s->w, s->big), POOL_LEASE_QUEUED);
    answer(s, "vision", false, NULL);
    expect_called_off(s);
    assert_int_equal(world_state(&s->w, s->big), POOL_LEASE_ACTIVE);
    done(s);
}

/* Released in the middle: its processes are waited for on both slices. */
static void a_holder_may_release_in_the_middle(void **state)
{
    struct scene *s = setup(1);
    (void)state;
    ask_big(s);
    struct mig_instance *next = instance_of(s, lease(s, s->small)->move.slice);
    next->process_count = 1;
    world_release(&s->w, "vision", s->small);
    world_settle(&s->w);
    assert_int_equal(world_state(&s->w, s->small), POOL_LEASE_RELEASING);
    next->process_count = 0;
    world_wait(&s->w, 3000);
    world_settle(&s->w);
    assert_int_equal(world_state(&s->w, s->small), POOL_LEASE_RELEASED);
    assert_int_equal(world_state(&s->w, s->big), POOL_LEASE_ACTIVE);
    done(s);
}

static void a_time_limit_ends_it_in_the_middle(void **state)
{
    struct scene *s = setup(1);
    (void)state;
    struct pool_event e = {.kind = POOL_EV_RENEW, .lease = s->small, .ttl_ms = 5000,
                           .actor = {.tenant = "vision", .role = POOL_ROLE_TENANT}};
    world_step(&s->w, &e);
    ask_big(s);
    assert_int_equal(lease(s, s->small)->move.phase, POOL_MOVE_ASKED);
    world_wait(&s->w, 6000);
    world_settle(&s->w);
    assert_int_equal(world_state(&s->w, s->small), POOL_LEASE_EXPIRED);
    assert_int_equal(world_state(&s->w, s->big), POOL_LEASE_ACTIVE);
    done(s);
}

static int fail_create(struct world *w, const struct pool_job *job)
{
    (void)w;
    return job->kind == POOL_JOB_CREATE ? -EBUSY : 0;
}

static void a_driver_that_fails_changes_nothing(void **state)
{
    struct scene *s = setup(1);
    (void)state;
    const struct pool_slice *had = lease(s, s->small)->part[0].slice;
    s->w.fail = fail_create;
    ask_big(s);
    expect_called_off(s);
    assert_ptr_equal(lease(s, s->small)->part[0].slice, had);
    assert_int_equal(s->w.history[POOL_HIST_LEASE_MOVE_ASKED], 0);
    s->w.fail = NULL;
    world_wait(&s->w, 40000);
    world_settle(&s->w);
    assert_int_equal(lease(s, s->small)->move.phase, POOL_MOVE_ASKED);
    done(s);
}

static void set_health(struct scene *s, const struct pool_gpu *gpu, enum pool_health health)
{
    struct pool_event e = {.kind = POOL_EV_HEALTH, .gpu = gpu->id, .health = health, .text = "x"};

    world_step(&s->w, &e);
}

static void a_lost_gpu_calls_it_off(void **state)
{
    struct scene *s = setup(1);
    (void)state;
    ask_big(s);
    set_health(s, lease(s, s->small)->move.slice->gpu, POOL_HEALTH_LOST);
    expect_called_off(s);
    done(s);
    s = setup(1);
    ask_big(s);
    set_health(s, lease(s, s->small)->part[0].gpu, POOL_HEALTH_LOST);
    world_settle(&s->w);
    /* What the room was for is gone. */
    world_wait(&s->w, 10000);
    world_settle(&s->w);
    assert_int_equal(lease(s, s->small)->move.phase, POOL_MOVE_NONE);
    assert_null(lease(s, s->big)->shift);
    done(s);
}

static void what_is_destroyed_by_hand_is_noticed(void **state)
{
    struct scene *s = setup(1);
    (void)state;
    ask_big(s);
    const struct pool_slice *to = lease(s, s->small)->move.slice;
    struct world_gpu *g = &s->w.gpu[to->gpu->id];
    struct mig_instance *gone = instance_of(s, to);
    *gone = g->gi[--g->gi_count];
    world_step(&s->w, &(struct pool_event){.kind = POOL_EV_SCAN, .gpu = to->gpu->id});
    expect_called_off(s);
    done(s);
    s = setup(1);
    ask_big(s);
    const struct pool_slice *from = lease(s, s->small)->part[0].slice;
    g = &s->w.gpu[from->gpu->id];
    gone = instance_of(s, from);
    *gone = g->gi[--g->gi_count];
    world_step(&s->w, &(struct pool_event){.kind = POOL_EV_SCAN, .gpu = from->gpu->id});
    world_settle(&s->w);
    assert_int_equal(world_state(&s->w, s->small), POOL_LEASE_LOST);
    assert_int_equal(world_state(&s->w, s->big), POOL_LEASE_ACTIVE);
    done(s);
}

/* --- while nobody waits ----------------------------------------------------------------------- */

static struct scene *setup_consolidation(void)
{
    struct pool_settings settings;

    pool_settings_default(&settings);
    settings.consolidate_per_hour = 2;
    settings.move_pause_ms = 0;
    return setup_with(settings);
}

static void a_gpu_is_emptied_and_that_is_all(void **state)
{
    struct scene *s = setup_consolidation();
    (void)state;
    world_wait(&s->w, 1000);
    assert_int_equal(s->w.history[POOL_HIST_LEASE_MOVE_ASKED], 0);
    world_wait(&s->w, 1800000);
    world_settle(&s->w);
    assert_int_equal(lease(s, s->small)->move.phase, POOL_MOVE_ASKED);
    assert_int_equal(lease(s, s->small)->move.request, 0);
    assert_ptr_equal(lease(s, s->small)->move.slice->gpu, lease(s, s->fixed)->part[0].gpu);
    assert_int_equal(answer(s, "vision", true, NULL), POOL_OK);
    world_settle(&s->w);
    assert_ptr_equal(lease(s, s->small)->part[0].gpu, lease(s, s->fixed)->part[0].gpu);
    for (int i = 0; i < 20; i++) { /* it does not wander */
        world_wait(&s->w, 1800000);
        world_settle(&s->w);
    }
    assert_int_equal(s->w.history[POOL_HIST_LEASE_MOVE_ASKED], 1);
    done(s);
}

static void consolidation_keeps_to_its_budget(void **state)
{
    struct scene *s = setup_consolidation();
    (void)state;
    for (int i = 0; i < 10; i++) { /* refused each time */
        world_wait(&s->w, 1800000);
        world_settle(&s->w);
        if (lease(s, s->small)->move.phase == POOL_MOVE_ASKED) {
            answer(s, "vision", false, NULL);
        }
        world_settle(&s->w);
    }
    assert_int_equal(s->w.history[POOL_HIST_LEASE_MOVE_ASKED], 10);
    done(s);
}

static void whoever_waits_comes_before_consolidation(void **state)
{
    struct scene *s = setup_consolidation();
    (void)state;
    world_wait(&s->w, 1800000);
    world_settle(&s->w);
    assert_int_equal(lease(s, s->small)->move.phase, POOL_MOVE_ASKED);
    ask_big(s);
    world_settle(&s->w);
    assert_int_equal(s->w.history[POOL_HIST_LEASE_MOVE_CANCELLED], 1);
    world_wait(&s->w, 6000);
    world_settle(&s->w);
    assert_int_equal(lease(s, s->small)->move.phase, POOL_MOVE_ASKED);
    assert_int_equal(lease(s, s->small)->move.request, s->big);
    done(s);
}

/* --- sets of moves, and what is never moved ----------------------------------------------------- */

/* One GPU: two movable 1g where a 4g is to go. */
static struct scene *setup_two(uint64_t *ret_other, unsigned count)
{
    struct scene *s = xcalloc(1, sizeof(*s));
    struct pool_settings settings;

    pool_settings_default(&settings);
    settings.max_moves = 3;
    s->w.now_ms = 1000000;
    world_add_gpu(&s->w, "H100-SXM5-80GB", true);
    world_boot(&s->w, &settings);
    world_start(&s->w);
    world_settle(&s->w);
    uint64_t half = world_ask(&s->w, "nlp", "3g.40gb", (struct pool_request){0});
    s->small = world_ask(&s->w, "vision", "1g.10gb",
                         (struct pool_request){.is_movable = true, .count = count});
    *ret_other = count > 1 ? 0 : world_ask(&s->w, "speech", "1g.10gb",
                                           (struct pool_request){.is_movable = true});
    world_settle(&s->w);
    world_release(&s->w, "nlp", half);
    world_settle(&s->w);
    s->big = world_ask(&s->w, "nlp", "4g.40gb", (struct pool_request){0});
    world_settle(&s->w);
    return s;
}

static enum pool_answer answer_for(struct scene *s, uint64_t id, const char *tenant, bool is_confirmed)
{
    uint64_t small = s->small;

    s->small = id;
    enum pool_answer a = answer(s, tenant, is_confirmed, NULL);
    s->small = small;
    world_settle(&s->w);
    return a;
}

static void several_are_asked_at_once(void **state)
{
    uint64_t other = 0;
    struct scene *s = setup_two(&other, 1);
    (void)state;
    assert_int_equal(lease(s, s->small)->move.phase, POOL_MOVE_ASKED);
    assert_int_equal(lease(s, other)->move.phase, POOL_MOVE_ASKED);
    assert_int_equal(answer_for(s, other, "speech", true), POOL_OK);
    assert_int_equal(world_state(&s->w, s->big), POOL_LEASE_QUEUED);
    assert_int_equal(answer_for(s, s->small, "vision", true), POOL_OK);
    assert_int_equal(world_state(&s->w, s->big), POOL_LEASE_ACTIVE);
    assert_int_equal(lease(s, s->big)->part[0].slice->start, 0);
    done(s);
}

static void one_refusal_calls_the_others_off(void **state)
{
    uint64_t other = 0;
    struct scene *s = setup_two(&other, 1);
    (void)state;
    assert_int_equal(answer_for(s, s->small, "vision", false), POOL_OK);
    assert_int_equal(lease(s, other)->move.phase, POOL_MOVE_NONE);
    assert_int_equal(answer_for(s, other, "speech", true), POOL_NO_MOVE);
    assert_null(lease(s, s->big)->shift);
    world_wait(&s->w, 60000); /* without the one who refused there is nothing to be done */
    world_settle(&s->w);
    assert_int_equal(s->w.history[POOL_HIST_LEASE_MOVE_ASKED], 2);
    done(s);
}

static void what_has_moved_stays_when_another_refuses(void **state)
{
    uint64_t other = 0;
    struct scene *s = setup_two(&other, 1);
    (void)state;
    assert_int_equal(answer_for(s, other, "speech", true), POOL_OK);
    assert_int_equal(answer_for(s, s->small, "vision", false), POOL_OK);
    assert_true(lease(s, other)->part[0].slice->start >= 4);
    assert_true(lease(s, s->small)->part[0].slice->start < 4);
    assert_int_equal(world_state(&s->w, s->big), POOL_LEASE_QUEUED);
    world_wait(&s->w, 700000);
    world_settle(&s->w);
    assert_int_equal(answer_for(s, s->small, "vision", true), POOL_OK);
    assert_int_equal(world_state(&s->w, s->big), POOL_LEASE_ACTIVE);
    done(s);
}

static void leases_of_several_slices_are_left_alone(void **state)
{
    uint64_t none = 0;
    struct scene *s = setup_two(&none, 2);
    (void)state;
    assert_int_equal(world_state(&s->w, s->small), POOL_LEASE_ACTIVE);
    assert_int_equal(world_state(&s->w, s->big), POOL_LEASE_QUEUED);
    world_wait(&s->w, 60000);
    assert_int_equal(s->w.history[POOL_HIST_LEASE_MOVE_ASKED], 0);
    done(s);
}

/* --- break before make --------------------------------------------------------------------------- */

/* The GPU has one set of media engines: a second 1g+me cannot be made beside the first. */
static struct scene *setup_engines(void)
{
    struct scene *s = xcalloc(1, sizeof(*s));
    struct pool_settings settings;

    pool_settings_default(&settings);
    s->w.now_ms = 1000000;
    world_add_gpu(&s->w, "H100-SXM5-80GB", true);
    world_boot(&s->w, &settings);
    world_start(&s->w);
    world_settle(&s->w);
    uint64_t half = world_ask(&s->w, "nlp", "3g.40gb", (struct pool_request){0});
    s->small = world_ask(&s->w, "vision", "1g.10gb+me",
                         (struct pool_request){.is_movable = true, .ttl_ms = 500000});
    world_settle(&s->w);
    world_release(&s->w, "nlp", half);
    world_settle(&s->w);
    assert_true(lease(s, s->small)->part[0].slice->start < 4);
    s->big = world_ask(&s->w, "nlp", "4g.40gb", (struct pool_request){0});
    world_settle(&s->w);
    return s;
}

static void who_cannot_be_in_two_places_is_asked_to_stop(void **state)
{
    struct scene *s = setup_engines();
    (void)state;
    const struct pool_lease *small = lease(s, s->small);
    int64_t granted_ms = small->granted_ms, expires_ms = small->expires_ms;
    assert_int_equal(small->move.phase, POOL_MOVE_ASKED);
    assert_true(small->move.is_stop);
    assert_non_null(strstr(explain(s, s->small), "asked to stop"));
    assert_non_null(strstr(explain(s, s->big), "asked"));
    instance_of(s, small->part[0].slice)->process_count = 1;
    s->w.now_ms += 1000;
    assert_int_equal(answer(s, "vision", true, NULL), POOL_OK);
    world_settle(&s->w); /* it said so, and yet it runs */
    world_wait(&s->w, 3000);
    world_settle(&s->w);
    assert_int_equal(small->state, POOL_LEASE_ACTIVE);
    assert_true(small->part[0].slice->start < 4);
    instance_of(s, small->part[0].slice)->process_count = 0;
    world_wait(&s->w, 2000);
    world_settle(&s->w);
    assert_int_equal(s->w.history[POOL_HIST_LEASE_STOPPED], 1);
    assert_int_equal(s->w.history[POOL_HIST_LEASE_MOVED], 1);
    assert_int_equal(world_state(&s->w, s->big), POOL_LEASE_ACTIVE);
    assert_int_equal(small->state, POOL_LEASE_ACTIVE);
    assert_true(small->part[0].slice->start >= 4);
    assert_int_equal(small->granted_ms, granted_ms);
    assert_int_equal(small->expires_ms, expires_ms);
    assert_int_equal(s->w.history[POOL_HIST_LEASE_GRANTED], 3); /* it was not granted once more */
    done(s);
}

static void who_does_not_stop_keeps_what_it_has(void **state)
{
    struct scene *s = setup_engines();
    (void)state;
    assert_int_equal(answer(s, "vision", false, NULL), POOL_OK);
    world_settle(&s->w);
    assert_int_equal(lease(s, s->small)->move.phase, POOL_MOVE_NONE);
    assert_int_equal(lease(s, s->small)->state, POOL_LEASE_ACTIVE);
    assert_int_equal(world_state(&s->w, s->big), POOL_LEASE_QUEUED);
    done(s);
    s = setup_engines();
    world_wait(&s->w, 61000);
    world_settle(&s->w);
    assert_int_equal(lease(s, s->small)->move.phase, POOL_MOVE_NONE);
    assert_int_equal(lease(s, s->small)->state, POOL_LEASE_ACTIVE);
    done(s);
    s = setup_engines();
    world_release(&s->w, "vision", s->small);
    world_settle(&s->w);
    assert_int_equal(world_state(&s->w, s->small), POOL_LEASE_RELEASED);
    assert_int_equal(world_state(&s->w, s->big), POOL_LEASE_ACTIVE);
    done(s);
    s = setup_engines(); /* says that it stops, and goes on */
    instance_of(s, lease(s, s->small)->part[0].slice)->process_count = 1;
    assert_int_equal(answer(s, "vision", true, NULL), POOL_OK);
    for (unsigned i = 0; i < 62; i++) {
        world_settle(&s->w);
        world_wait(&s->w, 1000);
    }
    assert_int_equal(lease(s, s->small)->move.phase, POOL_MOVE_NONE);
    assert_int_equal(lease(s, s->small)->state, POOL_LEASE_ACTIVE);
    assert_int_equal(lease(s, s->small)->tenant->compute_slots, lease(s, s->small)->compute_slots);
    assert_null(lease(s, s->big)->shift);
    done(s);
}

static void who_has_stopped_comes_back_when_the_request_ends(void **state)
{
    struct scene *s = setup_engines();
    (void)state;
    instance_of(s, lease(s, s->small)->part[0].slice)->process_count = 1;
    answer(s, "vision", true, NULL);
    world_settle(&s->w);
    world_release(&s->w, "nlp", s->big);
    world_settle(&s->w);
    instance_of(s, lease(s, s->small)->part[0].slice)->process_count = 0;
    world_wait(&s->w, 3000);
    world_settle(&s->w);
    assert_int_equal(lease(s, s->small)->state, POOL_LEASE_ACTIVE);
    assert_int_equal(lease(s, s->small)->move.phase, POOL_MOVE_NONE);
    done(s);
}

/* The driver fails when it is to have its slice again: it waits, first of all, and ends in time. */
static void who_has_stopped_is_first_in_the_queue(void **state)
{
    struct scene *s = setup_engines();
    (void)state;
    s->w.fail = fail_create;
    answer(s, "vision", true, NULL);
    world_settle(&s->w);
    world_wait(&s->w, 100000);
    world_settle(&s->w);
    const struct pool_lease *small = lease(s, s->small);
    assert_true(small->state == POOL_LEASE_QUEUED || small->state == POOL_LEASE_CUTTING);
    assert_true(explain(s, s->small)[0]);
    s->w.fail = NULL;
    world_wait(&s->w, 100000);
    world_settle(&s->w);
    assert_int_equal(world_state(&s->w, s->small), POOL_LEASE_ACTIVE);
    done(s);
    s = setup_engines();
    s->w.fail = fail_create;
    answer(s, "vision", true, NULL);
    world_settle(&s->w);
    for (int i = 0; i < 60; i++) {
        world_wait(&s->w, 10000);
        world_settle(&s->w);
    }
    assert_int_equal(world_state(&s->w, s->small), POOL_LEASE_EXPIRED);
    done(s);
}

#define RECORDS_MAX 64

/* The GPUs again; one of them does not say who it is, if `unknown` is its number. */
static void boot(struct scene *s, const struct pool_settings *settings, unsigned unknown)
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

/* The daemon comes back; `from` in any record reads `to`, as if the record were damaged there. */
static void restart_without(struct scene *s, const char *from, const char *to, unsigned unknown)
{
    struct pool_settings settings = *pool_settings(s->w.pool);
    struct pool_record rec[RECORDS_MAX];
    unsigned count = 0;

    while (pool_next_dirty(s->w.pool, &rec[count])) {
        char *at = rec[count].body ? strstr(rec[count].body, from) : NULL;
        if (at) {
            memcpy(at, to, strlen(to));
        }
        assert_true(++count < RECORDS_MAX);
    }
    pool_free(s->w.pool);
    boot(s, &settings, unknown);
    for (int kind = POOL_RECORD_META; kind <= POOL_RECORD_OPERATION; kind++) {
        static const enum pool_record_kind order[] = {0, POOL_RECORD_META, POOL_RECORD_SLICE,
                                                      POOL_RECORD_LEASE, POOL_RECORD_OPERATION};
        for (unsigned i = 0; i < count; i++) {
            if (rec[i].kind == order[kind] && rec[i].body) {
                assert_int_equal(pool_load_record(s->w.pool, rec[i].kind, rec[i].id, rec[i].body,
                                                  NULL), 0);
            }
        }
    }
    for (unsigned i = 0; i < count; i++) {
        free(rec[i].body);
    }
    world_start(&s->w);
    world_settle(&s->w);
}

static void restart(struct scene *s, const char *from, const char *to)
{
    restart_without(s, from, to, WORLD_GPUS);
}

/* A process on the old slice is not waited for without end: the request looks elsewhere then, and who has two slices pays for two. */
static void who_does_not_leave_holds_nobody_up(void **state)
{
    struct scene *s = setup(1);
    (void)state;
    ask_big(s);
    const struct pool_tenant *vision = lease(s, s->small)->tenant;
    struct mig_instance *old = instance_of(s, lease(s, s->small)->part[0].slice);
    old->process_count = 1;
    assert_int_equal(answer(s, "vision", true, NULL), POOL_OK);
    for (unsigned i = 0; i < 50; i++) {
        world_settle(&s->w);
        world_wait(&s->w, 1000);
    }
    assert_non_null(lease(s, s->big)->shift);
    assert_int_equal(vision->compute_slots, 1);
    for (unsigned i = 0; i < 15; i++) {
        world_settle(&s->w);
        world_wait(&s->w, 1000);
    }
    assert_null(lease(s, s->big)->shift);
    assert_int_equal(vision->compute_slots, 2);
    assert_int_equal(lease(s, s->small)->move.phase, POOL_MOVE_LEAVING); /* law 1 */
    restart(s, "\"none of it\"", "");
    vision = lease(s, s->small)->tenant;
    assert_int_equal(vision->compute_slots, 2);
    instance_of(s, lease(s, s->small)->move.slice)->process_count = 0;
    world_wait(&s->w, 2000);
    world_settle(&s->w);
    assert_int_equal(vision->compute_slots, 1);
    assert_int_equal(world_state(&s->w, s->big), POOL_LEASE_ACTIVE);
    done(s);
}

/* A window is not kept for who may not have it. */
static void nothing_is_kept_for_a_request_over_its_quota(void **state)
{
    struct scene *s = setup(1);
    static const struct pool_limits limits = {.max_queued = 10, .max_compute = 7};
    struct pool_request want = {.profile = "7g.80gb", .count = 1};
    struct pool_event e = {.kind = POOL_EV_REQUEST, .request = &want,
                           .actor = {.tenant = "nlp", .role = POOL_ROLE_TENANT, .limits = &limits}};
    (void)state;
    assert_int_equal(mig_want_parse("7g.80gb", &want.want, NULL), 0);
    e.reply_to = ++s->w.next_cookie;
    world_step(&s->w, &e);
    s->big = s->w.reply.lease;
    world_settle(&s->w);
    assert_non_null(lease(s, s->big)->shift);
    want.profile = "1g.10gb";
    assert_int_equal(mig_want_parse("1g.10gb", &want.want, NULL), 0);
    e.reply_to = ++s->w.next_cookie;
    world_step(&s->w, &e);
    uint64_t one = s->w.reply.lease;
    world_settle(&s->w);
    assert_int_equal(world_state(&s->w, one), POOL_LEASE_ACTIVE);
    world_wait(&s->w, 6000);
    world_settle(&s->w);
    assert_null(lease(s, s->big)->shift);
    assert_int_equal(lease(s, s->small)->move.phase, POOL_MOVE_NONE);
    assert_non_null(strstr(explain(s, s->big), "compute"));
    uint64_t late = world_ask(&s->w, "late", "4g.40gb", (struct pool_request){0});
    world_settle(&s->w);
    assert_int_equal(world_state(&s->w, late), POOL_LEASE_ACTIVE);
    done(s);
}

static void a_restart_goes_on(void **state)
{
    struct scene *s = setup(1);
    (void)state;
    ask_big(s);
    int64_t due_ms = lease(s, s->small)->move.due_ms;
    restart(s, "\"none of it\"", "");
    assert_int_equal(lease(s, s->small)->move.phase, POOL_MOVE_ASKED);
    assert_int_equal(lease(s, s->small)->move.due_ms, due_ms);
    assert_int_equal(answer(s, "vision", true, NULL), POOL_OK);
    world_settle(&s->w);
    assert_int_equal(world_state(&s->w, s->big), POOL_LEASE_ACTIVE);
    done(s);
}

static void what_is_damaged_is_called_off(void **state)
{
    static const char *const words[][2] = {
        {"\"move\":", "\"mowe\":"},       {"\"phase\":\"asked\"", "\"phase\":\"xsked\""},
        {"\"shift\":", "\"shirt\":"},     {"\"moves\":", "\"mowes\":"},
        {"\"request\":", "\"reqvest\":"}, {"\"begun\":true", "\"begin\":true"}};
    (void)state;

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        struct scene *s = setup(1);
        ask_big(s);
        char had[MIG_UUID_SIZE];
        text_copy(had, sizeof(had), lease(s, s->small)->part[0].slice->ci[0].mig_uuid);
        restart(s, words[i][0], words[i][1]);
        const struct pool_lease *small = lease(s, s->small);
        assert_int_equal(small->state, POOL_LEASE_ACTIVE);
        assert_string_equal(small->part[0].slice->ci[0].mig_uuid, had);
        world_wait(&s->w, 100000);
        world_settle(&s->w);
        assert_int_equal(world_state(&s->w, s->big), POOL_LEASE_QUEUED);
        assert_string_equal(small->part[0].slice->ci[0].mig_uuid, had);
        /* Whatever became of the new slice, it is not destroyed under anybody. */
        assert_non_null(explain(s, s->big)[0] ? s : NULL);
        done(s);
    }
}

/* Whose GPU answers only a while after the start has its rest all the same, and no longer. */
static void a_gpu_that_comes_late_keeps_its_timers(void **state)
{
    struct scene *s = setup(1);
    (void)state;
    ask_big(s);
    unsigned gpu = lease(s, s->small)->part[0].gpu->id;
    assert_int_equal(answer(s, "vision", false, NULL), POOL_OK);
    expect_called_off(s);
    restart_without(s, "\"none of it\"", "", gpu);
    assert_int_equal(pool_gpu_count(s->w.pool), 3);
    struct mig_gpu_info info = world_info(&s->w, gpu);
    assert_int_equal(pool_learn_identity(s->w.pool, gpu, &info, true, POOL_MIG_ON_DEMAND, NULL), 0);
    assert_int_equal(pool_learn_geometry(s->w.pool, gpu, &s->w.gpu[gpu].geometry, NULL), 0);
    assert_int_equal(pool_gpu_count(s->w.pool), 2);
    set_health(s, pool_gpu(s->w.pool, gpu), POOL_HEALTH_OK);
    world_settle(&s->w);
    world_wait(&s->w, 300000);
    world_settle(&s->w);
    assert_int_equal(s->w.history[POOL_HIST_LEASE_MOVE_ASKED], 1);
    world_wait(&s->w, 400000);
    world_settle(&s->w);
    assert_int_equal(s->w.history[POOL_HIST_LEASE_MOVE_ASKED], 2);
    done(s);
}

/* Of what is being given back nothing is known any more: it ends, and its slice is left alone. */
static void a_release_of_which_the_places_are_lost_ends(void **state)
{
    struct scene *s = setup(0);
    (void)state;
    const struct pool_slice *slice = lease(s, s->small)->part[0].slice;
    unsigned gpu = slice->gpu->id, start = slice->start;
    instance_of(s, slice)->process_count = 1;
    world_release(&s->w, "vision", s->small);
    world_settle(&s->w);
    assert_int_equal(world_state(&s->w, s->small), POOL_LEASE_RELEASING);
    restart(s, "\"parts\":", "\"paths\":");
    assert_int_equal(world_state(&s->w, s->small), POOL_LEASE_RELEASED);
    slice = pool_slice_at(pool_gpu(s->w.pool, gpu), start);
    assert_int_equal(slice->state, POOL_SLICE_FOREIGN);
    done(s);
}

static void a_clock_that_was_set_moves_the_time_to_answer(void **state)
{
    struct scene *s = setup(1);
    (void)state;
    ask_big(s);
    int64_t due_ms = lease(s, s->small)->move.due_ms;
    pool_shift_times(s->w.pool, 7000);
    assert_int_equal(lease(s, s->small)->move.due_ms, due_ms + 7000);
    done(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_confirmed_move_makes_room),
        cmocka_unit_test(nobody_is_asked_who_is_not_movable_or_when_it_is_off),
        cmocka_unit_test(the_old_slice_is_left_when_nothing_runs_on_it),
        cmocka_unit_test(the_window_is_kept),
        cmocka_unit_test(a_refusal_is_kept_to_and_asked_again_later),
        cmocka_unit_test(silence_is_a_refusal),
        cmocka_unit_test(a_request_that_ends_calls_it_off),
        cmocka_unit_test(a_request_that_is_served_otherwise_calls_it_off),
        cmocka_unit_test(a_holder_may_release_in_the_middle),
        cmocka_unit_test(a_time_limit_ends_it_in_the_middle),
        cmocka_unit_test(a_driver_that_fails_changes_nothing),
        cmocka_unit_test(a_lost_gpu_calls_it_off),
        cmocka_unit_test(what_is_destroyed_by_hand_is_noticed),
        cmocka_unit_test(a_gpu_is_emptied_and_that_is_all),
        cmocka_unit_test(consolidation_keeps_to_its_budget),
        cmocka_unit_test(whoever_waits_comes_before_consolidation),
        cmocka_unit_test(several_are_asked_at_once),
        cmocka_unit_test(one_refusal_calls_the_others_off),
        cmocka_unit_test(what_has_moved_stays_when_another_refuses),
        cmocka_unit_test(leases_of_several_slices_are_left_alone),
        cmocka_unit_test(who_cannot_be_in_two_places_is_asked_to_stop),
        cmocka_unit_test(who_does_not_stop_keeps_what_it_has),
        cmocka_unit_test(who_has_stopped_comes_back_when_the_request_ends),
        cmocka_unit_test(who_has_stopped_is_first_in_the_queue),
        cmocka_unit_test(who_does_not_leave_holds_nobody_up),
        cmocka_unit_test(nothing_is_kept_for_a_request_over_its_quota),
        cmocka_unit_test(a_restart_goes_on),
        cmocka_unit_test(what_is_damaged_is_called_off),
        cmocka_unit_test(a_gpu_that_comes_late_keeps_its_timers),
        cmocka_unit_test(a_release_of_which_the_places_are_lost_ends),
        cmocka_unit_test(a_clock_that_was_set_moves_the_time_to_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
