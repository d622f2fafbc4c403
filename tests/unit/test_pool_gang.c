/* Several slices at once: gangs, plans of several requests, and the front of the queue. */
#include "../pool_world.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void setup(struct world *w, const char *const *models)
{
    *w = (struct world){.now_ms = 1000000};
    for (unsigned i = 0; models[i]; i++) {
        world_add_gpu(w, models[i], true);
    }
    world_run(w, NULL);
}

static const char *const one_h100[] = {"H100-SXM5-80GB", NULL};
static const char *const two_h100[] = {"H100-SXM5-80GB", "H100-SXM5-80GB", NULL};
static const char *const mixed[] = {"A30", "H100-SXM5-80GB", NULL};

static uint64_t ask(struct world *w, const char *tenant, const char *profile, unsigned count)
{
    return world_ask_settled(w, tenant, profile, (struct pool_request){.count = count});
}

static bool preview(struct world *w, const char *const *profiles, const unsigned *counts,
                    unsigned n, struct pool_preview *ret)
{
    struct pool_actor actor = {.tenant = "a", .role = POOL_ROLE_TENANT};
    struct pool_request r[8] = {0};

    for (unsigned i = 0; i < n; i++) {
        r[i].profile = profiles[i];
        r[i].count = counts[i];
        assert_int_equal(mig_want_parse(profiles[i], &r[i].want, NULL), 0);
    }
    pool_preview(w->pool, &actor, r, n, w->now_ms, ret);
    return ret->is_fitting;
}

/* The smaller GPU is the cheaper one for each slice by itself, and then the other is needed too. */
static void a_gang_opens_the_fewest_gpus(void **state)
{
    struct world w;
    (void)state;
    setup(&w, mixed);
    uint64_t id = ask(&w, "a", "1g", 5);
    const struct pool_lease *l = pool_find_lease(w.pool, id);
    assert_int_equal(l->state, POOL_LEASE_ACTIVE);
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(l->part[i].gpu->id, 1);
    }
    world_done(&w);
}

/* One by one, nothing would be destroyed as long as another GPU is free. */
static void a_gang_destroys_rather_than_opens(void **state)
{
    struct world w;
    (void)state;
    setup(&w, two_h100);
    uint64_t three = ask(&w, "b", "3g.40gb", 1);
    uint64_t stays = ask(&w, "b", "1g.10gb", 1);
    const struct pool_gpu *used = pool_find_lease(w.pool, stays)->part[0].gpu;
    assert_ptr_equal(pool_find_lease(w.pool, three)->part[0].gpu, used);
    world_give_back(&w, "b", three);
    uint64_t id = ask(&w, "a", "2g.20gb", 2);
    const struct pool_lease *l = pool_find_lease(w.pool, id);
    assert_int_equal(l->state, POOL_LEASE_ACTIVE);
    for (unsigned i = 0; i < 2; i++) {
        assert_ptr_equal(l->part[i].gpu, used);
    }
    world_done(&w);
}

/* What stands there and may be had as it is costs nothing; another tenant's has to be made anew. */
static void a_gang_takes_its_own_idle_slices(void **state)
{
    struct world w;
    (void)state;
    setup(&w, one_h100);
    uint64_t own = ask(&w, "a", "2g.20gb", 1), other = ask(&w, "b", "2g.20gb", 1);
    char own_uuid[MIG_UUID_SIZE];
    text_copy(own_uuid, sizeof(own_uuid),
              pool_find_lease(w.pool, own)->part[0].slice->ci[0].mig_uuid);
    world_give_back(&w, "a", own);
    world_give_back(&w, "b", other);
    unsigned made = w.history[POOL_HIST_SLICE_CREATED];
    uint64_t id = ask(&w, "a", "2g.20gb", 3);
    const struct pool_lease *l = pool_find_lease(w.pool, id);
    bool has_own = false;
    assert_int_equal(l->state, POOL_LEASE_ACTIVE);
    assert_int_equal(w.history[POOL_HIST_SLICE_CREATED] - made, 2);
    for (unsigned i = 0; i < 3; i++) {
        has_own = has_own || !strcmp(l->part[i].slice->ci[0].mig_uuid, own_uuid);
    }
    assert_true(has_own);
    world_done(&w);
}

static void a_gang_that_does_not_fit_leaves_nothing(void **state)
{
    struct world w;
    (void)state;
    setup(&w, two_h100);
    ask(&w, "b", "1g.10gb", 1);
    uint64_t id = ask(&w, "a", "3g.40gb", 4);
    assert_int_equal(world_state(&w, id), POOL_LEASE_QUEUED);
    assert_int_equal(pool_gpu(w.pool, 0)->slice_count + pool_gpu(w.pool, 1)->slice_count, 1);
    uint64_t less = world_ask(&w, "a", "3g.40gb", (struct pool_request){.count = 3, .priority = 1});
    assert_int_equal(world_state(&w, less), POOL_LEASE_CUTTING);
    world_done(&w);
}

/* Compute instances share slices: five of them need two, and no third is cut. */
static void a_gang_of_compute_instances_shares(void **state)
{
    struct world w;
    (void)state;
    setup(&w, one_h100);
    uint64_t id = ask(&w, "a", "1c.3g.40gb", 5);
    assert_int_equal(world_state(&w, id), POOL_LEASE_ACTIVE);
    assert_int_equal(pool_gpu(w.pool, 0)->slice_count, 2);
    uint64_t more = ask(&w, "a", "1c.3g.40gb", 1);
    assert_int_equal(world_state(&w, more), POOL_LEASE_ACTIVE);
    assert_int_equal(pool_gpu(w.pool, 0)->slice_count, 2);
    world_done(&w);
}

/* In the order they are asked for, the two 3g take both places where the 4g could go. */
static void a_plan_of_several_is_made_together(void **state)
{
    struct pool_preview *p = xcalloc(1, sizeof(*p));
    struct world w;
    (void)state;
    setup(&w, two_h100);
    assert_true(preview(&w, (const char *[]){"3g.40gb", "3g.40gb", "4g.40gb"},
                        (unsigned[]){1, 1, 1}, 3, p));
    assert_true(p->has_set && p->set.is_proven);
    assert_int_equal(p->set.opened, 2);
    assert_int_equal(p->step_count, 3);
    assert_true(preview(&w, (const char *[]){"2g.20gb", "2g.20gb", "3g.40gb"},
                        (unsigned[]){1, 1, 1}, 3, p));
    assert_int_equal(p->set.opened, 1);
    assert_string_equal(p->step[2].profile_name, "3g.40gb");
    assert_int_equal(p->step[2].start, 4);
    assert_false(preview(&w, (const char *[]){"4g.40gb", "7g.80gb", "4g.40gb"},
                         (unsigned[]){1, 1, 1}, 3, p));
    assert_true(p->is_possible && p->blocked.reason[0]);
    assert_int_equal(pool_gpu(w.pool, 0)->slice_count, 0);
    assert_false(pool_is_dirty(w.pool));
    free(p);
    world_done(&w);
}

/* Not more than the tenant may have, counted over all of the plan. */
static void a_plan_keeps_to_the_quota(void **state)
{
    struct pool_preview *p = xcalloc(1, sizeof(*p));
    struct pool_settings settings;
    struct world w = {.now_ms = 1000000};
    (void)state;
    pool_settings_default(&settings);
    settings.max_compute_per_tenant = 6;
    world_add_gpu(&w, "H100-SXM5-80GB", true);
    world_boot(&w, &settings);
    world_start(&w);
    world_settle(&w);
    assert_true(preview(&w, (const char *[]){"3g.40gb", "3g.40gb"}, (unsigned[]){1, 1}, 2, p));
    assert_false(preview(&w, (const char *[]){"3g.40gb", "4g.40gb"}, (unsigned[]){1, 1}, 2, p));
    assert_non_null(strstr(p->blocked.reason, "compute slots"));
    free(p);
    world_done(&w);
}

/* A whole GPU comes free for three that wait: each by itself would get a place that is in the way
 * of the last. */
static void the_queue_is_placed_together(void **state)
{
    struct world w;
    (void)state;
    setup(&w, one_h100);
    uint64_t all = ask(&w, "z", "7g.80gb", 1);
    uint64_t a = ask(&w, "a", "2g.20gb", 1), b = ask(&w, "b", "2g.20gb", 1);
    uint64_t c = ask(&w, "c", "3g.40gb", 1), d = ask(&w, "d", "1g.10gb", 1);
    assert_int_equal(world_state(&w, d), POOL_LEASE_QUEUED);
    world_give_back(&w, "z", all);
    assert_int_equal(world_state(&w, a), POOL_LEASE_ACTIVE);
    assert_int_equal(world_state(&w, b), POOL_LEASE_ACTIVE);
    assert_int_equal(world_state(&w, c), POOL_LEASE_ACTIVE);
    assert_int_equal(world_state(&w, d), POOL_LEASE_QUEUED); /* the GPU is full */
    world_done(&w);
}

/* What cannot be placed with the others changes nothing for them. */
static void the_queue_goes_on_without_who_does_not_fit(void **state)
{
    struct world w;
    (void)state;
    setup(&w, one_h100);
    uint64_t all = ask(&w, "z", "7g.80gb", 1);
    uint64_t a = ask(&w, "a", "3g.40gb", 1), b = ask(&w, "b", "7g.80gb", 1);
    uint64_t c = ask(&w, "c", "1g.10gb", 1);
    world_give_back(&w, "z", all);
    assert_int_equal(world_state(&w, a), POOL_LEASE_ACTIVE);
    assert_int_equal(world_state(&w, b), POOL_LEASE_QUEUED);
    assert_int_equal(world_state(&w, c), POOL_LEASE_QUEUED); /* kept for b */
    world_give_back(&w, "a", a);
    assert_int_equal(world_state(&w, b), POOL_LEASE_ACTIVE);
    world_done(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_gang_opens_the_fewest_gpus),
        cmocka_unit_test(a_gang_destroys_rather_than_opens),
        cmocka_unit_test(a_gang_takes_its_own_idle_slices),
        cmocka_unit_test(a_gang_that_does_not_fit_leaves_nothing),
        cmocka_unit_test(a_gang_of_compute_instances_shares),
        cmocka_unit_test(a_plan_of_several_is_made_together),
        cmocka_unit_test(a_plan_keeps_to_the_quota),
        cmocka_unit_test(the_queue_is_placed_together),
        cmocka_unit_test(the_queue_goes_on_without_who_does_not_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
