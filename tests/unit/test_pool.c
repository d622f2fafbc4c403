#include "../pool_world.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void setup(struct world *w, unsigned gpus)
{
    world_make(w, NULL, "H100-SXM5-80GB", gpus);
}

static void a_slice_is_cut_used_and_given_back(void **state)
{
    struct world w;
    (void)state;
    setup(&w, 1);
    uint64_t id = world_ask(&w, "vision", "2g.20gb", (struct pool_request){0});
    assert_int_equal(world_state(&w, id), POOL_LEASE_CUTTING);
    world_settle(&w);
    assert_int_equal(world_state(&w, id), POOL_LEASE_ACTIVE);
    assert_int_equal(w.gpu[0].gi_count, 1);
    assert_int_equal(world_release(&w, "speech", id), POOL_FORBIDDEN);
    assert_int_equal(world_release(&w, "vision", id), POOL_OK);
    world_settle(&w);
    assert_int_equal(world_state(&w, id), POOL_LEASE_RELEASED);
    assert_int_equal(w.gpu[0].gi_count, 1); /* idle, ready for the same tenant */
    uint64_t again = world_ask(&w, "vision", "2g.20gb", (struct pool_request){0});
    assert_int_equal(world_state(&w, again), POOL_LEASE_ACTIVE);
    world_done(&w);
}

static void another_tenant_gets_a_slice_made_anew(void **state)
{
    struct world w;
    (void)state;
    setup(&w, 1);
    uint64_t a = world_ask(&w, "vision", "7g.80gb", (struct pool_request){0});
    world_settle(&w);
    world_release(&w, "vision", a);
    world_settle(&w);
    unsigned made = w.gpu[0].made;
    uint64_t b = world_ask(&w, "speech", "7g.80gb", (struct pool_request){0});
    assert_int_equal(world_state(&w, b), POOL_LEASE_CUTTING);
    world_settle(&w);
    assert_int_equal(world_state(&w, b), POOL_LEASE_ACTIVE);
    assert_int_equal(w.gpu[0].made, made + 1);
    world_done(&w);
}

/* The case that the project began with. */
static void idle_slices_are_recut_beside_running_work(void **state)
{
    struct world w;
    uint64_t one[3];
    (void)state;
    setup(&w, 1);
    uint64_t big = world_ask(&w, "vision", "4g.40gb", (struct pool_request){0});
    world_settle(&w);
    for (int i = 0; i < 3; i++) {
        one[i] = world_ask(&w, "speech", "1g.10gb", (struct pool_request){0});
        world_settle(&w);
    }
    struct mig_instance *busy = world_find(&w.gpu[0], 0);
    assert_non_null(busy);
    if (busy) {
        busy->process_count = 1;
    }
    /* Two of the three go, so that the geometry allows 2g at 4 only if the one left is at 6. */
    for (int i = 0; i < 3; i++) {
        if (pool_find_lease(w.pool, one[i])->part[0].slice->start != 6) {
            world_release(&w, "speech", one[i]);
        }
    }
    world_settle(&w);
    uint64_t two = world_ask(&w, "nlp", "2g.20gb", (struct pool_request){.must_not_wait = true});
    assert_true(two);
    world_settle(&w);
    assert_int_equal(world_state(&w, two), POOL_LEASE_ACTIVE);
    assert_int_equal(world_state(&w, big), POOL_LEASE_ACTIVE);
    assert_int_equal(pool_find_lease(w.pool, two)->part[0].slice->start, 4);
    world_done(&w);
}

static void a_request_waits_with_a_reason_and_is_served(void **state)
{
    struct world w;
    struct pool_explanation *why = xcalloc(1, sizeof(*why));
    (void)state;
    setup(&w, 1);
    uint64_t a = world_ask(&w, "vision", "7g.80gb", (struct pool_request){0});
    world_settle(&w);
    uint64_t b = world_ask(&w, "speech", "1g.10gb", (struct pool_request){0});
    assert_int_equal(world_state(&w, b), POOL_LEASE_QUEUED);
    pool_explain(w.pool, pool_find_lease(w.pool, b), w.now_ms, why);
    assert_non_null(strstr(why->reason, "l-1 (vision)"));
    assert_int_equal(why->block_count, 1);
    assert_int_equal(why->block[0].lease->id, a);
    assert_int_equal(world_ask(&w, "nlp", "1g.10gb", (struct pool_request){.must_not_wait = true}),
                     0);
    assert_int_equal(w.reply.answer, POOL_DOES_NOT_FIT);
    world_release(&w, "vision", a);
    world_settle(&w);
    assert_int_equal(world_state(&w, b), POOL_LEASE_ACTIVE);
    free(why);
    world_done(&w);
}

static void what_can_never_fit_is_refused(void **state)
{
    struct world w;
    (void)state;
    setup(&w, 1);
    assert_int_equal(world_ask(&w, "a", "1g.5gb", (struct pool_request){0}), 0);
    assert_int_equal(w.reply.answer, POOL_CAN_NEVER_FIT);
    assert_int_equal(world_ask(&w, "a", "4g.40gb", (struct pool_request){.count = 2}), 0);
    assert_int_equal(w.reply.answer, POOL_CAN_NEVER_FIT);
    assert_int_equal(world_ask(&w, "a", "1g.10gb", (struct pool_request){.model = "A100"}), 0);
    assert_int_equal(w.reply.answer, POOL_CAN_NEVER_FIT);
    world_done(&w);
}

static void several_slices_come_all_or_none(void **state)
{
    struct world w;
    (void)state;
    setup(&w, 2);
    uint64_t a = world_ask(&w, "a", "3g.40gb", (struct pool_request){.count = 3});
    world_settle(&w);
    assert_int_equal(world_state(&w, a), POOL_LEASE_ACTIVE);
    assert_int_equal(pool_find_lease(w.pool, a)->part_count, 3);
    uint64_t b = world_ask(&w, "b", "3g.40gb", (struct pool_request){.count = 2});
    assert_int_equal(world_state(&w, b), POOL_LEASE_QUEUED);
    assert_int_equal(pool_find_lease(w.pool, b)->part_count, 0);
    assert_int_equal(w.gpu[0].gi_count + w.gpu[1].gi_count, 3);
    world_done(&w);
}

static void time_limits_end_leases_but_not_their_processes(void **state)
{
    struct world w;
    (void)state;
    setup(&w, 1);
    uint64_t a = world_ask(&w, "a", "2g.20gb", (struct pool_request){.ttl_ms = 5000});
    world_settle(&w);
    struct mig_instance *gi = &w.gpu[0].gi[0];
    gi->process_count = 1;
    world_wait(&w, 6000);
    world_settle(&w);
    assert_int_equal(world_state(&w, a), POOL_LEASE_RELEASING);
    gi->process_count = 0;
    world_wait(&w, 2000);
    world_settle(&w);
    assert_int_equal(world_state(&w, a), POOL_LEASE_EXPIRED);
    world_done(&w);
}

static void compute_instances_share_a_slice_of_one_tenant(void **state)
{
    struct world w;
    (void)state;
    setup(&w, 1);
    uint64_t a = world_ask(&w, "a", "1c.3g.40gb", (struct pool_request){0});
    world_settle(&w);
    uint64_t b = world_ask(&w, "a", "1c.3g.40gb", (struct pool_request){0});
    world_settle(&w);
    uint64_t c = world_ask(&w, "b", "1c.3g.40gb", (struct pool_request){0});
    world_settle(&w);
    const struct pool_lease *la = pool_find_lease(w.pool, a), *lb = pool_find_lease(w.pool, b),
                            *lc = pool_find_lease(w.pool, c);
    assert_ptr_equal(la->part[0].slice, lb->part[0].slice);
    assert_ptr_not_equal(la->part[0].slice, lc->part[0].slice);
    assert_string_not_equal(la->part[0].slice->ci[la->part[0].ci].mig_uuid,
                            lb->part[0].slice->ci[lb->part[0].ci].mig_uuid);
    assert_int_equal(lb->state, POOL_LEASE_ACTIVE);
    world_done(&w);
}

/* The daemon comes back, over the same hardware. */
static void reboot_daemon(struct world *w)
{
    world_restart(w, 0);
    world_settle(w);
}

static void leases_survive_a_restart(void **state)
{
    struct world w;
    (void)state;
    setup(&w, 2);
    uint64_t a = world_ask(&w, "a", "3g.40gb", (struct pool_request){.count = 2, .name = "x"});
    world_settle(&w);
    uint64_t b = world_ask(&w, "b", "7g.80gb", (struct pool_request){0});
    uint64_t q = world_ask(&w, "b", "7g.80gb", (struct pool_request){0});
    /* Half-way: b's slice is made, but nobody has written that down. */
    world_work(&w, pool_find_lease(w.pool, b)->part[0].gpu->id);
    reboot_daemon(&w);
    assert_int_equal(world_state(&w, a), POOL_LEASE_ACTIVE);
    assert_string_equal(pool_find_lease(w.pool, a)->name, "x");
    assert_int_equal(world_state(&w, b), POOL_LEASE_ACTIVE);
    assert_int_equal(world_state(&w, q), POOL_LEASE_QUEUED);
    assert_int_equal(w.history[POOL_HIST_SLICE_FOREIGN], 0);
    world_done(&w);
}

/* Takes what has changed; the record of the counters, NULL if it has not. */
static char *take_counters(struct world *w)
{
    struct pool_record r;
    char *ret = NULL;

    while (pool_next_dirty(w->pool, &r)) {
        if (r.kind == POOL_RECORD_META) {
            assert_null(ret);
            ret = TAKE_PTR(r.body);
        }
        free(r.body);
    }
    return ret;
}

/* A request that was refused had a number, and no record. */
static void refused_numbers_do_not_hide_the_highest(void **state)
{
    struct pool_settings settings;
    struct world w;
    (void)state;
    pool_settings_default(&settings);
    settings.keep_ended = 1;
    world_make(&w, &settings, "H100-SXM5-80GB", 1);
    uint64_t a = world_ask(&w, "a", "3g.40gb", (struct pool_request){0});
    world_settle(&w);
    uint64_t b = world_ask(&w, "a", "1g.10gb", (struct pool_request){0});
    world_settle(&w);
    free(take_counters(&w));
    assert_int_equal(world_release(&w, "a", b), POOL_OK);
    world_settle(&w);
    assert_int_equal(world_ask(&w, "a", "9g.90gb", (struct pool_request){0}), 0);
    free(take_counters(&w));
    assert_int_equal(world_release(&w, "a", a), POOL_OK);
    world_settle(&w); /* which forgets b */
    assert_null(pool_find_lease(w.pool, b));
    char *counters = take_counters(&w);
    assert_non_null(counters);
    free(counters);
    world_done(&w);
}

/* One record less in each commit, and yet no number is given twice. */
static void counters_are_written_when_the_highest_number_goes(void **state)
{
    struct pool_settings settings;
    struct world w;
    (void)state;
    pool_settings_default(&settings);
    settings.keep_ended = 0;
    world_make(&w, &settings, "H100-SXM5-80GB", 1);
    uint64_t a = world_ask(&w, "a", "3g.40gb", (struct pool_request){0});
    uint64_t b = world_ask(&w, "a", "1g.10gb", (struct pool_request){0});
    world_settle(&w);
    assert_null(take_counters(&w));
    world_release(&w, "a", a);
    world_settle(&w);
    assert_null(take_counters(&w));
    world_release(&w, "a", b);
    world_settle(&w);
    CLEANUP(freep) char *counters = take_counters(&w);
    assert_non_null(counters);
    assert_non_null(strstr(counters, "\"next_lease\":3"));
    world_done(&w);
}

static void a_reboot_of_the_machine_loses_leases_and_says_so(void **state)
{
    struct world w;
    (void)state;
    setup(&w, 1);
    uint64_t a = world_ask(&w, "a", "3g.40gb", (struct pool_request){0});
    world_settle(&w);
    w.gpu[0].gi_count = 0;
    reboot_daemon(&w);
    assert_int_equal(world_state(&w, a), POOL_LEASE_LOST);
    assert_int_equal(w.history[POOL_HIST_LEASE_LOST], 1);
    world_done(&w);
}

static int fail_first_creates(struct world *w, const struct pool_job *job)
{
    int *left = w->arg;

    return job->kind == POOL_JOB_CREATE && (*left)-- > 0 ? -EBUSY : 0;
}

static void a_failed_cut_is_tried_again(void **state)
{
    struct world w;
    int left = 2;
    (void)state;
    setup(&w, 1);
    w.fail = fail_first_creates;
    w.arg = &left;
    uint64_t a = world_ask(&w, "a", "3g.40gb", (struct pool_request){0});
    world_settle(&w);
    assert_int_equal(world_state(&w, a), POOL_LEASE_QUEUED);
    for (int i = 0; i < 4; i++) {
        world_wait(&w, 5000);
        world_settle(&w);
    }
    assert_int_equal(world_state(&w, a), POOL_LEASE_ACTIVE);
    world_done(&w);
}

static void foreign_slices_are_left_alone(void **state)
{
    struct world w;
    struct pool_settings settings;
    (void)state;
    pool_settings_default(&settings);
    w = (struct world){.now_ms = 1};
    world_add_gpu(&w, "H100-SXM5-80GB", true);
    struct pool_job job = {.profile_id = 9, .start = 0, .size = 4};
    struct pool_job_result r = {0};
    world_create(&w, &w.gpu[0], &job, &r);
    world_boot(&w, &settings);
    world_start(&w);
    world_settle(&w);
    assert_int_equal(w.history[POOL_HIST_SLICE_FOREIGN], 1);
    assert_int_equal(world_ask(&w, "a", "7g.80gb", (struct pool_request){.must_not_wait = true}),
                     0);
    uint64_t a = world_ask(&w, "a", "3g.40gb", (struct pool_request){0});
    world_settle(&w);
    assert_int_equal(world_state(&w, a), POOL_LEASE_ACTIVE);
    struct pool_event adopt = {.kind = POOL_EV_ADOPT, .reply_to = 99,
                               .actor = {.tenant = "root", .role = POOL_ROLE_OPERATOR}};
    world_step(&w, &adopt);
    assert_int_equal(w.reply.answer, POOL_OK);
    world_release(&w, "a", a);
    world_settle(&w);
    uint64_t all = world_ask(&w, "a", "7g.80gb", (struct pool_request){0});
    world_settle(&w);
    assert_int_equal(world_state(&w, all), POOL_LEASE_ACTIVE);
    world_done(&w);
}

static void apply_is_a_difference(void **state)
{
    struct world w;
    struct pool_target t = {.gpu = 0, .is_mig_enabled = true};
    unsigned count = 0;
    (void)state;
    setup(&w, 1);
    uint64_t a = world_ask(&w, "a", "2g.20gb", (struct pool_request){0});
    world_settle(&w);
    t.want[0].profile = mig_profile_by_name(&w.gpu[0].geometry, "2g.20gb");
    t.want[0].ci_profile = MIG_PROFILE_NONE;
    t.want[0].count = 1;
    t.want[1].profile = mig_profile_by_name(&w.gpu[0].geometry, "1g.10gb");
    t.want[1].ci_profile = MIG_PROFILE_NONE;
    t.want[1].count = 3;
    t.want_count = 2;
    struct pool_event e = {.kind = POOL_EV_APPLY, .targets = &t, .target_count = 1, .reply_to = 5,
                           .actor = {.tenant = "root", .role = POOL_ROLE_OPERATOR}};
    world_step(&w, &e);
    assert_int_equal(w.reply.answer, POOL_OK);
    assert_true(w.reply.operation);
    pool_last_changes(w.pool, &count);
    assert_int_equal(count, 4);
    uint64_t op = w.reply.operation;
    world_settle(&w);
    assert_int_equal(pool_find_operation(w.pool, op)->state, POOL_OP_DONE);
    assert_int_equal(w.gpu[0].gi_count, 4);
    assert_int_equal(world_state(&w, a), POOL_LEASE_ACTIVE);
    t.want[0].count = 0; /* now the leased one would have to go */
    t.want[1].profile = mig_profile_by_name(&w.gpu[0].geometry, "7g.80gb");
    t.want[1].count = 1;
    world_step(&w, &e);
    assert_int_equal(w.reply.answer, POOL_IN_USE);
    assert_int_equal(pool_last_explanation(w.pool)->block[0].lease->id, a);
    assert_int_equal(w.gpu[0].gi_count, 4);
    world_done(&w);
}

static void mig_mode_is_switched_on_demand(void **state)
{
    struct world w;
    struct pool_settings settings;
    (void)state;
    pool_settings_default(&settings);
    w = (struct world){.now_ms = 1};
    world_add_gpu(&w, "H100-SXM5-80GB", false);
    world_boot(&w, &settings);
    world_start(&w);
    world_settle(&w);
    uint64_t whole = world_ask(&w, "a", "gpu", (struct pool_request){0});
    assert_int_equal(world_state(&w, whole), POOL_LEASE_ACTIVE);
    uint64_t a = world_ask(&w, "a", "1g.10gb", (struct pool_request){0});
    world_settle(&w);
    assert_int_equal(world_state(&w, a), POOL_LEASE_QUEUED);
    world_release(&w, "a", whole);
    world_settle(&w);
    assert_int_equal(world_state(&w, a), POOL_LEASE_ACTIVE);
    assert_true(w.gpu[0].is_mig_enabled);
    world_done(&w);
}

static void a_preview_changes_nothing(void **state)
{
    struct world w;
    struct pool_preview *p = xcalloc(1, sizeof(*p));
    struct pool_actor actor = {.tenant = "a", .role = POOL_ROLE_TENANT};
    struct pool_request r[2] = {{.profile = "4g.40gb", .count = 1},
                                {.profile = "3g.40gb", .count = 1}};
    (void)state;
    setup(&w, 1);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(mig_want_parse(r[i].profile, &r[i].want, NULL), 0);
    }
    pool_preview(w.pool, &actor, r, 2, w.now_ms, p);
    assert_true(p->is_fitting);
    assert_int_equal(p->step_count, 2);
    assert_int_equal(p->step[0].start, 0);
    assert_int_equal(p->step[1].start, 4);
    assert_int_equal(pool_gpu(w.pool, 0)->slice_count, 0);
    r[1] = r[0];
    pool_preview(w.pool, &actor, r, 2, w.now_ms, p);
    assert_false(p->is_fitting);
    assert_int_equal(pool_gpu(w.pool, 0)->slice_count, 0);
    uint64_t a = world_ask(&w, "a", "7g.80gb", (struct pool_request){0});
    world_settle(&w);
    assert_int_equal(world_state(&w, a), POOL_LEASE_ACTIVE);
    free(p);
    world_done(&w);
}

static void a_plan_finds_the_order_that_fits(void **state)
{
    struct world w;
    struct pool_preview *p = xcalloc(1, sizeof(*p));
    struct pool_actor actor = {.tenant = "a", .role = POOL_ROLE_TENANT};
    struct pool_request r[2] = {{.profile = "2g.20gb", .count = 2},
                                {.profile = "3g.40gb", .count = 1}};
    (void)state;
    setup(&w, 1);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(mig_want_parse(r[i].profile, &r[i].want, NULL), 0);
    }
    pool_preview(w.pool, &actor, r, 2, w.now_ms, p);
    assert_true(p->is_fitting);
    assert_int_equal(p->step_count, 3);
    free(p);
    world_done(&w);
}

static void a_time_limit_beyond_the_longest_is_refused(void **state)
{
    struct world w = {.now_ms = 1};
    struct pool_settings settings;
    (void)state;
    pool_settings_default(&settings);
    settings.max_ttl_ms = 60000;
    world_add_gpu(&w, "H100-SXM5-80GB", true);
    world_boot(&w, &settings);
    world_start(&w);
    world_settle(&w);
    assert_int_equal(world_ask(&w, "a", "1g.10gb", (struct pool_request){.ttl_ms = 60001}), 0);
    assert_int_equal(w.reply.answer, POOL_NOT_ALLOWED);
    uint64_t a = world_ask(&w, "a", "1g.10gb", (struct pool_request){0});
    assert_int_equal(pool_find_lease(w.pool, a)->ttl_ms, 60000);
    world_done(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_slice_is_cut_used_and_given_back),
        cmocka_unit_test(another_tenant_gets_a_slice_made_anew),
        cmocka_unit_test(idle_slices_are_recut_beside_running_work),
        cmocka_unit_test(a_request_waits_with_a_reason_and_is_served),
        cmocka_unit_test(what_can_never_fit_is_refused),
        cmocka_unit_test(several_slices_come_all_or_none),
        cmocka_unit_test(time_limits_end_leases_but_not_their_processes),
        cmocka_unit_test(compute_instances_share_a_slice_of_one_tenant),
        cmocka_unit_test(leases_survive_a_restart),
        cmocka_unit_test(counters_are_written_when_the_highest_number_goes),
        cmocka_unit_test(refused_numbers_do_not_hide_the_highest),
        cmocka_unit_test(a_reboot_of_the_machine_loses_leases_and_says_so),
        cmocka_unit_test(a_failed_cut_is_tried_again),
        cmocka_unit_test(foreign_slices_are_left_alone),
        cmocka_unit_test(apply_is_a_difference),
        cmocka_unit_test(mig_mode_is_switched_on_demand),
        cmocka_unit_test(a_preview_changes_nothing),
        cmocka_unit_test(a_plan_finds_the_order_that_fits),
        cmocka_unit_test(a_time_limit_beyond_the_longest_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
