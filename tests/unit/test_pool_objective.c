/* plan.objective: who is served first when not all fit, and whom a request may ask to move. */
#include "../pool_world.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define MINUTE 60000

static void setup(struct world *w, enum plan_objective objective, unsigned gpus)
{
    struct pool_settings settings;

    pool_settings_default(&settings);
    settings.plan.objective = objective;
    world_make(w, &settings, "H100-SXM5-80GB", gpus);
}

static uint64_t ask(struct world *w, const char *profile, int64_t ttl_ms, int priority)
{
    return world_ask_settled(w, "a", profile,
                             (struct pool_request){.ttl_ms = ttl_ms, .priority = priority});
}

/* Half of a GPU comes free while a 7g at the head waits an hour for the other half.  Those behind
 * it would all be over by then. */
struct half {
    struct world w;
    uint64_t head, free_soon;
};

static void half_setup(struct half *h, enum plan_objective objective)
{
    setup(&h->w, objective, 1);
    ask(&h->w, "4g.40gb", 60 * MINUTE, 0);
    h->free_soon = ask(&h->w, "3g.40gb", 50 * MINUTE, 0);
    h->head = ask(&h->w, "7g.80gb", 0, 50);
    assert_int_equal(world_state(&h->w, h->head), POOL_LEASE_QUEUED);
}

static void half_comes_free(struct half *h)
{
    assert_int_equal(world_release(&h->w, "a", h->free_soon), POOL_OK);
    world_settle(&h->w);
    assert_int_equal(world_state(&h->w, h->head), POOL_LEASE_QUEUED);
}

static bool runs(struct half *h, uint64_t id)
{
    return world_state(&h->w, id) == POOL_LEASE_ACTIVE;
}

/* In the order of the queue: the 3g takes all. */
static void slices_go_in_order(void **state)
{
    struct half h;
    (void)state;
    half_setup(&h, PLAN_SLICES);
    uint64_t big = ask(&h.w, "3g.40gb", 10 * MINUTE, 0);
    uint64_t small = ask(&h.w, "1g.10gb", 10 * MINUTE, 0);
    half_comes_free(&h);
    assert_true(runs(&h, big) && !runs(&h, small));
    world_done(&h.w);
}

/* Three that are small instead of the one before them that is not. */
static void requests_want_the_small_ones(void **state)
{
    struct half h;
    uint64_t small[3];
    (void)state;
    half_setup(&h, PLAN_REQUESTS);
    uint64_t big = ask(&h.w, "3g.40gb", 10 * MINUTE, 0);
    for (unsigned i = 0; i < 3; i++) {
        small[i] = ask(&h.w, "1g.10gb", 10 * MINUTE, 0);
    }
    half_comes_free(&h);
    assert_false(runs(&h, big));
    for (unsigned i = 0; i < 3; i++) {
        assert_true(runs(&h, small[i]));
    }
    world_done(&h.w);
}

/* A priority counts twice as much for each slot: one above, a 1g is worth less than a 3g; three
 * above, more. */
static void priority_is_a_weight(void **state)
{
    (void)state;
    for (int priority = 1; priority <= 3; priority += 2) {
        struct half h;
        half_setup(&h, PLAN_PRIORITY);
        uint64_t small = ask(&h.w, "1g.10gb", 10 * MINUTE, priority);
        uint64_t big = ask(&h.w, "3g.40gb", 10 * MINUTE, 0);
        half_comes_free(&h);
        assert_int_equal(runs(&h, small), priority == 3);
        assert_int_equal(runs(&h, big), priority == 1);
        world_done(&h.w);
        half_setup(&h, PLAN_SLICES); /* where it is only the order */
        small = ask(&h.w, "1g.10gb", 10 * MINUTE, priority);
        big = ask(&h.w, "3g.40gb", 10 * MINUTE, 0);
        half_comes_free(&h);
        assert_true(runs(&h, small) && !runs(&h, big));
        world_done(&h.w);
    }
}

/* Whatever is made much of, nobody behind it delays the head. */
static void the_head_is_not_delayed(void **state)
{
    (void)state;
    for (enum plan_objective o = 0; o < PLAN_OBJECTIVE_COUNT; o++) {
        struct half h;
        half_setup(&h, o);
        int64_t at = h.w.now_ms + 60 * MINUTE;
        uint64_t late = ask(&h.w, "1g.10gb", 70 * MINUTE, 40);
        half_comes_free(&h);
        assert_false(runs(&h, late));
        while (h.w.now_ms < at) {
            ask(&h.w, "1g.10gb", 5 * MINUTE, 40);
            world_wait(&h.w, MINUTE);
            world_settle(&h.w);
        }
        assert_true(runs(&h, h.head));
        world_done(&h.w);
    }
}

/* A 7g request, and in its way one movable 1g of priority 0 that has another place to go to. */
static bool is_asked_to_move(enum plan_objective objective, int priority)
{
    struct world w;
    uint64_t fill[2];

    setup(&w, objective, 2);
    uint64_t small = world_ask(&w, "a", "1g.10gb", (struct pool_request){.is_movable = true});
    fill[0] = world_ask(&w, "a", "4g.40gb", (struct pool_request){0});
    fill[1] = world_ask(&w, "a", "2g.20gb", (struct pool_request){0});
    world_ask(&w, "a", "4g.40gb", (struct pool_request){0});
    world_settle(&w);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(world_release(&w, "a", fill[i]), POOL_OK);
    }
    world_settle(&w);
    ask(&w, "7g.80gb", 0, priority);
    bool ret = pool_find_lease(w.pool, small)->move.phase == POOL_MOVE_ASKED;
    world_done(&w);
    return ret;
}

/* A 7g of priority -3 counts as much as a 1g of priority 0, one of -4 less. */
static void moves_are_for_what_counts_more(void **state)
{
    (void)state;
    assert_true(is_asked_to_move(PLAN_SLICES, 0));
    assert_true(is_asked_to_move(PLAN_SLICES, -4));
    assert_true(is_asked_to_move(PLAN_PRIORITY, 0));
    assert_true(is_asked_to_move(PLAN_PRIORITY, -3));
    assert_false(is_asked_to_move(PLAN_PRIORITY, -4));
    assert_false(is_asked_to_move(PLAN_REQUESTS, 0)); /* it is far larger than the others */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slices_go_in_order),
        cmocka_unit_test(requests_want_the_small_ones),
        cmocka_unit_test(priority_is_a_weight),
        cmocka_unit_test(the_head_is_not_delayed),
        cmocka_unit_test(moves_are_for_what_counts_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
