/* Crashes at every point of a re-cut: two idle slices go, one comes, it is used and given back, and
 * goes.  A point lies before and after each commit, and before and after each effect on the
 * hardware.  Whatever the point, what is in use stays as it is, nothing is left that nobody owns,
 * and the request is served in the end, or has ended as it was told.  The same for a move: the
 * lease has one slice at any time, and the new one only if its holder said so. */
#include "../pool_world.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define RECORDS_MAX 64

struct stored {
    enum pool_record_kind kind;
    uint64_t id;
    char *body;
};

struct run {
    struct world w;
    struct stored db[RECORDS_MAX];
    unsigned db_count;
    unsigned point, crash_at;
    bool has_crashed;
    uint64_t used, asked, next; /* leases */
    bool was_told, was_released; /* what the asker has heard */
    bool has_released;           /* the asker has given it back, and perhaps not heard */
    char used_uuid[MIG_UUID_SIZE];
    const struct move_case *moving;
};

/* A lease in the left half of the GPU that moves, or stops (one with media engines has to break
 * before it makes), for somebody. */
struct move_case {
    const char *moved, *asked;
    /* That are asked for; several: the right half has room for the moved one only. */
    unsigned count;
};

static bool crashes(struct run *r)
{
    r->has_crashed = r->has_crashed || r->point++ == r->crash_at;
    return r->has_crashed;
}

static void store(struct run *r, const struct pool_record *rec)
{
    unsigned i = 0;

    while (i < r->db_count && !(r->db[i].kind == rec->kind && r->db[i].id == rec->id)) {
        i++;
    }
    if (!rec->body) {
        if (i < r->db_count) {
            free(r->db[i].body);
            r->db[i] = r->db[--r->db_count];
        }
        return;
    }
    assert_true(i < RECORDS_MAX);
    if (i == r->db_count) {
        r->db[r->db_count++] = (struct stored){rec->kind, rec->id, NULL};
    }
    free(r->db[i].body);
    r->db[i].body = rec->body;
}

/* What a step has changed is committed as one, then its actions are taken. */
static void commit(struct run *r)
{
    struct pool_record rec[RECORDS_MAX];
    unsigned count = 0;

    while (pool_next_dirty(r->w.pool, &rec[count])) {
        assert_true(++count < RECORDS_MAX);
    }
    if (crashes(r)) {
        for (unsigned i = 0; i < count; i++) {
            free(rec[i].body);
        }
        r->w.actions.count = 0;
        return;
    }
    for (unsigned i = 0; i < count; i++) {
        store(r, &rec[i]);
    }
    if (crashes(r)) {
        r->w.actions.count = 0;
        return;
    }
    world_take_actions(&r->w);
}

static void step(struct run *r, struct pool_event *e)
{
    if (!r->has_crashed) {
        e->now_ms = r->w.now_ms;
        r->w.reply = (struct pool_action){0};
        pool_step(r->w.pool, e, &r->w.actions);
        commit(r);
    }
}

static struct mig_instance *must_find(struct world_gpu *g, unsigned start)
{
    for (unsigned i = 0; i < g->gi_count; i++) {
        if (g->gi[i].start == start) {
            return &g->gi[i];
        }
    }
    fail_msg("nothing stands at slot %u", start);
    return &g->gi[0];
}

static void carry_out(struct world *w, struct world_gpu *g, struct pool_job_result *res,
                      struct mig_scan *scan)
{
    const struct pool_job *job = &res->job;

    if (job->kind == POOL_JOB_CREATE) {
        res->code = world_create(w, g, job, res);
        assert_int_equal(res->code, 0);
        snprintf(res->instance.ci[0].mig_uuid, MIG_UUID_SIZE, "MIG-made-%u", g->made);
        must_find(g, job->start)->ci[0] = res->instance.ci[0];
    } else if (job->kind == POOL_JOB_DESTROY) {
        res->code = world_destroy(w, g, job);
    } else if (job->kind == POOL_JOB_CHECK) {
        res->code = world_check(g, job, res);
    } else {
        assert_int_equal(job->kind, POOL_JOB_SCAN);
        world_scan(g, scan);
        res->scan = scan;
    }
}

static void work(struct run *r)
{
    struct world_gpu *g = &r->w.gpu[0];

    while (g->job_count && !r->has_crashed) {
        struct pool_job_result res = {.job = g->job[0], .driver_us = 1000};
        struct mig_scan scan;
        memmove(&g->job[0], &g->job[1], --g->job_count * sizeof(g->job[0]));
        if (crashes(r)) {
            return;
        }
        carry_out(&r->w, g, &res, &scan);
        if (!crashes(r)) {
            step(r, &(struct pool_event){.kind = POOL_EV_RESULT, .result = &res});
        }
    }
}

static uint64_t ask_several(struct run *r, const char *tenant, const char *profile, unsigned count)
{
    struct pool_request q = {.profile = profile, .count = count};
    struct pool_event e = {.kind = POOL_EV_REQUEST, .request = &q, .reply_to = 1,
                           .actor = {.tenant = tenant, .role = POOL_ROLE_TENANT}};

    assert_int_equal(mig_want_parse(profile, &q.want, NULL), 0);
    step(r, &e);
    return r->w.reply.answer == POOL_OK ? r->w.reply.lease : 0;
}

static uint64_t ask(struct run *r, const char *tenant, const char *profile)
{
    return ask_several(r, tenant, profile, 1);
}

static void release(struct run *r, const char *tenant, uint64_t lease)
{
    step(r, &(struct pool_event){.kind = POOL_EV_RELEASE, .lease = lease, .reply_to = 1,
                                 .actor = {.tenant = tenant, .role = POOL_ROLE_TENANT}});
}

/* The 4g in use at 0, three 1g idle behind it. */
static void prepare(struct run *r)
{
    struct pool_settings settings;
    uint64_t one[3];

    pool_settings_default(&settings);
    r->w.now_ms = 1000000;
    r->crash_at = UINT32_MAX;
    world_add_gpu(&r->w, "H100-SXM5-80GB", true);
    world_boot(&r->w, &settings);
    pool_start(r->w.pool, r->w.now_ms, &r->w.actions);
    commit(r);
    work(r);
    r->used = ask(r, "vision", "4g.40gb");
    for (int i = 0; i < 3; i++) {
        one[i] = ask(r, "speech", "1g.10gb");
    }
    work(r);
    for (int i = 0; i < 3; i++) {
        release(r, "speech", one[i]);
    }
    work(r);
    must_find(&r->w.gpu[0], 0)->process_count = 1;
    text_copy(r->used_uuid, sizeof(r->used_uuid), must_find(&r->w.gpu[0], 0)->ci[0].mig_uuid);
    assert_int_equal(r->w.gpu[0].gi_count, 4);
    r->point = 0;
}

static void play(struct run *r)
{
    r->asked = ask(r, "nlp", "2g.20gb");
    r->was_told = r->asked != 0 && !r->has_crashed;
    work(r);
    if (r->has_crashed) {
        return;
    }
    assert_int_equal(world_state(&r->w, r->asked), POOL_LEASE_ACTIVE);
    r->has_released = true;
    release(r, "nlp", r->asked);
    r->was_released = !r->has_crashed;
    work(r);
    r->next = ask(r, "audio", "2g.20gb"); /* another tenant: it goes, and comes anew */
    work(r);
}

static void recover(struct run *r, unsigned crash_at)
{
    static const enum pool_record_kind order[] = {POOL_RECORD_META, POOL_RECORD_SLICE,
                                                  POOL_RECORD_LEASE, POOL_RECORD_OPERATION};
    struct pool_settings settings = *pool_settings(r->w.pool);

    pool_free(r->w.pool);
    world_boot(&r->w, &settings);
    r->has_crashed = false;
    r->point = 0;
    r->crash_at = crash_at;
    for (unsigned k = 0; k < 4; k++) {
        for (unsigned i = 0; i < r->db_count; i++) {
            if (r->db[i].kind == order[k]) {
                assert_int_equal(pool_load_record(r->w.pool, r->db[i].kind, r->db[i].id,
                                                  r->db[i].body, NULL), 0);
            }
        }
    }
    pool_start(r->w.pool, r->w.now_ms, &r->w.actions);
    commit(r);
    work(r);
}

static void check_recovered(struct run *r)
{
    const struct pool_gpu *gpu = pool_gpu(r->w.pool, 0);
    const struct mig_instance *in_use = must_find(&r->w.gpu[0], 0);
    const struct pool_lease *used = pool_find_lease(r->w.pool, r->used);
    const struct pool_lease *asked = r->asked ? pool_find_lease(r->w.pool, r->asked) : NULL;

    assert_int_equal(used->state, POOL_LEASE_ACTIVE);
    assert_string_equal(used->part[0].slice->ci[0].mig_uuid, r->used_uuid);
    assert_string_equal(in_use->ci[0].mig_uuid, r->used_uuid);
    assert_int_equal(gpu->slice_count, r->w.gpu[0].gi_count);
    for (unsigned i = 0; i < gpu->slice_count; i++) {
        const struct pool_slice *s = gpu->slices[i];
        assert_true(s->state == POOL_SLICE_IDLE || s->state == POOL_SLICE_LEASED);
        assert_string_equal(s->ci[0].mig_uuid, must_find(&r->w.gpu[0], s->start)->ci[0].mig_uuid);
    }
    assert_int_equal(r->w.history[POOL_HIST_SLICE_FOREIGN], 0);
    assert_true(asked || !r->was_told);
    if (asked) {
        bool is_released = asked->state == POOL_LEASE_RELEASED;
        assert_true(is_released || asked->state == POOL_LEASE_ACTIVE);
        assert_true(is_released || !r->was_released);
        assert_true(!is_released || r->has_released);
    }
    for (const struct pool_lease *l = pool_next_lease(r->w.pool, NULL); l;
         l = pool_next_lease(r->w.pool, l)) {
        assert_true(l->state == POOL_LEASE_ACTIVE || l->state == POOL_LEASE_RELEASED);
    }
}

static void done(struct run *r)
{
    for (unsigned i = 0; i < r->db_count; i++) {
        free(r->db[i].body);
    }
    world_done(&r->w);
    free(r);
}

static void a_crash_at_any_point_of_a_recut_is_mended(void **state)
{
    unsigned points = 1;
    (void)state;

    for (unsigned at = 0; at < points; at++) {
        struct run *r = xcalloc(1, sizeof(*r));
        prepare(r);
        r->crash_at = at;
        play(r);
        points = r->has_crashed ? at + 2 : at;
        recover(r, UINT32_MAX);
        check_recovered(r);
        done(r);
    }
    assert_true(points >= 30);
}

/* The same, and the recovery from it crashes, too, at each of its points. */
static void a_crash_while_recovering_is_mended(void **state)
{
    unsigned points = 1;
    (void)state;

    for (unsigned at = 0; at < points; at++) {
        bool has_crashed_again = true;
        for (unsigned again = 0; has_crashed_again; again++) {
            struct run *r = xcalloc(1, sizeof(*r));
            prepare(r);
            r->crash_at = at;
            play(r);
            points = r->has_crashed ? at + 2 : at;
            recover(r, again);
            has_crashed_again = r->has_crashed;
            recover(r, UINT32_MAX);
            check_recovered(r);
            done(r);
        }
    }
}

/* --- a move: two crashes, or one crash and a crash of the recovery, at every pair of points --- */

static uint64_t movable(struct run *r)
{
    struct pool_request q = {.profile = r->moving->moved, .count = 1, .is_movable = true};
    struct pool_event e = {.kind = POOL_EV_REQUEST, .request = &q, .reply_to = 1,
                           .actor = {.tenant = "vision", .role = POOL_ROLE_TENANT}};

    assert_int_equal(mig_want_parse(q.profile, &q.want, NULL), 0);
    step(r, &e);
    return r->w.reply.lease;
}

/* A movable 1g in the way in the left half, the right half free, or all but one slot of it. */
static void prepare_move(struct run *r)
{
    struct pool_settings settings;

    pool_settings_default(&settings);
    r->w.now_ms = 1000000;
    r->crash_at = UINT32_MAX;
    world_add_gpu(&r->w, "H100-SXM5-80GB", true);
    world_boot(&r->w, &settings);
    pool_start(r->w.pool, r->w.now_ms, &r->w.actions);
    commit(r);
    work(r);
    uint64_t left = r->moving->count > 1 ? ask(r, "speech", "4g.40gb") : 0;
    if (left) {
        ask(r, "audio", "2g.20gb"); /* stays */
    }
    uint64_t right = ask(r, "speech", left ? "1g.10gb" : "3g.40gb");
    work(r);
    if (left) {
        release(r, "speech", left);
        work(r);
    }
    r->used = movable(r);
    work(r);
    release(r, "speech", right);
    work(r);
    const struct pool_slice *s = pool_find_lease(r->w.pool, r->used)->part[0].slice;
    assert_true(s->start < 4);
    text_copy(r->used_uuid, sizeof(r->used_uuid), s->ci[0].mig_uuid);
    r->point = 0;
}

static void confirm(struct run *r)
{
    step(r, &(struct pool_event){.kind = POOL_EV_MOVE, .lease = r->used, .is_confirmed = true,
                                 .reply_to = 1,
                                 .actor = {.tenant = "vision", .role = POOL_ROLE_TENANT}});
}

static void play_move(struct run *r)
{
    r->asked = ask_several(r, "nlp", r->moving->asked, r->moving->count);
    work(r);
    if (!r->has_crashed) {
        assert_int_equal(pool_find_lease(r->w.pool, r->used)->move.phase, POOL_MOVE_ASKED);
        r->has_released = true; /* the confirmation was sent */
        confirm(r);
        r->was_released = !r->has_crashed; /* and heard */
        work(r);
    }
}

/* The lease has one slice, which is on the GPU, and is the new one only if its holder said so. */
static void check_moving(struct run *r)
{
    const struct pool_lease *used = pool_find_lease(r->w.pool, r->used);

    if (used->state == POOL_LEASE_QUEUED || used->state == POOL_LEASE_CUTTING) {
        assert_true(r->has_released && strstr(r->moving->moved, "+me"));
        return; /* it has stopped */
    }
    const struct pool_slice *s = used->part[0].slice;
    bool is_old = !strcmp(s->ci[0].mig_uuid, r->used_uuid);
    assert_int_equal(used->state, POOL_LEASE_ACTIVE);
    assert_string_equal(must_find(&r->w.gpu[0], s->start)->ci[0].mig_uuid, s->ci[0].mig_uuid);
    assert_true(is_old || r->has_released);
    assert_true(!is_old || !r->was_released || strstr(r->moving->moved, "+me"));
    assert_int_equal(r->w.history[POOL_HIST_SLICE_FOREIGN], 0);
}

/* However far it had come: it goes on, or is begun again. */
static void finish_move(struct run *r)
{
    for (int i = 0; i < 4; i++) {
        r->w.now_ms += 5000;
        step(r, &(struct pool_event){.kind = POOL_EV_TICK});
        work(r);
        if (pool_find_lease(r->w.pool, r->used)->move.phase == POOL_MOVE_ASKED) {
            r->has_released = true;
            confirm(r);
            work(r);
        }
        check_moving(r);
    }
    const struct pool_lease *asked = r->asked ? pool_find_lease(r->w.pool, r->asked) : NULL;
    const struct pool_lease *used = pool_find_lease(r->w.pool, r->used);
    assert_int_equal(used->move.phase, POOL_MOVE_NONE);
    assert_int_equal(used->state, POOL_LEASE_ACTIVE);
    if (asked) {
        assert_int_equal(asked->state, POOL_LEASE_ACTIVE);
        assert_int_equal(asked->part_count, r->moving->count);
        for (unsigned i = 0; i < asked->part_count; i++) {
            assert_true(asked->part[i].slice->start < 4);
        }
    }
}

static void crash_moves(const struct move_case *moving)
{
    unsigned points = 1, runs = 0;

    for (unsigned at = 0; at < points; at++) {
        bool has_crashed_again = true;
        for (unsigned again = 0; has_crashed_again; again++, runs++) {
            struct run *r = xcalloc(1, sizeof(*r));
            r->moving = moving;
            prepare_move(r);
            r->crash_at = at;
            play_move(r);
            points = r->has_crashed ? at + 2 : at;
            recover(r, again);
            has_crashed_again = r->has_crashed;
            recover(r, UINT32_MAX);
            check_moving(r);
            finish_move(r);
            done(r);
        }
    }
    assert_true(points >= 20 && runs >= 100);
}

static void a_crash_at_any_point_of_a_move_is_mended(void **state)
{
    (void)state;
    crash_moves(&(struct move_case){"1g.10gb", "4g.40gb", 1});
}

static void a_crash_at_any_point_of_a_stop_is_mended(void **state)
{
    (void)state;
    crash_moves(&(struct move_case){"1g.10gb+me", "4g.40gb", 1});
}

static void a_crash_at_any_point_of_a_move_for_a_gang_is_mended(void **state)
{
    (void)state;
    crash_moves(&(struct move_case){"1g.10gb", "2g.20gb", 2});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_crash_at_any_point_of_a_recut_is_mended),
        cmocka_unit_test(a_crash_while_recovering_is_mended),
        cmocka_unit_test(a_crash_at_any_point_of_a_move_is_mended),
        cmocka_unit_test(a_crash_at_any_point_of_a_stop_is_mended),
        cmocka_unit_test(a_crash_at_any_point_of_a_move_for_a_gang_is_mended),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
