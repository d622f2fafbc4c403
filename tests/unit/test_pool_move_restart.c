/* Moves over a restart of the daemon, with records that are damaged, GPUs that come late and clocks
 * that were set.  Crashes at every point are in test_pool_crash.c. */
#include "move_world.h"

static void a_restart_goes_on(void **state)
{
    struct scene *s = scene_of_two();
    (void)state;
    int64_t due_ms = lease(s, 's')->move.due_ms;
    restart(s);
    assert_int_equal(phase_of(s, 's'), POOL_MOVE_ASKED);
    assert_int_equal(lease(s, 's')->move.due_ms, due_ms);
    confirm(s, 's');
    assert_int_equal(state_of(s, 'B'), POOL_LEASE_ACTIVE);
    done(s);
}

static void what_is_damaged_is_called_off(void **state)
{
    static const char *const words[][2] = {
        {"\"move\":", "\"mowe\":"},       {"\"phase\":\"asked\"", "\"phase\":\"xsked\""},
        {"\"shift\":", "\"shirt\":"},     {"\"moves\":", "\"mowes\":"},
        {"\"windows\":", "\"widows\" :"}, {"\"request\":", "\"reqvest\":"},
        {"\"begun\":true", "\"begin\":true"}};
    (void)state;

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        struct scene *s = scene_of_two();
        char had[MIG_UUID_SIZE];
        text_copy(had, sizeof(had), lease(s, 's')->part[0].slice->ci[0].mig_uuid);
        restart_without(s, words[i][0], words[i][1], WORLD_GPUS);
        const struct pool_lease *small = lease(s, 's');
        assert_int_equal(small->state, POOL_LEASE_ACTIVE);
        assert_string_equal(small->part[0].slice->ci[0].mig_uuid, had);
        wait_ms(s, 100000);
        assert_int_equal(state_of(s, 'B'), POOL_LEASE_QUEUED);
        assert_string_equal(small->part[0].slice->ci[0].mig_uuid, had);
        /* Whatever became of the new slice, it is not destroyed under anybody. */
        assert_true(explain(s, 'B')[0]);
        done(s);
    }
}

/* What an earlier version wrote: of one window, and of a move without a name. */
static void what_an_earlier_version_wrote_goes_on(void **state)
{
    static const char *const words[][2] = {{"\"windows\":[{", "            "},
                                           {"}],\"moves\":", "  ,\"moves\":"},
                                           {"\"move_count\":1", "\"mowe_count\":1"}};
    struct scene *s = scene_of_two();
    char name[POOL_MOVE_NAME_SIZE];
    (void)state;
    restart_edited(s, words, 3, WORLD_GPUS);
    assert_non_null(lease(s, 'B')->shift);
    assert_string_equal(pool_move_name(lease(s, 's'), name), "l-1.1");
    assert_int_equal(answer_as(s, 's', "vision", true, NULL, name), POOL_OK);
    world_settle(&s->w);
    assert_int_equal(state_of(s, 'B'), POOL_LEASE_ACTIVE);
    done(s);
}

/* Whose GPU answers only a while after the start has its rest all the same, and no longer. */
static void a_gpu_that_comes_late_keeps_its_timers(void **state)
{
    struct scene *s = scene_of_two();
    (void)state;
    unsigned gpu = lease(s, 's')->part[0].gpu->id;
    refuse(s, 's');
    expect_called_off(s, 's');
    restart_edited(s, NULL, 0, gpu);
    assert_int_equal(pool_gpu_count(s->w.pool), 3);
    struct mig_gpu_info info = world_info(&s->w, gpu);
    assert_int_equal(pool_learn_identity(s->w.pool, gpu, &info, true, POOL_MIG_ON_DEMAND, NULL), 0);
    assert_int_equal(pool_learn_geometry(s->w.pool, gpu, &s->w.gpu[gpu].geometry, NULL), 0);
    assert_int_equal(pool_gpu_count(s->w.pool), 2);
    set_health(s, gpu, POOL_HEALTH_OK);
    world_settle(&s->w);
    wait_ms(s, 300000);
    assert_int_equal(seen(s, POOL_HIST_LEASE_MOVE_ASKED), 1);
    wait_ms(s, 400000);
    assert_int_equal(seen(s, POOL_HIST_LEASE_MOVE_ASKED), 2);
    done(s);
}

/* Of what is being given back nothing is known any more: it ends, and its slice is left alone. */
static void a_release_of_which_the_places_are_lost_ends(void **state)
{
    struct scene *s = scene(0, 2, two_gpus);
    (void)state;
    const struct pool_slice *slice = lease(s, 's')->part[0].slice;
    unsigned gpu = slice->gpu->id, start = slice->start;
    instance_of(s, slice)->process_count = 1;
    give_back(s, 's');
    assert_int_equal(state_of(s, 's'), POOL_LEASE_RELEASING);
    restart_without(s, "\"parts\":", "\"paths\":", WORLD_GPUS);
    assert_int_equal(state_of(s, 's'), POOL_LEASE_RELEASED);
    slice = pool_slice_at(pool_gpu(s->w.pool, gpu), start);
    assert_int_equal(slice->state, POOL_SLICE_FOREIGN);
    done(s);
}

static void a_clock_that_was_set_moves_the_time_to_answer(void **state)
{
    struct scene *s = scene_of_two();
    (void)state;
    int64_t due_ms = lease(s, 's')->move.due_ms;
    pool_shift_times(s->w.pool, 7000);
    assert_int_equal(lease(s, 's')->move.due_ms, due_ms + 7000);
    done(s);
}

/* Somebody cuts a slice by hand, and the driver tells. */
static void cut_by_hand(struct scene *s, unsigned gpu, const char *profile, unsigned start)
{
    struct world_gpu *g = &s->w.gpu[gpu];
    const struct mig_profile *p = &g->geometry.profiles[mig_profile_by_name(&g->geometry, profile)];
    struct mig_instance *gi = &g->gi[g->gi_count++];

    *gi = (struct mig_instance){.gi_id = 90 + gpu, .profile_id = p->id, .start = (uint8_t)start,
                                .size = p->size, .has_processes = true};
    world_add_ci(&s->w, g, gi, 0);
    world_step(&s->w, &(struct pool_event){.kind = POOL_EV_SCAN, .gpu = gpu});
    world_settle(&s->w);
}

/* Quota is kept for an old request that could have a place.  Whether it could is not known while a
 * GPU has not been read: foreign slices are in no record. */
static struct scene *scene_of_quota(void)
{
    static const struct act around[] = {
        ASK('1', "speech", "2g.20gb"), ASK('s', "vision", "1g.10gb", .is_movable = true),
        ASK('o', "vision", "1g.10gb", .is_movable = true), BACK('1'),
        ASK('H', "nlp", "7g.80gb"), {0}};
    struct pool_settings settings = moves_up_to(2);

    settings.max_compute_per_tenant = 7;
    struct scene *s = scene_with(settings, 3, (struct act[]){{0}});
    cut_by_hand(s, 0, "7g.80gb", 0);
    cut_by_hand(s, 1, "1g.10gb", 6);
    cut_by_hand(s, 2, "7g.80gb", 0);
    play(s, around);
    wait_ms(s, settings.age_step_ms + 6000);
    ask(s, 'B', "nlp", "4g.40gb");
    assert_non_null(lease(s, 'B')->shift);
    return s;
}

static void quota_that_may_be_kept_calls_no_move_off(void **state)
{
    struct scene *s = scene_of_quota();
    (void)state;
    restart(s);
    assert_non_null(lease(s, 'B')->shift);
    assert_int_equal(seen(s, POOL_HIST_LEASE_MOVE_CANCELLED), 0);
    confirm(s, 's');
    confirm(s, 'o');
    assert_int_equal(state_of(s, 'B'), POOL_LEASE_ACTIVE);
    done(s);
}

static int fail_scan_of_2(struct world *w, const struct pool_job *job)
{
    (void)w;
    return job->kind == POOL_JOB_SCAN && job->gpu == 2 ? -EIO : 0;
}

/* But not for ever. */
static void a_gpu_that_is_never_read_holds_nobody_up(void **state)
{
    struct scene *s = scene_of_quota();
    (void)state;
    s->w.fail = fail_scan_of_2;
    restart(s);
    assert_non_null(lease(s, 'B')->shift);
    wait_seconds(s, 50);
    assert_non_null(lease(s, 'B')->shift);
    wait_seconds(s, 20);
    assert_null(lease(s, 'B')->shift);
    assert_int_equal(seen(s, POOL_HIST_LEASE_MOVE_CANCELLED), 2);
    done(s);
}

/* Those for whom it is kept keep it meanwhile. */
static void quota_stays_kept_until_the_gpus_are_read(void **state)
{
    static const struct act around[] = {ASK('f', "speech", "7g.80gb"), ASK('H', "nlp", "7g.80gb"),
                                        {0}};
    struct pool_settings settings = moves_up_to(0);
    (void)state;
    settings.max_compute_per_tenant = 7;
    struct scene *s = scene_with(settings, 3, (struct act[]){{0}});
    cut_by_hand(s, 0, "7g.80gb", 0);
    cut_by_hand(s, 1, "1g.10gb", 6);
    play(s, around);
    wait_ms(s, settings.age_step_ms + 6000);
    ask(s, 'B', "nlp", "1g.10gb");
    assert_int_equal(state_of(s, 'B'), POOL_LEASE_QUEUED);
    s->w.fail = fail_scan_of_2;
    restart(s);
    wait_seconds(s, 50);
    assert_int_equal(state_of(s, 'B'), POOL_LEASE_QUEUED);
    s->w.fail = NULL;
    wait_seconds(s, 300);
    assert_int_equal(state_of(s, 'B'), POOL_LEASE_QUEUED);
    give_back(s, 'f');
    assert_int_equal(state_of(s, 'H'), POOL_LEASE_ACTIVE);
    done(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_restart_goes_on),
        cmocka_unit_test(what_is_damaged_is_called_off),
        cmocka_unit_test(what_an_earlier_version_wrote_goes_on),
        cmocka_unit_test(a_gpu_that_comes_late_keeps_its_timers),
        cmocka_unit_test(a_release_of_which_the_places_are_lost_ends),
        cmocka_unit_test(a_clock_that_was_set_moves_the_time_to_answer),
        cmocka_unit_test(quota_that_may_be_kept_calls_no_move_off),
        cmocka_unit_test(a_gpu_that_is_never_read_holds_nobody_up),
        cmocka_unit_test(quota_stays_kept_until_the_gpus_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
