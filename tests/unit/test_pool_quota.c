/* Within a tenant's quota, too, nobody waits for ever: what a request takes is kept for it against
 * those of its tenant behind it once it has waited for a step of age. */
#include "../pool_world.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define MINUTE 60000
#define STEP (10 * MINUTE)

static void setup(struct world *w, const char *second_model, int64_t age_step_ms,
                  enum plan_objective objective)
{
    struct pool_settings settings;

    pool_settings_default(&settings);
    settings.plan.objective = objective;
    settings.max_compute_per_tenant = 7;
    settings.age_step_ms = age_step_ms;
    *w = (struct world){.now_ms = 1000000};
    world_add_gpu(w, "H100-SXM5-80GB", true);
    if (second_model) {
        world_add_gpu(w, second_model, true);
    }
    world_run(w, &settings);
}

static uint64_t ask(struct world *w, const char *tenant, const char *profile, int64_t ttl_ms)
{
    return world_ask_settled(w, tenant, profile, (struct pool_request){.ttl_ms = ttl_ms});
}

static void give_back(struct world *w, uint64_t id)
{
    world_give_back(w, "a", id);
}

static const char *why(struct world *w, uint64_t id)
{
    static struct pool_explanation e;

    pool_explain(w->pool, pool_find_lease(w->pool, id), w->now_ms, &e);
    return e.reason;
}

static void an_old_request_keeps_its_quota(void **state)
{
    struct world w;
    (void)state;
    setup(&w, "H100-SXM5-80GB", STEP, PLAN_SLICES);
    uint64_t three = ask(&w, "a", "3g.40gb", 0), big = ask(&w, "a", "7g.80gb", 0);
    assert_int_equal(world_state(&w, big), POOL_LEASE_QUEUED);
    uint64_t one = ask(&w, "a", "1g.10gb", 0);
    assert_int_equal(world_state(&w, one), POOL_LEASE_ACTIVE); /* not yet */
    world_pass(&w, STEP + 6000);
    uint64_t late = ask(&w, "a", "1g.10gb", 0);
    assert_int_equal(world_state(&w, late), POOL_LEASE_QUEUED);
    assert_non_null(strstr(why(&w, late), "are kept for l-2"));
    assert_non_null(strstr(why(&w, big), "4 of the 7 compute slots"));
    assert_int_equal(world_state(&w, ask(&w, "b", "1g.10gb", 0)), POOL_LEASE_ACTIVE);
    uint64_t first = world_ask(&w, "a", "1g.10gb", (struct pool_request){.priority = 5});
    world_settle(&w);
    assert_int_equal(world_state(&w, first), POOL_LEASE_ACTIVE); /* it is before it in the queue */
    give_back(&w, first);
    give_back(&w, three);
    assert_int_equal(world_state(&w, late), POOL_LEASE_QUEUED);
    give_back(&w, one);
    assert_int_equal(world_state(&w, big), POOL_LEASE_ACTIVE);
    assert_int_equal(world_state(&w, late), POOL_LEASE_QUEUED);
    assert_null(strstr(why(&w, late), "kept"));
    give_back(&w, big);
    assert_int_equal(world_state(&w, late), POOL_LEASE_ACTIVE);
    world_done(&w);
}

/* A whole GPU of a model that can be cut counts as all of its slices, in the queue as well. */
static void a_whole_gpu_over_quota_keeps_nobody_waiting(void **state)
{
    struct world w;
    (void)state;
    setup(&w, NULL, STEP, PLAN_SLICES);
    uint64_t three = ask(&w, "a", "3g.40gb", 0), whole = ask(&w, "a", "gpu", 0);
    assert_int_equal(world_state(&w, whole), POOL_LEASE_QUEUED);
    assert_non_null(strstr(why(&w, whole), "of the 7 compute slots"));
    uint64_t four = ask(&w, "b", "4g.40gb", 0);
    assert_int_equal(world_state(&w, four), POOL_LEASE_ACTIVE);
    give_back(&w, three);
    world_give_back(&w, "b", four);
    assert_int_equal(world_state(&w, whole), POOL_LEASE_ACTIVE);
    world_done(&w);
}

/* Who cancels it gets the quota back. */
static void what_is_cancelled_keeps_nothing(void **state)
{
    struct world w;
    (void)state;
    setup(&w, "H100-SXM5-80GB", STEP, PLAN_SLICES);
    ask(&w, "a", "3g.40gb", 0);
    uint64_t big = ask(&w, "a", "7g.80gb", 0);
    world_pass(&w, STEP + 6000);
    uint64_t late = ask(&w, "a", "2g.20gb", 0);
    assert_int_equal(world_state(&w, late), POOL_LEASE_QUEUED);
    give_back(&w, big);
    assert_int_equal(world_state(&w, late), POOL_LEASE_ACTIVE);
    world_done(&w);
}

/* The first in the queue, which waits for room and not for quota, does not lose it either. */
static void the_head_keeps_its_quota(void **state)
{
    struct world w;
    (void)state;
    setup(&w, "H100-SXM5-80GB", STEP, PLAN_SLICES);
    uint64_t other = ask(&w, "b", "4g.40gb", 0);
    ask(&w, "c", "4g.40gb", 0); /* beside which there is room */
    uint64_t big = ask(&w, "a", "7g.80gb", 0);
    world_pass(&w, STEP + 6000);
    uint64_t late = ask(&w, "a", "1g.10gb", MINUTE);
    assert_int_equal(world_state(&w, late), POOL_LEASE_QUEUED);
    assert_non_null(strstr(why(&w, late), "are kept for l-3"));
    assert_int_equal(world_state(&w, ask(&w, "d", "1g.10gb", 0)), POOL_LEASE_ACTIVE);
    assert_int_equal(world_release(&w, "b", other), POOL_OK);
    world_settle(&w);
    assert_int_equal(world_state(&w, big), POOL_LEASE_ACTIVE);
    world_done(&w);
}

/* The smallest goes first where requests count; but not with the quota that was
 * kept for another. */
static void what_was_kept_is_not_for_smaller_ones(void **state)
{
    struct world w;
    (void)state;
    setup(&w, "A30", STEP, PLAN_REQUESTS);
    ask(&w, "b", "1g.6gb", 0);
    ask(&w, "c", "4g.24gb", 0); /* the head */
    uint64_t three = ask(&w, "a", "3g.40gb", 0), big = ask(&w, "a", "7g.80gb", 0);
    world_pass(&w, STEP + 6000);
    uint64_t late = ask(&w, "a", "1g.10gb", 0);
    give_back(&w, three);
    assert_int_equal(world_state(&w, big), POOL_LEASE_ACTIVE);
    assert_int_equal(world_state(&w, late), POOL_LEASE_QUEUED);
    world_done(&w);
}

/* Who was served before another of its tenant was found to be short of quota keeps its place, also
 * when places are tried for several together. */
static void who_was_served_first_stays_served(void **state)
{
    struct world w;
    (void)state;
    setup(&w, "A30", STEP, PLAN_REQUESTS);
    uint64_t all = ask(&w, "d", "7g.80gb", 0);
    ask(&w, "b", "1g.6gb", 0);
    ask(&w, "c", "4g.24gb", 0); /* the head */
    uint64_t big = ask(&w, "a", "7g.80gb", 0), three = ask(&w, "a", "3g.40gb", 0);
    ask(&w, "e", "7g.80gb", 0); /* tried together with what was served */
    world_pass(&w, STEP + 6000);
    assert_int_equal(world_release(&w, "d", all), POOL_OK);
    world_settle(&w);
    assert_int_equal(world_state(&w, three), POOL_LEASE_ACTIVE);
    assert_int_equal(world_state(&w, big), POOL_LEASE_QUEUED);
    world_done(&w);
}

/* As long as the only GPU that has it is gone, nothing is kept for it. */
static void nothing_is_kept_for_what_cannot_come(void **state)
{
    struct world w;
    (void)state;
    setup(&w, "A30", STEP, PLAN_SLICES);
    ask(&w, "a", "2g.12gb", 0);
    uint64_t big = ask(&w, "a", "7g.80gb", 0);
    world_pass(&w, STEP + 6000);
    uint64_t late = ask(&w, "a", "1g.6gb", 0);
    assert_int_equal(world_state(&w, big), POOL_LEASE_QUEUED);
    assert_int_equal(world_state(&w, late), POOL_LEASE_QUEUED);
    world_step(&w, &(struct pool_event){.kind = POOL_EV_HEALTH, .gpu = 0, .text = "gone",
                                        .health = POOL_HEALTH_LOST});
    world_settle(&w);
    world_pass(&w, 6000);
    assert_int_equal(world_state(&w, late), POOL_LEASE_ACTIVE);
    world_done(&w);
}

static void siege(int64_t age_step_ms, bool is_served)
{
    struct world w;

    setup(&w, "H100-SXM5-80GB", age_step_ms, PLAN_SLICES);
    for (unsigned i = 0; i < 6; i++) {
        ask(&w, "a", "1g.10gb", (i + 1) * MINUTE);
    }
    uint64_t big = ask(&w, "a", "7g.80gb", 0);
    int64_t asked = w.now_ms;
    while (world_state(&w, big) == POOL_LEASE_QUEUED && w.now_ms - asked < STEP + 8 * MINUTE) {
        world_pass(&w, MINUTE);
        ask(&w, "a", "1g.10gb", 6 * MINUTE);
    }
    assert_int_equal(world_state(&w, big) == POOL_LEASE_ACTIVE, is_served);
    world_done(&w);
}

/* Its own tenant asks for something small again and again: it starts within a step and the longest
 * that a lease runs. */
static void a_siege_by_its_own_tenant_is_over_in_time(void **state)
{
    (void)state;
    siege(STEP, true);
    siege(0, false); /* without ageing it is not */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_old_request_keeps_its_quota),
        cmocka_unit_test(a_whole_gpu_over_quota_keeps_nobody_waiting),
        cmocka_unit_test(what_is_cancelled_keeps_nothing),
        cmocka_unit_test(the_head_keeps_its_quota),
        cmocka_unit_test(what_was_kept_is_not_for_smaller_ones),
        cmocka_unit_test(who_was_served_first_stays_served),
        cmocka_unit_test(nothing_is_kept_for_what_cannot_come),
        cmocka_unit_test(a_siege_by_its_own_tenant_is_over_in_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
