/* Bugs that the pool once had, each as the smallest story that showed it. */
#include "../pool_world.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void setup(struct world *w, unsigned gpus)
{
    world_make(w, NULL, "H100-SXM5-80GB", gpus);
}

static uint64_t ask(struct world *w, const char *tenant, const char *profile)
{
    return world_ask_settled(w, tenant, profile, (struct pool_request){0});
}

/* The GPU has one set of media engines: an idle slice elsewhere on it has to give them up. */
static void engines_of_idle_slices_are_freed(void **state)
{
    struct world w;
    (void)state;
    setup(&w, 1);
    world_give_back(&w, "a", ask(&w, "a", "1g.10gb+me"));
    uint64_t b = ask(&w, "b", "1g.10gb+me");
    assert_int_equal(world_state(&w, b), POOL_LEASE_ACTIVE);
    assert_int_equal(w.gpu[0].gi_count, 1);
    world_done(&w);
}

/* Two parts in one new slice, and no place for the third: taken back without a trace. */
static void compute_instances_are_taken_back_together(void **state)
{
    struct world w;
    (void)state;
    setup(&w, 1);
    ask(&w, "a", "4g.40gb");
    uint64_t b = world_ask(&w, "b", "2c.3g.40gb", (struct pool_request){.count = 2});
    assert_int_equal(world_state(&w, b), POOL_LEASE_QUEUED);
    uint64_t c = world_ask(&w, "b", "1c.3g.40gb", (struct pool_request){.count = 5});
    assert_int_equal(world_state(&w, c), POOL_LEASE_QUEUED);
    assert_int_equal(pool_gpu(w.pool, 0)->slice_count, 1);
    world_done(&w);
}

/* Both compute instances of a slice that the tenant has used before, and those of a fresh one. */
static void an_idle_slice_takes_all_its_compute_instances(void **state)
{
    struct world w;
    (void)state;
    setup(&w, 1);
    world_give_back(&w, "a", ask(&w, "a", "1c.2g.20gb"));
    uint64_t b = world_ask(&w, "a", "1c.2g.20gb", (struct pool_request){.count = 6});
    world_settle(&w);
    assert_int_equal(world_state(&w, b), POOL_LEASE_ACTIVE);
    assert_int_equal(w.gpu[0].gi_count, 3);
    world_done(&w);
}

/* The slice was destroyed by hand while it was leased: its tenant's next request must
 * not get it. */
static void what_a_check_does_not_find_is_not_granted(void **state)
{
    struct world w;
    (void)state;
    setup(&w, 1);
    uint64_t a = ask(&w, "a", "2g.20gb");
    w.gpu[0].gi_count = 0;
    world_give_back(&w, "a", a);
    uint64_t b = world_ask(&w, "a", "2g.20gb", (struct pool_request){0});
    assert_int_equal(world_state(&w, b), POOL_LEASE_CUTTING);
    world_settle(&w);
    assert_int_equal(world_state(&w, b), POOL_LEASE_ACTIVE);
    assert_int_equal(w.gpu[0].gi_count, 1);
    world_done(&w);
}

/* Who waits for a quota only is no reason to keep others waiting. */
static void a_quota_holds_up_nobody_else(void **state)
{
    struct world w;
    struct pool_limits limits = {.max_queued = 10, .max_compute = 2};
    struct pool_request r = {.profile = "2g.20gb", .count = 1};
    (void)state;
    setup(&w, 1);
    assert_int_equal(mig_want_parse(r.profile, &r.want, NULL), 0);
    for (int i = 0; i < 2; i++) {
        struct pool_event e = {.kind = POOL_EV_REQUEST, .request = &r, .reply_to = 7,
                               .actor = {.tenant = "a", .role = POOL_ROLE_TENANT,
                                         .limits = &limits}};
        world_step(&w, &e);
        world_settle(&w);
    }
    assert_int_equal(world_state(&w, w.reply.lease), POOL_LEASE_QUEUED);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(world_state(&w, ask(&w, "b", "1g.10gb")), POOL_LEASE_ACTIVE);
    }
    world_done(&w);
}

static int fail_creates(struct world *w, const struct pool_job *job)
{
    (void)w;
    return job->kind == POOL_JOB_CREATE ? -EIO : 0;
}

static void who_must_not_wait_is_refused_when_the_cut_fails(void **state)
{
    struct world w;
    (void)state;
    setup(&w, 1);
    w.fail = fail_creates;
    uint64_t a = world_ask(&w, "a", "2g.20gb", (struct pool_request){.must_not_wait = true});
    assert_int_equal(world_state(&w, a), POOL_LEASE_CUTTING);
    world_settle(&w);
    assert_int_equal(world_state(&w, a), POOL_LEASE_REJECTED);
    assert_true(pool_find_lease(w.pool, a)->reason[0]);
    world_done(&w);
}

/* The job that a GPU's worker has; the only one. */
static struct pool_job only_job(struct world *w, enum pool_job_kind kind)
{
    struct pool_job found = {0};
    unsigned count = 0;

    for (unsigned i = 0; i < w->gpu[0].job_count; i++) {
        if (w->gpu[0].job[i].kind == kind) {
            found = w->gpu[0].job[i];
            count++;
        }
    }
    assert_int_equal(count, 1);
    return found;
}

static void fail_with(struct world *w, const struct pool_job *job, const struct mig_instance *left)
{
    struct pool_job_result r = {.job = *job, .code = -EIO, .message = "no", .has_instance = true,
                                .instance = *left};
    struct pool_event e = {.kind = POOL_EV_RESULT, .result = &r};

    w->gpu[0].job_count = 0;
    world_step(w, &e);
}

/* What a failed attempt has left is known by its compute instance, or by having none: somebody may
 * make another one in its place before it is destroyed. */
static void a_remnant_is_told_from_another_slice(void **state)
{
    struct world w;
    (void)state;
    for (unsigned cis = 0; cis < 2; cis++) {
        setup(&w, 1);
        uint64_t id = world_ask(&w, "a", "2g.20gb", (struct pool_request){0});
        struct pool_job create = only_job(&w, POOL_JOB_CREATE);
        struct mig_instance left = {.gi_id = 7, .profile_id = create.profile_id,
                                    .start = create.start, .size = create.size, .ci_count = cis,
                                    .ci[0] = {.id = 0, .size = 2, .mig_uuid = "MIG-left"}};
        fail_with(&w, &create, &left);
        assert_int_equal(world_state(&w, id), POOL_LEASE_QUEUED);
        const struct pool_slice *s = pool_slice_at(pool_gpu(w.pool, 0), create.start);
        assert_int_equal(s->state, POOL_SLICE_QUARANTINED);
        assert_int_equal(s->ci_count, cis);
        w.gpu[0].job_count = 0;
        w.now_ms += 200; /* its first retry */
        world_step(&w, &(struct pool_event){.kind = POOL_EV_TICK});
        struct pool_job destroy = only_job(&w, POOL_JOB_DESTROY);
        assert_string_equal(destroy.mig_uuid, cis ? "MIG-left" : "");
        assert_int_equal(destroy.is_bare, !cis);
        world_done(&w);
    }
}

/* A job that never came to the driver says nothing about a GPU that does not answer. */
static void what_was_not_asked_is_no_answer(void **state)
{
    struct world w;
    (void)state;
    setup(&w, 1);
    world_step(&w, &(struct pool_event){.kind = POOL_EV_HEALTH, .text = "no answer",
                                        .health = POOL_HEALTH_UNRESPONSIVE});
    struct pool_job_result r = {.job = {.kind = POOL_JOB_SCAN}, .code = -ENOBUFS,
                                .is_unasked = true};
    struct pool_event e = {.kind = POOL_EV_RESULT, .result = &r};
    world_step(&w, &e);
    assert_int_equal(pool_gpu(w.pool, 0)->health, POOL_HEALTH_UNRESPONSIVE);
    r.is_unasked = false;
    world_step(&w, &e);
    assert_int_equal(pool_gpu(w.pool, 0)->health, POOL_HEALTH_OK);
    world_done(&w);
}

/* Ours is being destroyed, somebody destroys it first and cuts something else there. */
static void a_foreign_slice_over_one_that_goes_is_told_apart(void **state)
{
    struct world w;
    (void)state;
    setup(&w, 1);
    world_give_back(&w, "a", ask(&w, "a", "7g.80gb"));
    uint64_t b = world_ask(&w, "b", "3g.40gb", (struct pool_request){0}); /* dooms the 7g */
    world_step(&w, &(struct pool_event){.kind = POOL_EV_SCAN, .gpu = 0});
    struct pool_job destroy = w.gpu[0].job[0], cut = {.profile_id = 9, .start = 4, .size = 4};
    struct pool_job_result r = {0};
    assert_int_equal(destroy.kind, POOL_JOB_DESTROY);
    w.gpu[0].gi_count = 0;
    assert_int_equal(world_create(&w, &w.gpu[0], &cut, &r), 0);
    w.gpu[0].job[0] = w.gpu[0].job[1]; /* the scan is faster */
    w.gpu[0].job[1] = destroy;
    world_settle(&w);
    assert_int_equal(w.history[POOL_HIST_SLICE_FOREIGN], 1);
    assert_int_equal(world_state(&w, b), POOL_LEASE_ACTIVE);
    assert_int_equal(w.gpu[0].gi_count, 2);
    world_done(&w);
}

/* A reason that is cut off inside a character must not cost the record. */
static void a_cut_off_reason_does_not_spoil_the_record(void **state)
{
    struct world w;
    struct pool_record rec;
    char why[400];
    unsigned leases = 0;
    (void)state;
    setup(&w, 1);
    ask(&w, "a", "2g.20gb");
    for (unsigned i = 0; i + 2 < sizeof(why); i += 2) {
        memcpy(&why[i], "\xc3\xa9", 3);
    }
    why[0] = 'x';
    why[1] = 'y';
    why[2] = 'z';
    memmove(&why[3], &why[4], sizeof(why) - 4);
    text_copy(((struct pool_lease *)pool_next_lease(w.pool, NULL))->reason, 240, why);
    struct pool_event renew = {.kind = POOL_EV_RENEW, .lease = 1, .reply_to = 5, .ttl_ms = 60000,
                               .actor = {.tenant = "a", .role = POOL_ROLE_TENANT}};
    world_step(&w, &renew);
    while (pool_next_dirty(w.pool, &rec)) {
        if (rec.kind == POOL_RECORD_LEASE) {
            assert_non_null(strstr(rec.body, "\"tenant\":\"a\""));
            leases++;
        }
        free(rec.body);
    }
    assert_int_equal(leases, 1);
    world_done(&w);
}

/* Names are shortened in what is said to people, not broken. */
static void long_names_stay_readable(void **state)
{
    struct world w;
    struct pool_explanation *why = xcalloc(1, sizeof(*why));
    char name[POOL_TENANT_SIZE] = "x";
    (void)state;
    setup(&w, 1);
    for (unsigned i = 1; i + 2 < sizeof(name); i += 2) {
        memcpy(&name[i], "\xc3\xa9", 3);
    }
    ask(&w, name, "7g.80gb");
    uint64_t b = ask(&w, "b", "7g.80gb");
    pool_explain(w.pool, pool_find_lease(w.pool, b), w.now_ms, why);
    assert_non_null(strstr(why->reason, "l-1"));
    assert_true(text_is_utf8(why->reason, strlen(why->reason)));
    ask(&w, "c", "7g.80gb");
    world_ask(&w, "c", "7g.80gb", (struct pool_request){.must_not_wait = true});
    assert_int_equal(w.reply.answer, POOL_DOES_NOT_FIT);
    assert_true(text_is_utf8(w.reply.text, strlen(w.reply.text)));
    free(why);
    world_done(&w);
}

/* Renewing does not pile up timers, and the last word counts. */
static void a_lease_ends_when_it_was_last_told_to(void **state)
{
    struct world w;
    (void)state;
    setup(&w, 1);
    uint64_t a = world_ask(&w, "a", "2g.20gb", (struct pool_request){.ttl_ms = 10000});
    world_settle(&w);
    for (int i = 0; i < 100; i++) {
        world_wait(&w, 5000);
        struct pool_event renew = {.kind = POOL_EV_RENEW, .lease = a, .reply_to = 5,
                                   .ttl_ms = 10000,
                                   .actor = {.tenant = "a", .role = POOL_ROLE_TENANT}};
        world_step(&w, &renew);
    }
    world_wait(&w, 9999);
    world_settle(&w);
    assert_int_equal(world_state(&w, a), POOL_LEASE_ACTIVE);
    world_wait(&w, 2);
    world_settle(&w);
    assert_int_equal(world_state(&w, a), POOL_LEASE_EXPIRED);
    world_done(&w);
}

/* --- backfill --------------------------------------------------------------------------------- */

/* Leases with known ends, a large head, and small requests behind it; when does the head start? */
static int64_t start_of_head(unsigned depth, unsigned *ret_passed)
{
    struct world w = {.now_ms = 1000000};
    struct pool_settings settings;
    uint64_t small[12];

    pool_settings_default(&settings);
    settings.backfill_depth = depth;
    world_add_gpu(&w, "H100-SXM5-80GB", true);
    world_boot(&w, &settings);
    world_start(&w);
    world_settle(&w);
    world_ask(&w, "a", "3g.40gb", (struct pool_request){.ttl_ms = 60000});
    world_ask(&w, "a", "1g.10gb", (struct pool_request){.ttl_ms = 20000});
    world_settle(&w);
    uint64_t head = world_ask(&w, "b", "7g.80gb", (struct pool_request){0});
    for (unsigned i = 0; i < 12; i++) {
        small[i] = world_ask(&w, "c", "1g.10gb",
                             (struct pool_request){.ttl_ms = 5000 + 10000 * (int64_t)i});
    }
    *ret_passed = 0;
    while (world_state(&w, head) != POOL_LEASE_ACTIVE) {
        world_settle(&w);
        assert_true(w.now_ms < 2000000);
        world_wait(&w, 100);
    }
    for (unsigned i = 0; i < 12; i++) {
        *ret_passed += pool_find_lease(w.pool, small[i])->granted_ms != 0;
    }
    int64_t at = pool_find_lease(w.pool, head)->granted_ms;
    world_done(&w);
    return at;
}

static void backfill_does_not_delay_the_head(void **state)
{
    unsigned passed = 0, without = 0;
    int64_t plain = start_of_head(0, &without), filled = start_of_head(64, &passed);

    (void)state;
    assert_int_equal(plain, filled);
    assert_int_equal(without, 0);
    assert_true(passed >= 4);
}

/* Who was let in because it ends in time cannot have more time then, as long as the head waits. */
static void backfill_keeps_its_promise(void **state)
{
    struct world w;
    struct pool_event renew = {.kind = POOL_EV_RENEW, .reply_to = 9,
                               .actor = {.tenant = "c", .role = POOL_ROLE_TENANT}};
    (void)state;
    setup(&w, 1);
    uint64_t a = world_ask(&w, "a", "3g.40gb", (struct pool_request){.ttl_ms = 600000});
    world_settle(&w);
    uint64_t head = ask(&w, "b", "7g.80gb");
    renew.lease = world_ask(&w, "c", "4g.40gb", (struct pool_request){.ttl_ms = 60000});
    world_settle(&w);
    assert_int_equal(world_state(&w, renew.lease), POOL_LEASE_ACTIVE);
    renew.ttl_ms = 700000;
    world_step(&w, &renew);
    assert_int_equal(w.reply.answer, POOL_NOT_ALLOWED);
    assert_non_null(strstr(w.reply.text, "ahead of l-2"));
    world_restart(&w, 0);
    world_settle(&w);
    world_step(&w, &renew);
    assert_int_equal(w.reply.answer, POOL_NOT_ALLOWED);
    renew.ttl_ms = 0;
    world_step(&w, &renew);
    assert_int_equal(w.reply.answer, POOL_NOT_ALLOWED);
    renew.ttl_ms = 120000;
    world_step(&w, &renew);
    assert_int_equal(w.reply.answer, POOL_OK);
    assert_int_equal(world_release(&w, "b", head), POOL_OK); /* nobody waits any more */
    renew.ttl_ms = 700000;
    world_step(&w, &renew);
    assert_int_equal(w.reply.answer, POOL_OK);
    assert_int_equal(world_state(&w, a), POOL_LEASE_ACTIVE);
    world_done(&w);
}

/* A request of low priority that has waited long comes before a new one of high priority. */
static void waiting_outweighs_priority(void **state)
{
    struct world w;
    (void)state;
    setup(&w, 1);
    uint64_t a = ask(&w, "a", "7g.80gb");
    uint64_t low = world_ask(&w, "b", "7g.80gb", (struct pool_request){.priority = -1});
    world_wait(&w, 2 * 600000 + 1);
    uint64_t high = world_ask(&w, "c", "7g.80gb", (struct pool_request){.priority = 1});
    assert_int_equal(pool_queue_position(w.pool, pool_find_lease(w.pool, low)), 1);
    world_give_back(&w, "a", a);
    assert_int_equal(world_state(&w, low), POOL_LEASE_ACTIVE);
    assert_int_equal(world_state(&w, high), POOL_LEASE_QUEUED);
    world_done(&w);
}

/* The same key again gives the same lease, also when that has ended. */
static void a_key_is_good_for_one_lease(void **state)
{
    struct world w;
    struct pool_request r = {.idempotency_key = "k", .request_hash = 1};
    (void)state;
    setup(&w, 1);
    uint64_t a = world_ask(&w, "a", "1g.10gb", r);
    world_settle(&w);
    assert_int_equal(world_ask(&w, "a", "1g.10gb", r), a);
    world_give_back(&w, "a", a);
    assert_int_equal(world_ask(&w, "a", "1g.10gb", r), a);
    assert_int_not_equal(world_ask(&w, "b", "1g.10gb", r), a);
    r.request_hash = 2;
    assert_int_equal(world_ask(&w, "a", "1g.10gb", r), 0);
    assert_int_equal(w.reply.answer, POOL_KEY_CONFLICT);
    world_done(&w);
}

/* The driver makes a GPU instance, says that it has failed, and cannot be asked what is there. */
static int fail_the_first_untold(struct world *w, const struct pool_job *job)
{
    struct world_gpu *g = &w->gpu[job->gpu];
    bool *has_failed = w->arg;

    if (job->kind != POOL_JOB_CREATE || *has_failed) {
        return 0;
    }
    *has_failed = true;
    g->gi[g->gi_count++] = (struct mig_instance){.gi_id = 6, .profile_id = job->profile_id,
                                                 .start = job->start, .size = job->size,
                                                 .has_processes = true};
    return -EIO;
}

static void what_nobody_was_told_of_is_not_left_behind(void **state)
{
    struct world w;
    bool has_failed = false;
    (void)state;
    setup(&w, 1);
    w.fail = fail_the_first_untold;
    w.arg = &has_failed;
    uint64_t a = ask(&w, "a", "7g.80gb");
    world_wait(&w, 5000);
    world_settle(&w);
    assert_true(has_failed);
    assert_int_equal(w.history[POOL_HIST_SLICE_FOREIGN], 0);
    assert_int_equal(world_state(&w, a), POOL_LEASE_ACTIVE);
    assert_int_equal(w.gpu[0].gi_count, 1);
    world_done(&w);
}

/* Asked for before the GPU fell off the bus, told after it came back: it shows what
 * was there then. */
static void a_scan_of_before_a_loss_says_nothing(void **state)
{
    struct world w;
    struct mig_scan old;
    (void)state;
    setup(&w, 1);
    uint64_t a = ask(&w, "a", "3g.40gb");
    world_scan(&w.gpu[0], &old);
    world_step(&w, &(struct pool_event){.kind = POOL_EV_SCAN, .gpu = 0});
    assert_int_equal(w.gpu[0].job_count, 1);
    struct pool_job_result r = {.job = w.gpu[0].job[0], .scan = &old};
    w.gpu[0].job_count = w.gpu[0].gi_count = 0;
    world_step(&w, &(struct pool_event){.kind = POOL_EV_HEALTH, .gpu = 0, .text = "off the bus",
                                        .health = POOL_HEALTH_LOST});
    world_step(&w, &(struct pool_event){.kind = POOL_EV_HEALTH, .gpu = 0, .text = "",
                                        .health = POOL_HEALTH_OK});
    world_step(&w, &(struct pool_event){.kind = POOL_EV_RESULT, .result = &r});
    assert_true(pool_gpu(w.pool, 0)->wants_scan);
    world_settle(&w);
    assert_false(pool_gpu(w.pool, 0)->wants_scan);
    assert_int_equal(world_state(&w, a), POOL_LEASE_LOST);
    world_done(&w);
}

static int fail_checks(struct world *w, const struct pool_job *job)
{
    (void)w;
    return job->kind == POOL_JOB_CHECK ? -EIO : 0;
}

/* Room is made by a move, and the driver does not say whether the old slice was left: no request
 * waits for that without end, and no window is kept for it. */
static void a_slice_that_cannot_be_looked_at_holds_nobody_up(void **state)
{
    struct world w;
    (void)state;
    setup(&w, 2);
    uint64_t a = world_ask(&w, "a", "1g.10gb", (struct pool_request){.is_movable = true});
    uint64_t four = ask(&w, "b", "4g.40gb"), two = ask(&w, "b", "2g.20gb");
    ask(&w, "c", "4g.40gb");
    world_give_back(&w, "b", four);
    world_give_back(&w, "b", two);
    uint64_t big = ask(&w, "d", "7g.80gb");
    assert_int_equal(pool_find_lease(w.pool, a)->move.phase, POOL_MOVE_ASKED);
    w.fail = fail_checks;
    world_step(&w, &(struct pool_event){.kind = POOL_EV_MOVE, .lease = a, .is_confirmed = true,
                                        .actor = {.tenant = "a", .role = POOL_ROLE_TENANT}});
    for (unsigned i = 0; i < 65; i++) {
        assert_true(i > 55 || pool_find_lease(w.pool, big)->shift);
        world_settle(&w);
        world_wait(&w, 1000);
    }
    assert_null(pool_find_lease(w.pool, big)->shift);
    assert_int_equal(pool_find_lease(w.pool, a)->tenant->compute_slots, 1);
    w.fail = NULL;
    world_wait(&w, 70000); /* it is looked at less often the longer that goes on */
    world_settle(&w);
    assert_int_equal(world_state(&w, big), POOL_LEASE_ACTIVE);
    world_done(&w);
}

static int fail_scans(struct world *w, const struct pool_job *job)
{
    (void)w;
    return job->kind == POOL_JOB_SCAN ? -EIO : 0;
}

/* A slice was being made when the daemon was killed, and now its GPU cannot be read. */
static void who_waits_for_a_gpu_that_cannot_be_read_looks_elsewhere(void **state)
{
    struct world w;
    (void)state;
    setup(&w, 1);
    uint64_t a = world_ask(&w, "a", "7g.80gb", (struct pool_request){0});
    assert_int_equal(world_state(&w, a), POOL_LEASE_CUTTING);
    w.fail = fail_scans;
    world_restart(&w, 0);
    world_settle(&w);
    assert_int_equal(world_state(&w, a), POOL_LEASE_CUTTING);
    for (unsigned i = 0; i < 20; i++) {
        world_wait(&w, 1000);
        world_settle(&w);
    }
    assert_int_equal(world_state(&w, a), POOL_LEASE_QUEUED);
    struct pool_explanation why;
    pool_explain(w.pool, pool_find_lease(w.pool, a), w.now_ms, &why);
    assert_non_null(strstr(why.reason, "cannot be read"));
    w.fail = NULL;
    world_wait(&w, 120000);
    world_settle(&w);
    assert_int_equal(world_state(&w, a), POOL_LEASE_ACTIVE);
    assert_int_equal(w.gpu[0].gi_count, 1);
    world_done(&w);
}

/* The GPU is gone when looked at for processes, and comes back with one. */
static int fail_checks_and_count_destroys(struct world *w, const struct pool_job *job)
{
    unsigned *destroys = w->arg;

    *destroys += job->kind == POOL_JOB_DESTROY;
    return job->kind == POOL_JOB_CHECK ? -ENODEV : 0;
}

static void what_was_to_go_stays_when_somebody_runs_on_it(void **state)
{
    struct pool_settings settings;
    unsigned destroys = 0;
    struct world w = {.now_ms = 1000000, .fail = fail_checks_and_count_destroys, .arg = &destroys};
    (void)state;
    pool_settings_default(&settings);
    settings.drops_idle = true;
    world_add_gpu(&w, "H100-SXM5-80GB", true);
    world_boot(&w, &settings);
    world_start(&w);
    world_settle(&w);
    uint64_t a = ask(&w, "a", "3g.40gb");
    w.gpu[0].gi[0].process_count = 1;
    world_give_back(&w, "a", a);
    assert_int_equal(world_state(&w, a), POOL_LEASE_RELEASED);
    world_step(&w, &(struct pool_event){.kind = POOL_EV_HEALTH, .gpu = 0, .text = "",
                                        .health = POOL_HEALTH_OK});
    world_settle(&w);
    world_wait(&w, 20000);
    world_settle(&w);
    assert_int_equal(destroys, 0); /* law 1 */
    assert_int_equal(w.gpu[0].gi_count, 1);
    w.gpu[0].gi[0].process_count = 0;
    world_step(&w, &(struct pool_event){.kind = POOL_EV_SCAN, .gpu = 0});
    world_settle(&w);
    assert_int_equal(w.gpu[0].gi_count, 0);
    world_done(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(engines_of_idle_slices_are_freed),
        cmocka_unit_test(compute_instances_are_taken_back_together),
        cmocka_unit_test(an_idle_slice_takes_all_its_compute_instances),
        cmocka_unit_test(what_a_check_does_not_find_is_not_granted),
        cmocka_unit_test(a_quota_holds_up_nobody_else),
        cmocka_unit_test(who_must_not_wait_is_refused_when_the_cut_fails),
        cmocka_unit_test(a_remnant_is_told_from_another_slice),
        cmocka_unit_test(what_was_not_asked_is_no_answer),
        cmocka_unit_test(a_foreign_slice_over_one_that_goes_is_told_apart),
        cmocka_unit_test(a_cut_off_reason_does_not_spoil_the_record),
        cmocka_unit_test(long_names_stay_readable),
        cmocka_unit_test(a_lease_ends_when_it_was_last_told_to),
        cmocka_unit_test(backfill_does_not_delay_the_head),
        cmocka_unit_test(backfill_keeps_its_promise),
        cmocka_unit_test(waiting_outweighs_priority),
        cmocka_unit_test(a_key_is_good_for_one_lease),
        cmocka_unit_test(what_nobody_was_told_of_is_not_left_behind),
        cmocka_unit_test(a_scan_of_before_a_loss_says_nothing),
        cmocka_unit_test(a_slice_that_cannot_be_looked_at_holds_nobody_up),
        cmocka_unit_test(who_waits_for_a_gpu_that_cannot_be_read_looks_elsewhere),
        cmocka_unit_test(what_was_to_go_stays_when_somebody_runs_on_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
