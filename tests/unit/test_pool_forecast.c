/* What those who wait are told of when they start: not as if nobody stood before them. */
#include "../pool_world.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define MINUTE 60000

static uint64_t ask(struct world *w, const char *profile, unsigned count, int64_t ttl_ms)
{
    return world_ask_settled(w, "a", profile,
                             (struct pool_request){.count = count, .ttl_ms = ttl_ms});
}

/* Minutes from now; 0 unknown. */
static int64_t minutes(struct world *w, uint64_t lease)
{
    struct pool_explanation *why = xcalloc(1, sizeof(*why));
    struct pool_forecast forecast;

    pool_explain(w->pool, pool_find_lease(w->pool, lease), w->now_ms, why);
    pool_forecast(w->pool, &forecast);
    int64_t at = why->expected_start_ms;
    assert_int_equal(pool_forecast_of(&forecast, pool_find_lease(w->pool, lease)), at);
    free(why);
    return at ? (at - w->now_ms + MINUTE / 2) / MINUTE : 0;
}

static void each_waits_for_those_before_it(void **state)
{
    struct world w;
    (void)state;
    world_make(&w, NULL, "H100-SXM5-80GB", 1);
    ask(&w, "7g.80gb", 1, 10 * MINUTE);
    uint64_t first = ask(&w, "7g.80gb", 1, 5 * MINUTE);
    uint64_t second = ask(&w, "7g.80gb", 1, 5 * MINUTE);
    uint64_t two = ask(&w, "3g.40gb", 2, MINUTE);
    uint64_t small = ask(&w, "1g.10gb", 1, 0);
    uint64_t whole = ask(&w, "7g.80gb", 1, MINUTE);
    assert_int_equal(minutes(&w, first), 10);
    assert_int_equal(minutes(&w, second), 15);
    assert_int_equal(minutes(&w, two), 20);
    assert_int_equal(minutes(&w, small), 21); /* both 3g leave no slot that a 1g may have */
    assert_int_equal(minutes(&w, whole), 0);  /* the 1g has no end */
    world_pass(&w, 10 * MINUTE + 1000);
    assert_int_equal(world_state(&w, first), POOL_LEASE_ACTIVE);
    assert_int_equal(minutes(&w, second), 5);
    world_pass(&w, 5 * MINUTE + 1000);
    assert_int_equal(world_state(&w, second), POOL_LEASE_ACTIVE);
    assert_int_equal(world_state(&w, two), POOL_LEASE_QUEUED);
    world_pass(&w, 5 * MINUTE + 1000);
    assert_int_equal(world_state(&w, two), POOL_LEASE_ACTIVE);
    world_done(&w);
}

/* Beside a head that nobody can tell the time of, others may know theirs. */
static void what_is_kept_without_an_end_is_taken(void **state)
{
    struct world w;
    (void)state;
    world_make(&w, NULL, "H100-SXM5-80GB", 1);
    ask(&w, "4g.40gb", 1, 0);
    ask(&w, "3g.40gb", 1, 10 * MINUTE);
    uint64_t head = ask(&w, "4g.40gb", 1, MINUTE);
    uint64_t beside = ask(&w, "3g.40gb", 1, 5 * MINUTE);
    uint64_t behind = ask(&w, "3g.40gb", 1, 5 * MINUTE);
    assert_int_equal(minutes(&w, head), 0);
    assert_int_equal(minutes(&w, beside), 10);
    assert_int_equal(minutes(&w, behind), 15);
    world_done(&w);
}

/* Its time is up, and the driver has not said yet that nothing runs on it: that takes a moment. */
static void what_is_about_to_end_is_not_unknown(void **state)
{
    struct world w;
    (void)state;
    world_make(&w, NULL, "H100-SXM5-80GB", 1);
    uint64_t first = ask(&w, "3g.40gb", 1, 10 * MINUTE);
    ask(&w, "4g.40gb", 1, 20 * MINUTE);
    uint64_t head = ask(&w, "3g.40gb", 1, 0);
    assert_int_equal(minutes(&w, head), 10);
    world_wait(&w, 10 * MINUTE);
    assert_int_not_equal(world_state(&w, first), POOL_LEASE_ACTIVE);
    assert_int_not_equal(world_state(&w, head), POOL_LEASE_ACTIVE);
    struct pool_forecast forecast;
    pool_forecast(w.pool, &forecast);
    assert_in_range(forecast.entry[0].start_ms, w.now_ms + 1, w.now_ms + 100);
    world_settle(&w);
    assert_int_equal(world_state(&w, head), POOL_LEASE_ACTIVE);
    world_done(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_waits_for_those_before_it),
        cmocka_unit_test(what_is_about_to_end_is_not_unknown),
        cmocka_unit_test(what_is_kept_without_an_end_is_taken),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
