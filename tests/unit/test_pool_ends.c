/* Where a slice is cut when leases have time limits: plan.policy align, and what the
 * pool tells it. */
#include "../pool_world.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define MINUTE 60000

static void setup(struct world *w, enum plan_policy policy)
{
    struct pool_settings settings;

    pool_settings_default(&settings);
    assert_int_equal(settings.plan.policy, PLAN_ALIGN);
    settings.plan.policy = policy;
    world_make(w, &settings, "H100-SXM5-80GB", 2);
}

static uint64_t ask(struct world *w, const char *profile, int64_t ttl_ms)
{
    return world_ask_settled(w, "a", profile, (struct pool_request){.ttl_ms = ttl_ms});
}

static unsigned gpu_of(struct world *w, uint64_t id)
{
    return pool_find_lease(w->pool, id)->part[0].gpu->id;
}

/* Two left halves for so long (0: for ever), on GPU 0 and 1; then the GPU of a 3g
 * for 50 minutes. */
static unsigned third_goes_to(enum plan_policy policy, int64_t first_ms, int64_t second_ms,
                              int64_t renewed_ms)
{
    struct world w;
    unsigned gpu;

    setup(&w, policy);
    assert_int_equal(gpu_of(&w, ask(&w, "4g.40gb", first_ms)), 0);
    uint64_t second = ask(&w, "4g.40gb", second_ms);
    assert_int_equal(gpu_of(&w, second), 1);
    if (renewed_ms) {
        world_step(&w, &(struct pool_event){.kind = POOL_EV_RENEW, .lease = second, .reply_to = 5,
                                            .ttl_ms = renewed_ms,
                                            .actor = {.tenant = "a", .role = POOL_ROLE_TENANT}});
        assert_int_equal(w.reply.answer, POOL_OK);
    }
    gpu = gpu_of(&w, ask(&w, "3g.40gb", 50 * MINUTE));
    world_done(&w);
    return gpu;
}

static void it_goes_where_somebody_stays_as_long(void **state)
{
    (void)state;
    assert_int_equal(third_goes_to(PLAN_ALIGN, 10 * MINUTE, 60 * MINUTE, 0), 1);
    assert_int_equal(third_goes_to(PLAN_REACH, 10 * MINUTE, 60 * MINUTE, 0), 0);
    assert_int_equal(third_goes_to(PLAN_ALIGN, 60 * MINUTE, 60 * MINUTE, 0), 0);
    assert_int_equal(third_goes_to(PLAN_ALIGN, 10 * MINUTE, 20 * MINUTE, 0), 1); /* less alone */
}

static void without_a_limit_nobody_leaves(void **state)
{
    (void)state;
    assert_int_equal(third_goes_to(PLAN_ALIGN, 10 * MINUTE, 0, 0), 1);
    assert_int_equal(third_goes_to(PLAN_ALIGN, 0, 60 * MINUTE, 0), 0);
}

static void a_renewed_lease_ends_later(void **state)
{
    (void)state;
    assert_int_equal(third_goes_to(PLAN_ALIGN, 10 * MINUTE, 10 * MINUTE, 0), 0);
    assert_int_equal(third_goes_to(PLAN_ALIGN, 10 * MINUTE, 10 * MINUTE, 60 * MINUTE), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_goes_where_somebody_stays_as_long),
        cmocka_unit_test(without_a_limit_nobody_leaves),
        cmocka_unit_test(a_renewed_lease_ends_later),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
