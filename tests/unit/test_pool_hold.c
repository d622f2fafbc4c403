/* What is kept for the head of the queue, engines too, and when it is expected to start. */
#include "../pool_world.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define MINUTE 60000

static uint64_t ask(struct world *w, const char *profile, int64_t ttl_ms)
{
    return world_ask_settled(w, "a", profile, (struct pool_request){.ttl_ms = ttl_ms});
}

static int64_t expected(struct world *w, uint64_t lease)
{
    struct pool_explanation *why = xcalloc(1, sizeof(*why));

    pool_explain(w->pool, pool_find_lease(w->pool, lease), w->now_ms, why);
    int64_t at = why->expected_start_ms;
    free(why);
    return at;
}

static int64_t ends(struct world *w, uint64_t lease)
{
    return pool_find_lease(w->pool, lease)->expires_ms;
}

/* All but one slot is free, and yet it has to wait for the media engines. */
static void engines_are_waited_for(void **state)
{
    struct world w;
    (void)state;
    world_make(&w, NULL, "H100-SXM5-80GB", 1);
    uint64_t first = ask(&w, "1g.10gb+me", 60 * MINUTE);
    uint64_t head = ask(&w, "1g.10gb+me", 0);
    assert_int_equal(world_state(&w, head), POOL_LEASE_QUEUED);
    assert_int_equal(expected(&w, head), ends(&w, first));
    world_done(&w);
}

/* Of two GPUs the one whose engines come free first, although its slots are as free as the
 * other's. */
static void the_sooner_engines_are_kept(void **state)
{
    struct world w;
    (void)state;
    world_make(&w, NULL, "H100-SXM5-80GB", 2);
    uint64_t late = ask(&w, "1g.10gb+me", 60 * MINUTE);
    uint64_t soon = ask(&w, "1g.10gb+me", 20 * MINUTE);
    uint64_t head = ask(&w, "1g.10gb+me", 5 * MINUTE);
    assert_int_equal(expected(&w, head), ends(&w, soon));
    uint64_t both = world_ask(&w, "a", "1g.10gb+me", (struct pool_request){.count = 2});
    assert_int_equal(expected(&w, both), ends(&w, late));
    world_done(&w);
}

static void engines_that_never_end_are_not_promised(void **state)
{
    struct world w;
    (void)state;
    world_make(&w, NULL, "H100-SXM5-80GB", 1);
    ask(&w, "1g.10gb+me", 0);
    uint64_t head = ask(&w, "1g.10gb+me", 0);
    assert_int_equal(expected(&w, head), 0);
    world_done(&w);
}

/* The head waits for slots; its engines are free now, and nobody behind it may take them for longer
 * than until then. */
static void engines_are_kept_for_the_head(void **state)
{
    struct world w;
    (void)state;
    world_make(&w, NULL, "A30", 1);
    uint64_t filler[4], ends_first = 0;
    for (unsigned i = 0; i < 4; i++) {
        filler[i] = ask(&w, "1g.6gb", (i + 1) * 10 * MINUTE);
    }
    /* One slot of each half is free, so no 2g fits. */
    for (unsigned i = 0; i < 4; i++) {
        unsigned start = pool_find_lease(w.pool, filler[i])->part[0].slice->start;
        if (start % 2) {
            assert_int_equal(world_release(&w, "a", filler[i]), POOL_OK);
            world_settle(&w);
        } else if (!ends_first || ends(&w, filler[i]) < ends(&w, ends_first)) {
            ends_first = filler[i];
        }
    }
    uint64_t head = ask(&w, "2g.12gb+me", 0);
    int64_t at = expected(&w, head);
    assert_int_equal(at, ends(&w, ends_first));
    uint64_t long_engines = ask(&w, "1g.6gb+me", 0);
    assert_int_equal(world_state(&w, long_engines), POOL_LEASE_QUEUED);
    uint64_t plain = ask(&w, "1g.6gb", 0);
    assert_int_equal(world_state(&w, plain), POOL_LEASE_ACTIVE);
    assert_int_equal(world_release(&w, "a", plain), POOL_OK);
    world_settle(&w);
    uint64_t short_engines = ask(&w, "1g.6gb+me", MINUTE);
    assert_int_equal(world_state(&w, short_engines), POOL_LEASE_ACTIVE);
    while (w.now_ms < at) {
        world_wait(&w, MINUTE);
        world_settle(&w);
    }
    world_wait(&w, MINUTE);
    world_settle(&w);
    assert_int_equal(world_state(&w, head), POOL_LEASE_ACTIVE);
    assert_true(pool_find_lease(w.pool, head)->started_ms <= at + 2 * MINUTE);
    world_done(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(engines_are_waited_for),
        cmocka_unit_test(the_sooner_engines_are_kept),
        cmocka_unit_test(engines_that_never_end_are_not_promised),
        cmocka_unit_test(engines_are_kept_for_the_head),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
