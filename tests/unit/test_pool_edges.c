/* Conditions of the pool that the larger stories walk past: each of these fails when its condition
 * is left out of the code. */
#include "../pool_world.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void setup(struct world *w, unsigned gpus, bool is_mig_enabled)
{
    *w = (struct world){.now_ms = 1000000};
    for (unsigned i = 0; i < gpus; i++) {
        world_add_gpu(w, "H100-SXM5-80GB", is_mig_enabled);
    }
    world_run(w, NULL);
}

static uint64_t ask(struct world *w, const char *tenant, const char *profile)
{
    return world_ask_settled(w, tenant, profile, (struct pool_request){0});
}

/* A slice that was being made when we died, where somebody computes now: it cannot be the one that
 * nobody was given, so it is left alone. */
static void what_somebody_uses_is_not_the_unfinished_one(void **state)
{
    struct world w;
    (void)state;
    setup(&w, 1, true);
    uint64_t a = world_ask(&w, "a", "2g.20gb", (struct pool_request){0});
    struct pool_job_result unheard = {0};
    assert_int_equal(world_create(&w, &w.gpu[0], &w.gpu[0].job[0], &unheard), 0);
    w.gpu[0].gi[0].process_count = 1;
    unsigned start = w.gpu[0].gi[0].start;
    world_restart(&w, 0);
    world_settle(&w);
    assert_int_equal(w.history[POOL_HIST_SLICE_FOREIGN], 1);
    assert_non_null(world_find(&w.gpu[0], start));
    assert_int_equal(world_state(&w, a), POOL_LEASE_ACTIVE);
    assert_int_not_equal(pool_find_lease(w.pool, a)->part[0].slice->start, start);
    world_done(&w);
}

/* One compute instance of a shared slice is given back while another one computes. */
static void a_share_does_not_wait_for_its_neighbours(void **state)
{
    struct world w;
    (void)state;
    setup(&w, 1, true);
    uint64_t a = ask(&w, "a", "1c.3g.40gb"), b = ask(&w, "a", "1c.3g.40gb");
    const struct pool_lease *busy = pool_find_lease(w.pool, b);
    assert_ptr_equal(pool_find_lease(w.pool, a)->part[0].slice, busy->part[0].slice);
    struct mig_instance *gi = &w.gpu[0].gi[0];
    gi->process_count = gi->ci[busy->part[0].ci].process_count = 1;
    world_release(&w, "a", a);
    world_settle(&w);
    assert_int_equal(world_state(&w, a), POOL_LEASE_RELEASED);
    world_release(&w, "a", b);
    world_settle(&w);
    assert_int_equal(world_state(&w, b), POOL_LEASE_RELEASING);
    gi->process_count = gi->ci[busy->part[0].ci].process_count = 0;
    world_wait(&w, 5000);
    world_settle(&w);
    assert_int_equal(world_state(&w, b), POOL_LEASE_RELEASED);
    world_done(&w);
}

/* The number of a lease whose record is lost stays taken: somebody may still hold it for his. */
static void a_lost_number_is_not_given_again(void **state)
{
    struct world w;
    (void)state;
    setup(&w, 1, true);
    uint64_t lost = ask(&w, "a", "1g.10gb");
    world_restart(&w, POOL_RECORD_LEASE);
    world_settle(&w);
    assert_null(pool_find_lease(w.pool, lost));
    assert_true(ask(&w, "b", "1g.10gb") > lost);
    assert_int_equal(w.gpu[0].gi_count, 2); /* what it had is left alone */
    world_done(&w);
}

/* A GPU on which somebody computes without asking is nobody's to have whole. */
static void a_gpu_in_use_is_not_leased_whole(void **state)
{
    struct world w;
    (void)state;
    setup(&w, 1, false);
    w.gpu[0].whole_processes = 2;
    world_step(&w, &(struct pool_event){.kind = POOL_EV_SCAN});
    world_settle(&w);
    uint64_t a = ask(&w, "a", "gpu");
    assert_int_equal(world_state(&w, a), POOL_LEASE_QUEUED);
    w.gpu[0].whole_processes = 0;
    for (int i = 0; i < 3 && world_state(&w, a) == POOL_LEASE_QUEUED; i++) {
        world_wait(&w, 10000); /* the queue is looked after by itself */
        world_settle(&w);
    }
    assert_int_equal(world_state(&w, a), POOL_LEASE_ACTIVE);
    world_done(&w);
}

/* One that tangram does not manage is nobody's either, though it is free. */
static void an_unmanaged_gpu_is_not_leased_whole(void **state)
{
    struct pool_settings settings;
    struct world w = {.now_ms = 1000000};
    (void)state;
    pool_settings_default(&settings);
    w.pool = pool_new(&settings);
    for (unsigned i = 0; i < 2; i++) {
        unsigned id = 0;
        world_add_gpu(&w, "H100-SXM5-80GB", false);
        struct mig_gpu_info info = world_info(&w, i);
        assert_int_equal(pool_add_gpu(w.pool, &info, &w.gpu[i].geometry, i == 0, POOL_MIG_KEEP,
                                      &id, NULL), 0);
    }
    world_start(&w);
    world_settle(&w);
    uint64_t a = ask(&w, "a", "gpu"), b = ask(&w, "b", "gpu");
    assert_int_equal(world_state(&w, a), POOL_LEASE_ACTIVE);
    assert_int_equal(pool_find_lease(w.pool, a)->part[0].gpu->id, 0);
    assert_int_equal(world_state(&w, b), POOL_LEASE_QUEUED);
    world_release(&w, "a", a);
    world_settle(&w);
    assert_int_equal(world_state(&w, b), POOL_LEASE_ACTIVE);
    assert_int_equal(pool_find_lease(w.pool, b)->part[0].gpu->id, 0);
    world_done(&w);
}

/* A look for processes whose worker was given up for a while: another has ended the lease since. */
static void who_is_seen_late_is_seen(void **state)
{
    struct world w;
    (void)state;
    setup(&w, 1, true);
    uint64_t id = ask(&w, "a", "1g.10gb");
    struct world_gpu *g = &w.gpu[0];
    assert_int_equal(world_release(&w, "a", id), POOL_OK);
    assert_int_equal(g->job_count, 1);
    struct pool_job_result late = {.job = g->job[0]};
    assert_int_equal(late.job.kind, POOL_JOB_CHECK);
    world_settle(&w);
    assert_int_equal(world_state(&w, id), POOL_LEASE_RELEASED);
    g->gi[0].has_processes = true;
    g->gi[0].ci[0].process_count = g->gi[0].process_count = 2;
    assert_int_equal(world_check(g, &late.job, &late), 0);
    world_step(&w, &(struct pool_event){.kind = POOL_EV_RESULT, .result = &late});
    id = world_ask(&w, "b", "7g.80gb", (struct pool_request){0});
    assert_int_equal(world_state(&w, id), POOL_LEASE_QUEUED);
    assert_int_equal(g->job_count, 0);
    world_done(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_somebody_uses_is_not_the_unfinished_one),
        cmocka_unit_test(a_share_does_not_wait_for_its_neighbours),
        cmocka_unit_test(a_lost_number_is_not_given_again),
        cmocka_unit_test(a_gpu_in_use_is_not_leased_whole),
        cmocka_unit_test(an_unmanaged_gpu_is_not_leased_whole),
        cmocka_unit_test(who_is_seen_late_is_seen),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
