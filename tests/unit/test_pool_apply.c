/* apply and compute instances: kinds of slices that differ only in what is in them. */
#include "../pool_world.h"
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void setup(struct world *w)
{
    world_make(w, NULL, "H100-SXM5-80GB", 1);
}

static struct pool_target target;

/* `count` of "2c.3g.40gb": cis 2 of profile "3g.40gb"; cis 0 is the slice as a whole. */
static void want(struct world *w, const char *profile, unsigned cis, unsigned count)
{
    const struct mig_geometry *g = &w->gpu[0].geometry;
    int p = mig_profile_by_name(g, profile);

    target.is_mig_enabled = true;
    target.want[target.want_count].profile = p;
    target.want[target.want_count].ci_profile =
        cis ? mig_compute_by_slices(&g->profiles[p], (int)cis) : MIG_PROFILE_NONE;
    target.want[target.want_count++].count = count;
}

/* The changes that are made for the target; UINT_MAX when it is refused. */
static unsigned apply(struct world *w, unsigned *ret_slices)
{
    struct pool_event e = {.kind = POOL_EV_APPLY, .targets = &target, .target_count = 1,
                           .reply_to = 5, .actor = {.tenant = "root", .role = POOL_ROLE_OPERATOR}};
    unsigned changes = 0, count = 0;

    world_step(w, &e);
    target.want_count = 0;
    if (w->reply.answer != POOL_OK) {
        return UINT_MAX;
    }
    const struct pool_change *c = pool_last_changes(w->pool, &count);
    for (unsigned i = 0; i < count; i++) {
        changes += c[i].kind != POOL_CHANGE_KEEP;
    }
    uint64_t op = w->reply.operation;
    world_settle(w);
    assert_true(!op || pool_find_operation(w->pool, op)->state == POOL_OP_DONE);
    *ret_slices = w->gpu[0].gi_count;
    return changes;
}

/* Compute instances on the GPU, as one number: 13 is one in a slice and three in another. */
static unsigned cut(const struct world *w)
{
    unsigned ret = 0;

    for (unsigned most = 1; most < 8; most++) {
        for (unsigned i = 0; i < w->gpu[0].gi_count; i++) {
            ret = w->gpu[0].gi[i].ci_count == most ? 10 * ret + most : ret;
        }
    }
    return ret;
}

static void two_kinds_of_one_profile(void **state)
{
    struct world w;
    unsigned slices = 0;
    (void)state;
    setup(&w);
    want(&w, "3g.40gb", 0, 1);
    want(&w, "3g.40gb", 1, 3);
    assert_int_equal(apply(&w, &slices), 2);
    assert_int_equal(cut(&w), 13);
    want(&w, "3g.40gb", 1, 3);
    want(&w, "3g.40gb", 0, 1);
    assert_int_equal(apply(&w, &slices), 0); /* the order says nothing */
    want(&w, "3g.40gb", 0, 2);
    assert_int_equal(apply(&w, &slices), 2); /* only the one in parts is made anew */
    assert_int_equal(cut(&w), 11);
    want(&w, "3g.40gb", 1, 1);
    want(&w, "3g.40gb", 2, 1);
    assert_int_equal(apply(&w, &slices), 4);
    assert_int_equal(slices, 2);
    world_done(&w);
}

/* Four of which three fill a slice: one more slice, with one in it. */
static void counts_are_of_compute_instances(void **state)
{
    struct world w;
    unsigned slices = 0;
    (void)state;
    setup(&w);
    want(&w, "3g.40gb", 1, 4);
    assert_int_equal(apply(&w, &slices), 2);
    assert_int_equal(cut(&w), 13);
    want(&w, "3g.40gb", 1, 4);
    assert_int_equal(apply(&w, &slices), 0);
    want(&w, "3g.40gb", 1, 2);
    want(&w, "3g.40gb", 1, 3); /* the same kind, said twice */
    assert_int_equal(apply(&w, &slices), 2);
    assert_int_equal(cut(&w), 23);
    want(&w, "2g.20gb", 1, 5);
    want(&w, "1g.10gb", 0, 1);
    assert_int_equal(apply(&w, &slices), 6);
    assert_int_equal(cut(&w), 1122);
    want(&w, "1g.10gb", 0, 8);
    assert_int_equal(apply(&w, &slices), UINT_MAX);
    assert_int_equal(w.reply.answer, POOL_CAN_NEVER_FIT);
    want(&w, "3g.40gb", 1, 4000000000);
    assert_int_equal(apply(&w, &slices), UINT_MAX);
    assert_int_equal(w.reply.answer, POOL_CAN_NEVER_FIT);
    world_done(&w);
}

/* A leased slice stays if it is of a kind that is wanted, and stands in the way if not. */
static void what_is_leased_is_told_by_its_compute_instances(void **state)
{
    struct world w;
    unsigned slices = 0;
    (void)state;
    setup(&w);
    uint64_t id = world_ask(&w, "a", "1c.3g.40gb", (struct pool_request){.count = 2});
    world_settle(&w);
    assert_int_equal(world_state(&w, id), POOL_LEASE_ACTIVE);
    want(&w, "3g.40gb", 0, 1);
    want(&w, "3g.40gb", 1, 2);
    assert_int_equal(apply(&w, &slices), 1);
    assert_int_equal(cut(&w), 12);
    want(&w, "3g.40gb", 0, 2);
    assert_int_equal(apply(&w, &slices), UINT_MAX);
    assert_int_equal(w.reply.answer, POOL_IN_USE);
    assert_int_equal(pool_last_explanation(w.pool)->block[0].lease->id, id);
    /* The next event is not told of it: who stood in the way may be gone by then. */
    world_step(&w, &(struct pool_event){.kind = POOL_EV_DISOWN, .start = 7, .reply_to = 6,
                                        .actor = {.tenant = "root",
                                                  .role = POOL_ROLE_OPERATOR}});
    assert_int_not_equal(w.reply.answer, POOL_OK);
    assert_int_equal(pool_last_explanation(w.pool)->block_count, 0);
    world_done(&w);
}

/* It is half cut: its compute instances are still to come. */
static void what_is_being_cut_is_not_let_go(void **state)
{
    struct pool_event e = {.kind = POOL_EV_APPLY, .targets = &target, .target_count = 1,
                           .reply_to = 5, .actor = {.tenant = "root", .role = POOL_ROLE_OPERATOR}};
    struct world w;
    (void)state;
    setup(&w);
    want(&w, "3g.40gb", 1, 3);
    world_step(&w, &e);
    target.want_count = 0;
    uint64_t op = w.reply.operation;
    const struct pool_slice *s = pool_gpu(w.pool, 0)->slices[0];
    /* The GPU has to be read before anything more is done on it. */
    static const enum pool_health healths[] = {POOL_HEALTH_LOST, POOL_HEALTH_OK};
    for (unsigned i = 0; i < 2; i++) {
        world_step(&w, &(struct pool_event){.kind = POOL_EV_HEALTH, .text = "no answer",
                                            .health = healths[i]});
    }
    assert_true(world_work(&w, 0));
    assert_int_equal(s->state, POOL_SLICE_IDLE);
    assert_true(s->operation && !s->job);
    e = (struct pool_event){.kind = POOL_EV_DISOWN, .start = s->start, .reply_to = 6,
                            .actor = e.actor};
    world_step(&w, &e);
    assert_int_equal(w.reply.answer, POOL_IN_USE);
    assert_non_null(strstr(w.reply.text, "still being cut"));
    world_settle(&w);
    assert_int_equal(pool_find_operation(w.pool, op)->state, POOL_OP_DONE);
    e.reply_to = 7;
    world_step(&w, &e);
    assert_int_equal(w.reply.answer, POOL_OK);
    world_done(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_kinds_of_one_profile),
        cmocka_unit_test(counts_are_of_compute_instances),
        cmocka_unit_test(what_is_leased_is_told_by_its_compute_instances),
        cmocka_unit_test(what_is_being_cut_is_not_let_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
