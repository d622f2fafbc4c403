/* Room for one request by several moves: sets, gangs, holders who have to stop first, and what
 * bounds it all. */
#include "move_world.h"

/* --- several moves for one slice -------------------------------------------------------------- */

static void several_are_asked_at_once(void **state)
{
    struct scene *s = scene(3, 1, two_small);
    (void)state;
    assert_int_equal(phase_of(s, 's'), POOL_MOVE_ASKED);
    assert_int_equal(phase_of(s, 'o'), POOL_MOVE_ASKED);
    confirm(s, 'o');
    assert_int_equal(state_of(s, 'B'), POOL_LEASE_QUEUED);
    confirm(s, 's');
    assert_int_equal(state_of(s, 'B'), POOL_LEASE_ACTIVE);
    assert_int_equal(lease(s, 'B')->part[0].slice->start, 0);
    done(s);
}

static void one_refusal_calls_the_others_off(void **state)
{
    struct scene *s = scene(3, 1, two_small);
    (void)state;
    refuse(s, 's');
    assert_int_equal(phase_of(s, 'o'), POOL_MOVE_NONE);
    assert_int_equal(answer(s, 'o', true), POOL_NO_MOVE);
    assert_null(lease(s, 'B')->shift);
    wait_ms(s, 60000); /* without the one who refused there is nothing to be done */
    assert_int_equal(seen(s, POOL_HIST_LEASE_MOVE_ASKED), 2);
    done(s);
}

/* Whoever comes in before the request need not wait for it; then nobody is asked in vain. */
static void what_is_taken_by_another_is_called_off_at_once(void **state)
{
    struct scene *s = scene(3, 1, two_small);
    (void)state;
    play(s, (struct act[]){ASK('P', "vision", "2g.20gb", .priority = 9), {0}});
    assert_int_equal(state_of(s, 'P'), POOL_LEASE_ACTIVE);
    assert_true(lease(s, 'P')->part[0].slice->start < 4);
    assert_null(lease(s, 'B')->shift);
    assert_int_equal(phase_of(s, 's'), POOL_MOVE_NONE);
    assert_int_equal(phase_of(s, 'o'), POOL_MOVE_NONE);
    done(s);
}

static void what_has_moved_stays_when_another_refuses(void **state)
{
    struct scene *s = scene(3, 1, two_small);
    (void)state;
    confirm(s, 'o');
    refuse(s, 's');
    assert_true(lease(s, 'o')->part[0].slice->start >= 4);
    assert_true(lease(s, 's')->part[0].slice->start < 4);
    assert_int_equal(state_of(s, 'B'), POOL_LEASE_QUEUED);
    wait_ms(s, 700000);
    confirm(s, 's');
    assert_int_equal(state_of(s, 'B'), POOL_LEASE_ACTIVE);
    done(s);
}

/* --- several slices for one request ----------------------------------------------------------- */

/* Two GPUs, a movable 1g in the left half of each ('s', 'o'): 2 x 4g need both away. */
static const struct act two_left[] = {
    ASK('1', "nlp", "3g.40gb"), ASK('s', "vision", "1g.10gb", .is_movable = true),
    ASK('2', "nlp", "2g.20gb"), ASK('3', "nlp", "1g.10gb"),
    ASK('4', "nlp", "3g.40gb"), ASK('o', "speech", "1g.10gb", .is_movable = true),
    BACK('1'), BACK('2'), BACK('3'), BACK('4'), {0}};
static const struct act gang[] = {ASK('B', "nlp", "4g.40gb", .count = 2), {0}};

static struct scene *scene_of_gang(unsigned max_moves)
{
    struct scene *s = scene(max_moves, 2, two_left);

    assert_ptr_not_equal(lease(s, 's')->part[0].gpu, lease(s, 'o')->part[0].gpu);
    assert_true(lease(s, 's')->part[0].slice->start < 4 && lease(s, 'o')->part[0].slice->start < 4);
    play(s, gang);
    return s;
}

static void a_gang_asks_as_many_as_it_needs(void **state)
{
    struct scene *s = scene_of_gang(2);
    (void)state;
    assert_int_equal(phase_of(s, 's'), POOL_MOVE_ASKED);
    assert_int_equal(phase_of(s, 'o'), POOL_MOVE_ASKED);
    assert_int_equal(lease(s, 'B')->shift->window_count, 2);
    assert_non_null(strstr(explain(s, 'B'), "room is made for it on GPUs 0 and 1"));
    confirm(s, 's');
    assert_int_equal(state_of(s, 'B'), POOL_LEASE_QUEUED);
    ask(s, '5', "late", "4g.40gb"); /* what has come free is kept until all of it is there */
    assert_int_equal(state_of(s, '5'), POOL_LEASE_QUEUED);
    confirm(s, 'o');
    assert_int_equal(state_of(s, 'B'), POOL_LEASE_ACTIVE);
    assert_int_equal(lease(s, 'B')->part_count, 2);
    assert_ptr_not_equal(lease(s, 'B')->part[0].gpu, lease(s, 'B')->part[1].gpu);
    assert_int_equal(seen(s, POOL_HIST_LEASE_MOVED), 2);
    done(s);
}

static void a_gang_asks_nobody_when_it_would_not_be_enough(void **state)
{
    struct scene *s = scene_of_gang(1);
    (void)state;
    wait_ms(s, 60000);
    assert_int_equal(seen(s, POOL_HIST_LEASE_MOVE_ASKED), 0);
    assert_null(lease(s, 'B')->shift);
    done(s);
}

/* All or none: one refuses, and what was kept may be had. */
static void a_gang_is_called_off_as_a_whole(void **state)
{
    struct scene *s = scene_of_gang(2);
    (void)state;
    confirm(s, 's');
    refuse(s, 'o');
    assert_null(lease(s, 'B')->shift);
    assert_int_equal(state_of(s, 'B'), POOL_LEASE_QUEUED);
    assert_int_equal(lease(s, 'B')->part_count, 0);
    wait_ms(s, 60000);
    assert_int_equal(seen(s, POOL_HIST_LEASE_MOVE_ASKED), 2);
    wait_ms(s, 600000); /* asked again, and 's' is where it should be */
    assert_int_equal(seen(s, POOL_HIST_LEASE_MOVE_ASKED), 3);
    confirm(s, 'o');
    assert_int_equal(state_of(s, 'B'), POOL_LEASE_ACTIVE);
    done(s);
}

/* A window that is free from the start is kept, too, while the other is made. */
static void a_gang_keeps_the_free_windows(void **state)
{
    struct scene *s = scene(1, 2, two_left);
    (void)state;
    give_back(s, 'o');
    play(s, gang);
    assert_int_equal(phase_of(s, 's'), POOL_MOVE_ASKED);
    assert_int_equal(lease(s, 'B')->shift->count, 1);
    assert_int_equal(lease(s, 'B')->shift->window_count, 2);
    ask(s, '5', "late", "4g.40gb");
    assert_int_equal(state_of(s, '5'), POOL_LEASE_QUEUED);
    confirm(s, 's');
    assert_int_equal(state_of(s, 'B'), POOL_LEASE_ACTIVE);
    done(s);
}

static void a_plan_of_a_gang_names_all_places(void **state)
{
    struct scene *s = scene(2, 2, two_left);
    struct pool_preview *p = xcalloc(1, sizeof(*p));
    struct pool_actor actor = {.tenant = "nlp", .role = POOL_ROLE_TENANT};
    struct pool_request r = {.profile = "4g.40gb", .count = 2};
    (void)state;
    assert_int_equal(mig_want_parse(r.profile, &r.want, NULL), 0);
    pool_preview(s->w.pool, &actor, &r, 1, s->w.now_ms, p);
    assert_false(p->is_fitting);
    assert_int_equal(p->move_count, 2);
    assert_int_equal(p->room_count, 2);
    assert_ptr_not_equal(p->room[0].gpu, p->room[1].gpu);
    assert_false(pool_next_queued(s->w.pool, NULL));
    free(p);
    done(s);
}

/* Compute instances and whole GPUs are looked for as they are. */
static void some_gangs_ask_nobody(void **state)
{
    struct scene *s = scene(8, 2, two_left);
    (void)state;
    play(s, (struct act[]){ASK('5', "nlp", "gpu", .count = 2),
                           ASK('6', "nlp", "1c.7g.80gb", .count = 9), {0}});
    wait_ms(s, 60000);
    assert_int_equal(seen(s, POOL_HIST_LEASE_MOVE_ASKED), 0);
    done(s);
}

static void a_gang_goes_on_after_a_restart(void **state)
{
    struct scene *s = scene_of_gang(2);
    (void)state;
    confirm(s, 's');
    restart(s);
    assert_int_equal(lease(s, 'B')->shift->window_count, 2);
    assert_int_equal(phase_of(s, 'o'), POOL_MOVE_ASKED);
    confirm(s, 'o');
    assert_int_equal(state_of(s, 'B'), POOL_LEASE_ACTIVE);
    done(s);
}

/* --- one part of a lease of several ----------------------------------------------------------- */

/* Both of its slices are in the way: its holder is asked for one, and then for the other. */
static void parts_move_one_after_the_other(void **state)
{
    static const struct act two_parts[] = {
        ASK('1', "nlp", "3g.40gb"), ASK('s', "vision", "1g.10gb", .is_movable = true, .count = 2),
        BACK('1'), ASK('B', "nlp", "4g.40gb"), {0}};
    struct scene *s = scene(3, 1, two_parts);
    const struct pool_lease *l = lease(s, 's');
    (void)state;
    assert_int_equal(l->part_count, 2);
    assert_int_equal(l->move.phase, POOL_MOVE_ASKED);
    unsigned first = l->move.part;
    const struct pool_slice *stays = l->part[!first].slice;
    confirm(s, 's');
    assert_ptr_equal(l->part[!first].slice, stays);
    assert_true(l->part[first].slice->start >= 4);
    assert_int_equal(state_of(s, 'B'), POOL_LEASE_QUEUED);
    assert_int_equal(l->move.phase, POOL_MOVE_ASKED);
    assert_int_equal(l->move.part, !first);
    restart(s);
    l = lease(s, 's');
    assert_int_equal(l->move.part, !first);
    confirm(s, 's');
    assert_true(l->part[0].slice->start >= 4 && l->part[1].slice->start >= 4);
    assert_int_equal(state_of(s, 'B'), POOL_LEASE_ACTIVE);
    assert_int_equal(l->tenant->compute_slots, 2);
    give_back(s, 's');
    assert_int_equal(state_of(s, 's'), POOL_LEASE_RELEASED);
    done(s);
}

/* Who has several slices is not asked to stop: it would have none at all for a while. */
static void who_has_several_is_not_asked_to_stop(void **state)
{
    static const struct act acts[] = { /* one in each left half */
        ASK('1', "nlp", "3g.40gb"), ASK('2', "nlp", "4g.40gb"), ASK('3', "nlp", "3g.40gb"),
        BACK('2'), ASK('s', "vision", "1g.10gb+me", .is_movable = true, .count = 2),
        BACK('1'), BACK('3'), ASK('B', "nlp", "4g.40gb", .count = 2), {0}};
    struct scene *s = scene(3, 2, acts);
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        assert_true(lease(s, 's')->part[i].slice->start < 4);
    }
    assert_int_equal(state_of(s, 'B'), POOL_LEASE_QUEUED);
    wait_ms(s, 60000);
    assert_int_equal(seen(s, POOL_HIST_LEASE_MOVE_ASKED), 0);
    done(s);
}

/* --- break before make ------------------------------------------------------------------------ */

static void who_cannot_be_in_two_places_is_asked_to_stop(void **state)
{
    struct scene *s = scene(1, 1, engines);
    const struct pool_lease *small = lease(s, 's');
    (void)state;
    int64_t granted_ms = small->granted_ms, expires_ms = small->expires_ms;
    assert_int_equal(small->move.phase, POOL_MOVE_ASKED);
    assert_true(small->move.is_stop);
    assert_non_null(strstr(explain(s, 's'), "asked to stop"));
    assert_non_null(strstr(explain(s, 'B'), "asked"));
    instance_of(s, small->part[0].slice)->process_count = 1;
    s->w.now_ms += 1000;
    assert_int_equal(answer_as(s, 's', "vision", true, NULL, "l-2.7"), POOL_NO_MOVE);
    assert_non_null(strstr(s->w.reply.text, "is asked to stop on MIG-"));
    assert_int_equal(answer_as(s, 's', "vision", true, NULL, "l-2.1"), POOL_OK);
    assert_true(small->move.is_confirmed);
    world_settle(&s->w); /* it said so, and yet it runs */
    wait_ms(s, 3000);
    assert_int_equal(small->state, POOL_LEASE_ACTIVE);
    assert_true(small->part[0].slice->start < 4);
    instance_of(s, small->part[0].slice)->process_count = 0;
    wait_ms(s, 2000);
    assert_int_equal(seen(s, POOL_HIST_LEASE_STOPPED), 1);
    assert_int_equal(seen(s, POOL_HIST_LEASE_MOVED), 1);
    assert_int_equal(state_of(s, 'B'), POOL_LEASE_ACTIVE);
    assert_int_equal(small->state, POOL_LEASE_ACTIVE);
    assert_true(small->part[0].slice->start >= 4);
    assert_int_equal(small->granted_ms, granted_ms);
    assert_int_equal(small->expires_ms, expires_ms);
    assert_int_equal(seen(s, POOL_HIST_LEASE_GRANTED), 3); /* it was not granted once more */
    done(s);
}

static void who_does_not_stop_keeps_what_it_has(void **state)
{
    struct scene *s = scene(1, 1, engines);
    (void)state;
    refuse(s, 's');
    assert_int_equal(phase_of(s, 's'), POOL_MOVE_NONE);
    assert_int_equal(state_of(s, 's'), POOL_LEASE_ACTIVE);
    assert_int_equal(state_of(s, 'B'), POOL_LEASE_QUEUED);
    done(s);
    s = scene(1, 1, engines);
    wait_ms(s, 61000);
    assert_int_equal(phase_of(s, 's'), POOL_MOVE_NONE);
    assert_int_equal(state_of(s, 's'), POOL_LEASE_ACTIVE);
    done(s);
    s = scene(1, 1, engines);
    give_back(s, 's');
    assert_int_equal(state_of(s, 's'), POOL_LEASE_RELEASED);
    assert_int_equal(state_of(s, 'B'), POOL_LEASE_ACTIVE);
    done(s);
    s = scene(1, 1, engines); /* says that it stops, and goes on */
    instance_of(s, lease(s, 's')->part[0].slice)->process_count = 1;
    confirm(s, 's');
    wait_seconds(s, 62);
    assert_int_equal(phase_of(s, 's'), POOL_MOVE_NONE);
    assert_int_equal(state_of(s, 's'), POOL_LEASE_ACTIVE);
    assert_int_equal(lease(s, 's')->tenant->compute_slots, lease(s, 's')->compute_slots);
    assert_null(lease(s, 'B')->shift);
    done(s);
}

static void who_has_stopped_comes_back_when_the_request_ends(void **state)
{
    struct scene *s = scene(1, 1, engines);
    (void)state;
    instance_of(s, lease(s, 's')->part[0].slice)->process_count = 1;
    confirm(s, 's');
    give_back(s, 'B');
    instance_of(s, lease(s, 's')->part[0].slice)->process_count = 0;
    wait_ms(s, 3000);
    assert_int_equal(state_of(s, 's'), POOL_LEASE_ACTIVE);
    assert_int_equal(phase_of(s, 's'), POOL_MOVE_NONE);
    done(s);
}

/* The driver fails when it is to have its slice again: it waits, first of all, and ends in time. */
static void who_has_stopped_is_first_in_the_queue(void **state)
{
    struct scene *s = scene(1, 1, engines);
    (void)state;
    s->w.fail = fail_create;
    confirm(s, 's');
    wait_ms(s, 100000);
    assert_true(state_of(s, 's') == POOL_LEASE_QUEUED || state_of(s, 's') == POOL_LEASE_CUTTING);
    assert_true(explain(s, 's')[0]);
    s->w.fail = NULL;
    wait_ms(s, 100000);
    assert_int_equal(state_of(s, 's'), POOL_LEASE_ACTIVE);
    done(s);
    s = scene(1, 1, engines);
    s->w.fail = fail_create;
    confirm(s, 's');
    for (int i = 0; i < 60; i++) {
        wait_ms(s, 10000);
    }
    assert_int_equal(state_of(s, 's'), POOL_LEASE_EXPIRED);
    done(s);
}

/* Nobody knows whether it has stopped: it keeps what it has, and is told so. */
static void a_stop_that_cannot_be_seen_is_called_off(void **state)
{
    struct scene *s = scene(1, 1, engines);
    (void)state;
    s->w.fail = fail_check;
    confirm(s, 's');
    wait_seconds(s, 70);
    assert_int_equal(phase_of(s, 's'), POOL_MOVE_NONE);
    assert_int_equal(state_of(s, 's'), POOL_LEASE_ACTIVE);
    assert_int_equal(seen(s, POOL_HIST_LEASE_MOVE_CANCELLED), 1);
    assert_null(lease(s, 'B')->shift);
    done(s);
}

/* What it had still counts on its tenant while it has nothing: it comes back
 * before anything new. */
static void who_has_stopped_keeps_its_quota(void **state)
{
    struct pool_settings settings = moves_up_to(1);
    (void)state;
    settings.max_compute_per_tenant = 4;
    struct scene *s = scene_with(settings, 1, engines);
    play(s, (struct act[]){ASK('5', "vision", "4g.40gb"), {0}}); /* over its quota until 's' goes */
    s->w.fail = fail_create;
    confirm(s, 's');
    assert_int_equal(lease(s, 's')->tenant->compute_slots, 0);
    assert_non_null(strstr(explain(s, '5'), "compute slots"));
    s->w.fail = NULL;
    give_back(s, 'B');
    wait_seconds(s, 10);
    assert_int_equal(state_of(s, 's'), POOL_LEASE_ACTIVE);
    assert_int_equal(state_of(s, '5'), POOL_LEASE_QUEUED);
    done(s);
}

static int fail_media(struct world *w, const struct pool_job *job)
{
    const struct mig_geometry *g = &w->gpu[job->gpu].geometry;
    int p = mig_profile_by_id(g, job->profile_id);

    return job->kind == POOL_JOB_CREATE && strstr(g->profiles[p].name, "+me") ? -EBUSY : 0;
}

/* Two have stopped, and the first of them has no place any more: it is the head then.  The other
 * goes before all those behind it, whatever is made much of. */
static void who_has_stopped_goes_first_whatever_counts(void **state)
{
    static const char *const models[] = {"A30", "H100-SXM5-80GB"};
    static const struct act acts[] = {
        ASK('s', "vision", "1g.6gb+me", .is_movable = true), ASK('1', "nlp", "1g.6gb"),
        ASK('f', "speech", "1g.6gb"), BACK('1'),
        ASK('2', "nlp", "3g.40gb"), ASK('o', "audio", "1g.10gb+me", .is_movable = true), BACK('2'),
        ASK('B', "nlp", "2g.12gb"), ASK('C', "nlp", "4g.40gb"), {0}};
    struct pool_settings settings = moves_up_to(1);
    (void)state;
    settings.plan.objective = PLAN_PRIORITY;
    struct scene *s = scene_on(settings, models, 2, acts);
    assert_true(lease(s, 's')->move.is_stop && lease(s, 'o')->move.is_stop);
    s->w.fail = fail_media;
    confirm(s, 's');
    set_health(s, 0, POOL_HEALTH_LOST);
    confirm(s, 'o');
    assert_int_equal(state_of(s, 'C'), POOL_LEASE_ACTIVE);
    play(s, (struct act[]){ASK('3', "nlp", "3g.40gb", .priority = 3), {0}});
    assert_int_equal(state_of(s, '3'), POOL_LEASE_QUEUED);
    s->w.fail = NULL;
    wait_seconds(s, 5);
    assert_int_equal(state_of(s, 's'), POOL_LEASE_QUEUED);
    assert_int_equal(state_of(s, 'o'), POOL_LEASE_ACTIVE);
    assert_int_equal(state_of(s, '3'), POOL_LEASE_QUEUED);
    done(s);
}

/* --- bounds ----------------------------------------------------------------------------------- */

/* A process on the old slice is not waited for without end: the request looks elsewhere then, and
 * who has two slices pays for two. */
static void who_does_not_leave_holds_nobody_up(void **state)
{
    struct scene *s = scene_of_two();
    const struct pool_tenant *vision = lease(s, 's')->tenant;
    (void)state;
    instance_of(s, lease(s, 's')->part[0].slice)->process_count = 1;
    confirm(s, 's');
    wait_seconds(s, 50);
    assert_non_null(lease(s, 'B')->shift);
    assert_int_equal(vision->compute_slots, 1);
    wait_seconds(s, 15);
    assert_null(lease(s, 'B')->shift);
    assert_int_equal(vision->compute_slots, 2);
    assert_int_equal(phase_of(s, 's'), POOL_MOVE_LEAVING); /* law 1 */
    restart(s);
    vision = lease(s, 's')->tenant;
    assert_int_equal(vision->compute_slots, 2);
    instance_of(s, lease(s, 's')->move.slice)->process_count = 0;
    wait_ms(s, 2000);
    assert_int_equal(vision->compute_slots, 1);
    assert_int_equal(state_of(s, 'B'), POOL_LEASE_ACTIVE);
    done(s);
}

static int fail_scan_of_0(struct world *w, const struct pool_job *job)
{
    (void)w;
    return job->kind == POOL_JOB_SCAN && job->gpu == 0 ? -EIO : 0;
}

static int fail_scan_of_1(struct world *w, const struct pool_job *job)
{
    (void)w;
    return job->kind == POOL_JOB_SCAN && job->gpu == 1 ? -EIO : 0;
}

/* After a restart one of the two GPUs cannot be read, for ever. */
static void a_gpu_that_cannot_be_read_is_not_waited_for(void **state)
{
    int (*const fails[])(struct world *, const struct pool_job *) = {fail_scan_of_0,
                                                                     fail_scan_of_1};
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        struct pool_settings settings = moves_up_to(1);
        settings.move_answer_ms = 3600000;
        struct scene *s = scene_with(settings, 2, two_gpus);
        ask(s, 'B', "nlp", "7g.80gb");
        s->w.fail = fails[i];
        restart(s);
        assert_non_null(lease(s, 'B')->shift);
        wait_seconds(s, 55);
        assert_non_null(lease(s, 'B')->shift);
        wait_seconds(s, 20);
        assert_null(lease(s, 'B')->shift);
        assert_int_equal(seen(s, POOL_HIST_LEASE_MOVE_CANCELLED), 1);
        done(s);
    }
}

/* A window is not kept for who may not have it. */
static void nothing_is_kept_for_a_request_over_its_quota(void **state)
{
    static const struct pool_limits limits = {.max_queued = 10, .max_compute = 7};
    struct scene *s = scene(1, 2, two_gpus);
    struct pool_request want = {.profile = "7g.80gb", .count = 1};
    struct pool_event e = {.kind = POOL_EV_REQUEST, .request = &want,
                           .actor = {.tenant = "nlp", .role = POOL_ROLE_TENANT, .limits = &limits}};
    (void)state;
    assert_int_equal(mig_want_parse("7g.80gb", &want.want, NULL), 0);
    e.reply_to = ++s->w.next_cookie;
    world_step(&s->w, &e);
    s->id['B'] = s->w.reply.lease;
    world_settle(&s->w);
    assert_non_null(lease(s, 'B')->shift);
    want.profile = "1g.10gb";
    assert_int_equal(mig_want_parse("1g.10gb", &want.want, NULL), 0);
    e.reply_to = ++s->w.next_cookie;
    world_step(&s->w, &e);
    s->id['5'] = s->w.reply.lease;
    world_settle(&s->w);
    assert_int_equal(state_of(s, '5'), POOL_LEASE_ACTIVE);
    wait_ms(s, 6000);
    assert_null(lease(s, 'B')->shift);
    assert_int_equal(phase_of(s, 's'), POOL_MOVE_NONE);
    assert_non_null(strstr(explain(s, 'B'), "compute"));
    ask(s, '6', "late", "4g.40gb");
    assert_int_equal(state_of(s, '6'), POOL_LEASE_ACTIVE);
    done(s);
}

/* All seven slots of one GPU are had by 1g, and then: movable ones at 0 and 2, others at 4 and 6,
 * an idle one with the media engines at 5, nothing at 1 and 3. */
static struct scene *scene_of_seven(void)
{
    struct scene *s = scene(1, 1, (const struct act[]){{0}});
    unsigned slots[7]; /* in the order in which they are given */

    for (unsigned i = 0; i < 7; i++) {
        ask(s, (char)('0' + i), "probe", "1g.10gb");
        slots[i] = lease(s, (char)('0' + i))->part[0].slice->start;
    }
    done(s);
    s = scene(1, 1, (const struct act[]){{0}});
    for (unsigned i = 0; i < 7; i++) {
        char who = (char)('0' + slots[i]);
        bool is_movable = slots[i] == 0 || slots[i] == 2;
        play(s, (struct act[]){ASK(who, "audio", "1g.10gb", .is_movable = is_movable), {0}});
        assert_int_equal(lease(s, who)->part[0].slice->start, slots[i]);
    }
    give_back(s, '5');
    ask(s, '5', "vision", "1g.10gb+me");
    give_back(s, '5');
    destroy_by_hand(s, lease(s, '1')->part[0].slice);
    destroy_by_hand(s, lease(s, '3')->part[0].slice);
    return s;
}

/* In one pass: the first has a place, for which the idle one has to go because of its engines; for
 * the second somebody is to move to where that one stands; and for the third the first gives his
 * place back for a moment. */
static void what_has_to_go_for_a_move_goes(void **state)
{
    struct scene *s = scene_of_seven();
    (void)state;
    set_health(s, 0, POOL_HEALTH_UNRESPONSIVE);
    play(s, (struct act[]){ASK('a', "nlp", "1g.10gb+me", .priority = 3),
                           ASK('b', "nlp", "2g.20gb", .priority = 2),
                           ASK('c', "nlp", "7g.80gb", .priority = 1), {0}});
    assert_int_equal(state_of(s, 'a'), POOL_LEASE_QUEUED);
    set_health(s, 0, POOL_HEALTH_OK);
    world_settle(&s->w);
    assert_int_equal(state_of(s, 'a'), POOL_LEASE_ACTIVE);
    assert_non_null(lease(s, 'b')->shift);
    char mover = phase_of(s, '0') != POOL_MOVE_NONE ? '0' : '2';
    assert_int_equal(phase_of(s, mover), POOL_MOVE_ASKED);
    assert_int_equal(lease(s, mover)->move.slice->start, 5);
    confirm(s, mover);
    assert_int_equal(state_of(s, 'b'), POOL_LEASE_ACTIVE);
    done(s);
}

/* Who was looked at before the room was given up is looked at again in the same step. */
static void what_is_given_up_is_offered_at_once(void **state)
{
    static const char *const models[] = {"H100-SXM5-80GB", "H100-SXM5-80GB", "A30"};
    static const struct pool_limits limits = {.max_queued = 10, .max_compute = 7};
    struct pool_settings settings = moves_up_to(1);
    struct pool_request want = {.profile = "7g.80gb", .count = 1};
    struct pool_event e = {.kind = POOL_EV_REQUEST, .request = &want, .reply_to = 1,
                           .actor = {.tenant = "nlp", .role = POOL_ROLE_TENANT, .limits = &limits}};
    (void)state;
    settings.plan.objective = PLAN_PRIORITY;
    settings.age_step_ms = 60000;
    settings.move_answer_ms = 3600000;
    struct scene *s = scene_on(settings, models, 3, two_gpus);
    ask(s, 'h', "head", "4g.24gb"); /* all others are behind it, and it will not fit */
    destroy_by_hand(s, lease(s, 'h')->part[0].slice);
    struct world_gpu *a30 = &s->w.gpu[2];
    a30->gi[a30->gi_count++] = (struct mig_instance){.profile_id = a30->geometry.profiles[0].id,
                                                     .size = a30->geometry.profiles[0].size};
    world_step(&s->w, &(struct pool_event){.kind = POOL_EV_SCAN, .gpu = 2});
    world_settle(&s->w);
    ask(s, 'h', "head", "4g.24gb");
    assert_int_equal(state_of(s, 'h'), POOL_LEASE_QUEUED);
    assert_int_equal(mig_want_parse("7g.80gb", &want.want, NULL), 0);
    world_step(&s->w, &e);
    s->id['B'] = s->w.reply.lease;
    world_settle(&s->w);
    assert_non_null(lease(s, 'B')->shift);
    wait_ms(s, 180000);
    play(s, (struct act[]){ASK('4', "late", "4g.40gb", .priority = 2), {0}});
    assert_int_equal(state_of(s, '4'), POOL_LEASE_QUEUED);
    world_ask(&s->w, "nlp", "1g.10gb", (struct pool_request){0}); /* the 7g is over its quota now */
    assert_null(lease(s, 'B')->shift);
    assert_int_equal(state_of(s, '4'), POOL_LEASE_CUTTING); /* and nothing has happened but that */
    done(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(several_are_asked_at_once),
        cmocka_unit_test(one_refusal_calls_the_others_off),
        cmocka_unit_test(what_is_taken_by_another_is_called_off_at_once),
        cmocka_unit_test(what_has_moved_stays_when_another_refuses),
        cmocka_unit_test(a_gang_asks_as_many_as_it_needs),
        cmocka_unit_test(a_gang_asks_nobody_when_it_would_not_be_enough),
        cmocka_unit_test(a_gang_is_called_off_as_a_whole),
        cmocka_unit_test(a_gang_keeps_the_free_windows),
        cmocka_unit_test(a_plan_of_a_gang_names_all_places),
        cmocka_unit_test(some_gangs_ask_nobody),
        cmocka_unit_test(a_gang_goes_on_after_a_restart),
        cmocka_unit_test(parts_move_one_after_the_other),
        cmocka_unit_test(who_has_several_is_not_asked_to_stop),
        cmocka_unit_test(who_cannot_be_in_two_places_is_asked_to_stop),
        cmocka_unit_test(who_does_not_stop_keeps_what_it_has),
        cmocka_unit_test(who_has_stopped_comes_back_when_the_request_ends),
        cmocka_unit_test(who_has_stopped_is_first_in_the_queue),
        cmocka_unit_test(a_stop_that_cannot_be_seen_is_called_off),
        cmocka_unit_test(who_has_stopped_keeps_its_quota),
        cmocka_unit_test(who_has_stopped_goes_first_whatever_counts),
        cmocka_unit_test(who_does_not_leave_holds_nobody_up),
        cmocka_unit_test(a_gpu_that_cannot_be_read_is_not_waited_for),
        cmocka_unit_test(nothing_is_kept_for_a_request_over_its_quota),
        cmocka_unit_test(what_has_to_go_for_a_move_goes),
        cmocka_unit_test(what_is_given_up_is_offered_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
