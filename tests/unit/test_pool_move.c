/* One lease that is moved so that a request fits: every course that its move can take. */
#include "move_world.h"

static void a_confirmed_move_makes_room(void **state)
{
    struct scene *s = scene(1, 2, two_gpus);
    char old[MIG_UUID_SIZE];
    (void)state;
    const struct pool_gpu *was_on = lease(s, 's')->part[0].gpu;
    text_copy(old, sizeof(old), lease(s, 's')->part[0].slice->ci[0].mig_uuid);
    ask(s, 'B', "nlp", "7g.80gb");
    const struct pool_lease *small = lease(s, 's');
    assert_int_equal(state_of(s, 'B'), POOL_LEASE_QUEUED);
    assert_int_equal(small->move.phase, POOL_MOVE_ASKED);
    assert_string_equal(small->part[0].slice->ci[0].mig_uuid, old); /* until it is confirmed */
    assert_int_equal(seen(s, POOL_HIST_LEASE_MOVE_ASKED), 1);
    assert_non_null(strstr(explain(s, 'B'), "l-1 (vision; asked"));
    assert_int_equal(s->why.block_count, 1);
    assert_int_equal(s->why.block[0].until_ms, small->move.due_ms);
    assert_non_null(strstr(explain(s, 's'), "makes room for l-"));
    confirm(s, 's');
    assert_ptr_not_equal(small->part[0].gpu, was_on);
    assert_string_not_equal(small->part[0].slice->ci[0].mig_uuid, old);
    assert_int_equal(state_of(s, 'B'), POOL_LEASE_ACTIVE);
    assert_int_equal(state_of(s, 's'), POOL_LEASE_ACTIVE);
    assert_int_equal(small->move.phase, POOL_MOVE_NONE);
    assert_int_equal(answer(s, 's', true), POOL_NO_MOVE);
    assert_int_equal(seen(s, POOL_HIST_LEASE_MOVED), 1);
    done(s);
}

static void nobody_is_asked_when_it_is_off(void **state)
{
    struct scene *s = scene(0, 2, two_gpus);
    (void)state;
    ask(s, 'B', "nlp", "7g.80gb");
    assert_int_equal(phase_of(s, 's'), POOL_MOVE_NONE);
    assert_null(lease(s, 'B')->shift);
    assert_int_equal(answer(s, 's', true), POOL_NO_MOVE);
    done(s);
}

/* A request that does not wait for the answer begins nothing, and says what waiting would bring. */
static void who_does_not_wait_asks_nobody(void **state)
{
    struct scene *s = scene(1, 2, two_gpus);
    struct pool_request now = {.must_not_wait = true};
    (void)state;
    assert_int_equal(world_ask(&s->w, "nlp", "7g.80gb", now), 0);
    assert_int_equal(s->w.reply.answer, POOL_DOES_NOT_FIT);
    assert_non_null(strstr(s->w.reply.text, "does not fit now"));
    assert_non_null(strstr(s->w.reply.text, "if it may wait, 1 holder is asked to move, for up to "
                                            "60 s"));
    assert_int_equal(phase_of(s, 's'), POOL_MOVE_NONE);
    assert_int_equal(world_ask(&s->w, "nlp", "7g.80gb", (struct pool_request){
                                   .must_not_wait = true, .count = 2}), 0);
    assert_null(strstr(s->w.reply.text, "if it may wait")); /* 'f' cannot be moved */
    done(s);
}

/* An answer counts for what it names only, and is told what is asked instead. */
static void an_answer_names_what_it_answers(void **state)
{
    struct scene *s = scene_of_two();
    char old[MIG_UUID_SIZE], first[POOL_MOVE_NAME_SIZE], name[POOL_MOVE_NAME_SIZE];
    (void)state;
    text_copy(old, sizeof(old), lease(s, 's')->part[0].slice->ci[0].mig_uuid);
    assert_string_equal(pool_move_name(lease(s, 's'), first), "l-1.1");
    assert_int_equal(answer_as(s, 's', "speech", true, NULL, NULL), POOL_FORBIDDEN);
    assert_int_equal(answer_as(s, 's', "vision", true, old, NULL), POOL_NO_MOVE);
    give_back(s, 'B');
    wait_ms(s, 700000);
    ask(s, 'B', "nlp", "7g.80gb");
    assert_int_equal(phase_of(s, 's'), POOL_MOVE_ASKED);
    assert_int_equal(answer_as(s, 's', "vision", true, NULL, first), POOL_NO_MOVE);
    assert_non_null(strstr(s->w.reply.text, "(l-1.2), not l-1.1"));
    assert_string_equal(pool_move_name(lease(s, 's'), name), "l-1.2");
    restart(s);
    assert_string_equal(pool_move_name(lease(s, 's'), name), "l-1.2");
    const char *uuid = lease(s, 's')->move.slice->ci[0].mig_uuid;
    assert_int_equal(answer_as(s, 's', "vision", true, uuid, first), POOL_NO_MOVE);
    assert_int_equal(answer_as(s, 's', "vision", true, uuid, name), POOL_OK);
    world_settle(&s->w);
    assert_int_equal(state_of(s, 'B'), POOL_LEASE_ACTIVE);
    done(s);
}

/* Whose old slice still has a process keeps both until it ends. */
static void the_old_slice_is_left_when_nothing_runs_on_it(void **state)
{
    struct scene *s = scene_of_two();
    (void)state;
    struct mig_instance *old = instance_of(s, lease(s, 's')->part[0].slice);
    old->process_count = 1;
    confirm(s, 's');
    wait_ms(s, 5000);
    assert_int_equal(phase_of(s, 's'), POOL_MOVE_LEAVING);
    assert_int_equal(state_of(s, 'B'), POOL_LEASE_QUEUED);
    assert_non_null(strstr(explain(s, 's'), "1 process(es) still run"));
    old->process_count = 0;
    wait_ms(s, 2000);
    assert_int_equal(state_of(s, 'B'), POOL_LEASE_ACTIVE);
    done(s);
}

/* Nobody else gets what is kept for the request meanwhile. */
static void the_window_is_kept(void **state)
{
    struct scene *s = scene_of_two();
    (void)state;
    play(s, (struct act[]){ASK('3', "late", "3g.40gb", .ttl_ms = 1000), {0}});
    if (state_of(s, '3') == POOL_LEASE_ACTIVE) {
        assert_ptr_not_equal(lease(s, '3')->part[0].gpu, lease(s, 's')->part[0].gpu);
    }
    play(s, (struct act[]){ASK('4', "late", "4g.40gb", .ttl_ms = 1000), {0}});
    assert_int_equal(state_of(s, '4'), POOL_LEASE_QUEUED);
    confirm(s, 's');
    assert_int_equal(state_of(s, 'B'), POOL_LEASE_ACTIVE);
    done(s);
}

static void a_refusal_is_kept_to_and_asked_again_later(void **state)
{
    struct scene *s = scene_of_two();
    (void)state;
    const struct pool_slice *had = lease(s, 's')->part[0].slice;
    refuse(s, 's');
    expect_called_off(s, 's');
    assert_ptr_equal(lease(s, 's')->part[0].slice, had);
    assert_int_equal(state_of(s, 'B'), POOL_LEASE_QUEUED);
    assert_non_null(strstr(explain(s, 'B'), "l-1 (vision)"));
    wait_ms(s, 300000);
    assert_int_equal(seen(s, POOL_HIST_LEASE_MOVE_ASKED), 1);
    wait_ms(s, 400000);
    assert_int_equal(seen(s, POOL_HIST_LEASE_MOVE_ASKED), 2);
    done(s);
}

static void silence_is_a_refusal(void **state)
{
    struct scene *s = scene_of_two();
    (void)state;
    instance_of(s, lease(s, 's')->move.slice)->process_count = 1; /* it had begun */
    wait_ms(s, 61000);
    assert_int_equal(phase_of(s, 's'), POOL_MOVE_LEAVING);
    assert_false(lease(s, 's')->move.is_confirmed);
    assert_int_equal(answer(s, 's', true), POOL_NO_MOVE);
    instance_of(s, lease(s, 's')->move.slice)->process_count = 0;
    wait_ms(s, 2000);
    expect_called_off(s, 's');
    done(s);
}

/* --- asked in vain ---------------------------------------------------------------------------- */

static void a_request_that_ends_calls_it_off(void **state)
{
    struct scene *s = scene_of_two();
    (void)state;
    give_back(s, 'B');
    expect_called_off(s, 's');
    /* It was not the holder's fault, but it was a trouble: the next one waits a little. */
    int64_t rest_ms = lease(s, 's')->move_rest_ms;
    restart(s);
    assert_int_equal(lease(s, 's')->vain_asks, 1);
    assert_int_equal(lease(s, 's')->move_rest_ms, rest_ms);
    ask(s, 'B', "audio", "7g.80gb");
    assert_int_equal(phase_of(s, 's'), POOL_MOVE_NONE);
    assert_non_null(strstr(explain(s, 'B'), "l-1 (vision)"));
    wait_ms(s, 25000);
    assert_int_equal(phase_of(s, 's'), POOL_MOVE_ASKED);
    done(s);
}

/* Asking and cancelling for an hour, by as many as like. */
static void nobody_is_pestered(void **state)
{
    struct scene *s = scene(1, 2, two_gpus);
    char tenant[] = "pest-a";
    (void)state;
    for (unsigned i = 0; i < 1200; i++) {
        tenant[5] = (char)('a' + i % 20);
        ask(s, 'B', tenant, "7g.80gb");
        wait_ms(s, 1500);
        give_back(s, 'B');
        wait_ms(s, 1500);
    }
    /* 19, 38, 75, 150 and 300 s after the first ones, and then 600 s. */
    assert_in_range(seen(s, POOL_HIST_LEASE_MOVE_ASKED), 9, 12);
    assert_int_equal(seen(s, POOL_HIST_LEASE_MOVE_CANCELLED), seen(s, POOL_HIST_LEASE_MOVE_ASKED));
    assert_true(lease(s, 's')->vain_asks > 5);
    wait_ms(s, 1300000); /* a pause beyond the last rest: forgotten */
    unsigned before = seen(s, POOL_HIST_LEASE_MOVE_ASKED);
    ask(s, 'B', "nlp", "7g.80gb");
    give_back(s, 'B');
    assert_int_equal(lease(s, 's')->vain_asks, 1);
    ask(s, 'B', "nlp", "7g.80gb");
    wait_ms(s, 25000);
    assert_int_equal(seen(s, POOL_HIST_LEASE_MOVE_ASKED), before + 2);
    confirm(s, 's');
    assert_int_equal(lease(s, 's')->vain_asks, 0);
    done(s);
}

static void a_request_that_is_served_otherwise_calls_it_off(void **state)
{
    struct scene *s = scene_of_two();
    (void)state;
    give_back(s, 'f');
    /* The new 1g is on that GPU: the request still waits for one of the two. */
    assert_int_equal(state_of(s, 'B'), POOL_LEASE_QUEUED);
    refuse(s, 's');
    expect_called_off(s, 's');
    assert_int_equal(state_of(s, 'B'), POOL_LEASE_ACTIVE);
    done(s);
}

/* --- ends in the middle ----------------------------------------------------------------------- */

/* Released in the middle: its processes are waited for on both slices. */
static void a_holder_may_release_in_the_middle(void **state)
{
    struct scene *s = scene_of_two();
    (void)state;
    struct mig_instance *next = instance_of(s, lease(s, 's')->move.slice);
    next->process_count = 1;
    give_back(s, 's');
    assert_int_equal(state_of(s, 's'), POOL_LEASE_RELEASING);
    next->process_count = 0;
    wait_ms(s, 3000);
    assert_int_equal(state_of(s, 's'), POOL_LEASE_RELEASED);
    assert_int_equal(state_of(s, 'B'), POOL_LEASE_ACTIVE);
    done(s);
}

static void a_time_limit_ends_it_in_the_middle(void **state)
{
    struct scene *s = scene(1, 2, two_gpus);
    (void)state;
    struct pool_event e = {.kind = POOL_EV_RENEW, .lease = s->id['s'], .ttl_ms = 5000,
                           .actor = {.tenant = "vision", .role = POOL_ROLE_TENANT}};
    world_step(&s->w, &e);
    ask(s, 'B', "nlp", "7g.80gb");
    assert_int_equal(phase_of(s, 's'), POOL_MOVE_ASKED);
    wait_ms(s, 6000);
    assert_int_equal(state_of(s, 's'), POOL_LEASE_EXPIRED);
    assert_int_equal(state_of(s, 'B'), POOL_LEASE_ACTIVE);
    done(s);
}

/* --- trouble with the driver ------------------------------------------------------------------ */

static void a_driver_that_fails_changes_nothing(void **state)
{
    struct scene *s = scene(1, 2, two_gpus);
    (void)state;
    const struct pool_slice *had = lease(s, 's')->part[0].slice;
    s->w.fail = fail_create;
    ask(s, 'B', "nlp", "7g.80gb");
    expect_called_off(s, 's');
    assert_ptr_equal(lease(s, 's')->part[0].slice, had);
    assert_int_equal(seen(s, POOL_HIST_LEASE_MOVE_ASKED), 0);
    assert_int_equal(lease(s, 's')->vain_asks, 0); /* its holder has heard of nothing */
    s->w.fail = NULL;
    wait_ms(s, 40000);
    assert_int_equal(phase_of(s, 's'), POOL_MOVE_ASKED);
    done(s);
}

static void a_lost_gpu_calls_it_off(void **state)
{
    struct scene *s = scene_of_two();
    (void)state;
    set_health(s, lease(s, 's')->move.slice->gpu->id, POOL_HEALTH_LOST);
    expect_called_off(s, 's');
    done(s);
    s = scene_of_two();
    set_health(s, lease(s, 's')->part[0].gpu->id, POOL_HEALTH_LOST);
    world_settle(&s->w);
    wait_ms(s, 10000); /* what the room was for is gone */
    assert_int_equal(phase_of(s, 's'), POOL_MOVE_NONE);
    assert_null(lease(s, 'B')->shift);
    done(s);
}

static void what_is_destroyed_by_hand_is_noticed(void **state)
{
    struct scene *s = scene_of_two();
    (void)state;
    destroy_by_hand(s, lease(s, 's')->move.slice);
    expect_called_off(s, 's');
    done(s);
    s = scene_of_two();
    destroy_by_hand(s, lease(s, 's')->part[0].slice);
    assert_int_equal(state_of(s, 's'), POOL_LEASE_LOST);
    assert_int_equal(state_of(s, 'B'), POOL_LEASE_ACTIVE);
    done(s);
}

static unsigned checks; /* jobs that looked for processes */

static void count_checks(struct world *w, const struct pool_action *action)
{
    (void)w;
    checks += action->kind == POOL_DO_JOB && action->job.kind == POOL_JOB_CHECK;
}

/* The driver does not say whether anything runs on the old slice: nobody waits for that for ever,
 * and it is not asked ever faster. */
static void looks_that_fail_are_not_waited_for(void **state)
{
    struct scene *s = scene_of_two();
    (void)state;
    s->w.fail = fail_check;
    s->w.on_action = count_checks;
    checks = 0;
    confirm(s, 's');
    wait_seconds(s, 55);
    assert_non_null(lease(s, 'B')->shift);
    wait_seconds(s, 10);
    assert_null(lease(s, 'B')->shift);
    assert_int_equal(phase_of(s, 's'), POOL_MOVE_LEAVING); /* law 1 */
    assert_int_equal(lease(s, 's')->tenant->compute_slots, 1); /* it is not its holder's fault */
    wait_seconds(s, 600);
    assert_true(checks < 20);
    s->w.fail = NULL;
    wait_seconds(s, 70);
    assert_int_equal(phase_of(s, 's'), POOL_MOVE_NONE);
    assert_int_equal(state_of(s, 'B'), POOL_LEASE_ACTIVE);
    done(s);
}

/* --- while nobody waits ----------------------------------------------------------------------- */

static struct scene *scene_to_consolidate(void)
{
    struct pool_settings settings = moves_up_to(1);

    settings.consolidate_per_hour = 2;
    settings.move_pause_ms = 0;
    return scene_with(settings, 2, two_gpus);
}

static void a_gpu_is_emptied_and_that_is_all(void **state)
{
    struct scene *s = scene_to_consolidate();
    (void)state;
    wait_ms(s, 1000);
    assert_int_equal(seen(s, POOL_HIST_LEASE_MOVE_ASKED), 0);
    wait_ms(s, 1800000);
    assert_int_equal(phase_of(s, 's'), POOL_MOVE_ASKED);
    assert_int_equal(lease(s, 's')->move.request, 0);
    assert_ptr_equal(lease(s, 's')->move.slice->gpu, lease(s, 'f')->part[0].gpu);
    confirm(s, 's');
    assert_ptr_equal(lease(s, 's')->part[0].gpu, lease(s, 'f')->part[0].gpu);
    for (int i = 0; i < 20; i++) { /* it does not wander */
        wait_ms(s, 1800000);
    }
    assert_int_equal(seen(s, POOL_HIST_LEASE_MOVE_ASKED), 1);
    done(s);
}

static void consolidation_keeps_to_its_budget(void **state)
{
    struct scene *s = scene_to_consolidate();
    (void)state;
    for (int i = 0; i < 10; i++) { /* refused each time */
        wait_ms(s, 1800000);
        if (phase_of(s, 's') == POOL_MOVE_ASKED) {
            refuse(s, 's');
        }
    }
    assert_int_equal(seen(s, POOL_HIST_LEASE_MOVE_ASKED), 10);
    done(s);
}

static void whoever_waits_comes_before_consolidation(void **state)
{
    struct scene *s = scene_to_consolidate();
    (void)state;
    wait_ms(s, 1800000);
    assert_int_equal(phase_of(s, 's'), POOL_MOVE_ASKED);
    ask(s, 'B', "nlp", "7g.80gb");
    assert_int_equal(seen(s, POOL_HIST_LEASE_MOVE_CANCELLED), 1);
    wait_ms(s, 6000);
    assert_int_equal(phase_of(s, 's'), POOL_MOVE_ASKED);
    assert_int_equal(lease(s, 's')->move.request, s->id['B']);
    done(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_confirmed_move_makes_room),
        cmocka_unit_test(nobody_is_asked_when_it_is_off),
        cmocka_unit_test(who_does_not_wait_asks_nobody),
        cmocka_unit_test(an_answer_names_what_it_answers),
        cmocka_unit_test(the_old_slice_is_left_when_nothing_runs_on_it),
        cmocka_unit_test(the_window_is_kept),
        cmocka_unit_test(a_refusal_is_kept_to_and_asked_again_later),
        cmocka_unit_test(silence_is_a_refusal),
        cmocka_unit_test(a_request_that_ends_calls_it_off),
        cmocka_unit_test(nobody_is_pestered),
        cmocka_unit_test(a_request_that_is_served_otherwise_calls_it_off),
        cmocka_unit_test(a_holder_may_release_in_the_middle),
        cmocka_unit_test(a_time_limit_ends_it_in_the_middle),
        cmocka_unit_test(a_driver_that_fails_changes_nothing),
        cmocka_unit_test(a_lost_gpu_calls_it_off),
        cmocka_unit_test(what_is_destroyed_by_hand_is_noticed),
        cmocka_unit_test(looks_that_fail_are_not_waited_for),
        cmocka_unit_test(a_gpu_is_emptied_and_that_is_all),
        cmocka_unit_test(consolidation_keeps_to_its_budget),
        cmocka_unit_test(whoever_waits_comes_before_consolidation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
