#include "base/text.h"
#include "meter/meter.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define HOUR INT64_C(3600000)
#define DAY METER_DAY_MS
#define KEPT 1000

static const struct meter_rates rates = {0.5, 0.25, "EUR"};

struct seen {
    unsigned count;
    struct meter_row rows[64];
    char profiles[64][METER_PROFILE_BYTES];
};

static void collect(const struct meter_row *row, void *arg)
{
    struct seen *s = arg;

    assert_true(s->count < 64);
    text_copy(s->profiles[s->count], METER_PROFILE_BYTES, row->profile ? row->profile : "");
    s->rows[s->count++] = *row;
}

static struct seen ask(struct meter *m, enum meter_by by, int64_t now_ms)
{
    struct meter_query q = {.by = by, .now_ms = now_ms};
    struct seen s = {0};

    meter_query(m, &q, collect, &s);
    return s;
}

/* --- what survives: the records of a meter, kept as the journal would ------------------------ */

#define DISK_ROWS 512

struct disk {
    struct {
        struct meter_record r;
    } rows[DISK_ROWS];
    unsigned count;
};

static void disk_put(struct disk *disk, const struct meter_record *r)
{
    unsigned i = 0;

    while (i < disk->count &&
           (disk->rows[i].r.kind != r->kind || strcmp(disk->rows[i].r.id, r->id) != 0)) {
        i++;
    }
    assert_true(i < DISK_ROWS);
    if (i == disk->count) {
        disk->count++;
    } else {
        free(disk->rows[i].r.body);
    }
    disk->rows[i].r = *r;
}

static unsigned disk_sync(struct disk *disk, struct meter *m)
{
    struct meter_record r;
    unsigned n = 0;

    while (meter_next_dirty(m, &r)) {
        disk_put(disk, &r);
        n++;
    }
    return n;
}

static struct meter *disk_load(const struct disk *disk)
{
    struct meter *m = meter_new(&rates, KEPT);
    struct error err = {0};

    for (unsigned i = 0; i < disk->count; i++) {
        const struct meter_record *r = &disk->rows[i].r;
        if (r->body) {
            assert_int_equal(meter_load_record(m, r->kind, r->id, r->body, strlen(r->body), &err),
                             0);
        }
    }
    return m;
}

static void disk_done(struct disk *disk)
{
    for (unsigned i = 0; i < disk->count; i++) {
        free(disk->rows[i].r.body);
    }
}

static const char *disk_find(const struct disk *disk, enum meter_record_kind kind, const char *id)
{
    for (unsigned i = 0; i < disk->count; i++) {
        if (disk->rows[i].r.kind == kind && !strcmp(disk->rows[i].r.id, id)) {
            return disk->rows[i].r.body;
        }
    }
    return NULL;
}

/* --- accounts ------------------------------------------------------------------------------- */

static void hours_and_prices_add_up(void **state)
{
    CLEANUP(meter_freep) struct meter *m = meter_new(&rates, KEPT);
    struct meter_load two = {2, 20 * 1024}, one = {1, 10 * 1024};

    (void)state;
    meter_begin(m, 1, "vision", "2g.20gb", "GPU-1", &two, 0);
    meter_begin(m, 2, "vision", "1g.10gb", "GPU-1", &one, HOUR);
    meter_begin(m, 2, "vision", "2g.20gb", "GPU-1", &two, 0); /* known already */
    meter_begin(m, 3, "nlp", "1g.10gb", "GPU-1", &one, HOUR);
    assert_true(meter_end(m, 1, 3 * HOUR));
    assert_false(meter_end(m, 1, 4 * HOUR));
    struct seen s = ask(m, METER_BY_TENANT, 2 * HOUR);
    assert_int_equal(s.count, 2);
    assert_string_equal(s.rows[0].tenant, "nlp");
    assert_string_equal(s.rows[1].tenant, "vision");
    assert_int_equal(s.rows[1].sums.leases, 2);
    assert_int_equal(s.rows[1].active_leases, 1);
    assert_int_equal(s.rows[1].active.compute_slots, 1);
    assert_true(s.rows[1].compute_slot_hours == 7.0);
    assert_true(s.rows[1].memory_gib_hours == 70.0);
    assert_true(s.rows[1].cost == 7.0 * 0.5 + 70.0 * 0.25);
    s = ask(m, METER_BY_PROFILE, 2 * HOUR);
    assert_int_equal(s.count, 3);
    assert_string_equal(s.profiles[1], "1g.10gb");
    assert_true(s.rows[1].compute_slot_hours == 1.0);
    assert_string_equal(s.profiles[2], "2g.20gb");
    assert_true(s.rows[2].compute_slot_hours == 6.0);
}

static void everything_survives(void **state)
{
    struct meter_load two = {2, 1024};
    struct disk disk = {0};
    CLEANUP(meter_freep) struct meter *m = meter_new(&rates, KEPT);
    struct meter_sample sample = {.at_ms = HOUR / 2, .span_ms = HOUR / 2, .has_memory = true,
                                  .memory_used_mib = 100, .memory_total_mib = 1000, .has_sm = true,
                                  .can_sm = true, .sm_percent = 12.5f, .sm_span_ms = HOUR / 2};
    (void)state;
    meter_begin(m, 1, "vision", "2g.20gb", "GPU-1", &two, 0);
    meter_begin(m, 2, "vision", "2g.20gb", "GPU-1", &two, 0);
    assert_int_equal(disk_sync(&disk, m), 0); /* granting writes nothing */
    meter_add_sample(m, 1, &sample);
    meter_add_sample(m, 2, &sample);
    meter_add_sample(m, 99, &sample); /* nobody's */
    meter_end(m, 1, HOUR);
    disk_sync(&disk, m);
    meter_settle(m, HOUR);
    disk_sync(&disk, m);
    meter_settle(m, HOUR);
    assert_int_equal(disk_sync(&disk, m), 0); /* no news, nothing to write */

    CLEANUP(meter_freep) struct meter *again = disk_load(&disk);
    meter_begin(again, 2, "vision", "2g.20gb", "GPU-1", &two, 0); /* it runs on after the restart */
    struct seen s = ask(again, METER_BY_TENANT, HOUR);
    assert_int_equal(s.count, 1);
    assert_int_equal(s.rows[0].sums.leases, 2);
    assert_true(s.rows[0].compute_slot_hours == 4.0);
    assert_true(meter_sums_sm_mean(&s.rows[0].sums) == 12.5);
    assert_int_equal(s.rows[0].sums.memory_peak, 1000);
    s = ask(again, METER_BY_DAY, HOUR);
    assert_int_equal(s.count, 1);
    assert_true(s.rows[0].compute_slot_hours == 4.0);
    assert_int_equal(s.rows[0].sums.leases, 2);
    assert_int_equal(s.rows[0].sums.covered_ms, HOUR);
    s = ask(again, METER_BY_LEASE, HOUR);
    assert_int_equal(s.count, 2);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(s.rows[i].lease, i + 1);
        assert_int_equal(s.rows[i].stats->samples, 1);
        assert_string_equal(s.rows[i].gpu, "GPU-1");
        assert_int_equal(s.rows[i].stats->memory_peak_mib, 100);
        assert_true(meter_stats_sm_p95(s.rows[i].stats) == 12.5);
        assert_true(s.rows[i].compute_slot_hours == 2.0);
    }
    disk_done(&disk);
}

static bool is_first(uint64_t lease, void *arg)
{
    (void)arg;
    return lease == 1;
}

static void what_is_forgotten_goes_from_the_disk(void **state)
{
    struct meter_load one = {1, 1};
    struct disk disk = {0};
    CLEANUP(meter_freep) struct meter *m = meter_new(&rates, KEPT);

    (void)state;
    for (uint64_t i = 1; i <= 3; i++) {
        meter_begin(m, i, "x", "1g", "GPU-1", &one, 0);
        meter_end(m, i, HOUR);
    }
    disk_sync(&disk, m);
    assert_non_null(disk_find(&disk, METER_RECORD_LEASE, "00000000000000000002"));
    meter_forget(m, 2);
    meter_forget(m, 77);
    assert_int_equal(ask(m, METER_BY_LEASE, HOUR).count, 2);
    assert_int_equal(disk_sync(&disk, m), 1);
    assert_null(disk_find(&disk, METER_RECORD_LEASE, "00000000000000000002"));
    /* A start at which the pool has lost one, and one that ran is gone: its time is not. */
    meter_begin(m, 4, "x", "1g", "GPU-1", &one, 0);
    struct meter_sample sample = {.at_ms = 2 * HOUR, .span_ms = HOUR};
    meter_add_sample(m, 4, &sample);
    meter_settle(m, 2 * HOUR);
    disk_sync(&disk, m);
    CLEANUP(meter_freep) struct meter *again = disk_load(&disk);
    meter_prune(again, is_first, NULL);
    assert_int_equal(disk_sync(&disk, again), 4); /* account, day, leases 3 and 4 */
    assert_int_equal(ask(again, METER_BY_LEASE, HOUR).count, 1);
    assert_true(ask(again, METER_BY_TENANT, 9 * HOUR).rows[0].compute_slot_hours == 5.0);
    assert_false(meter_is_running(again));
    disk_done(&disk);
}

static void damage_and_clocks_do_no_harm(void **state)
{
    CLEANUP(meter_freep) struct meter *m = meter_new(&rates, KEPT);
    struct meter_load one = {1, 1};
    struct error err = {0};
    static const char *const bad[] = {
        "", "[]", "{}", "{\"leases\":-1,\"compute_slot_ms\":0,\"memory_mib_ms\":0}",
        "{\"leases\":1,\"compute_slot_ms\":0,\"memory_mib_ms\":0,\"sm_ms\":\"x\"}",
        "{\"day\":1,\"tenant\":\"\",\"profile\":\"p\",\"leases\":1,\"compute_slot_ms\":0,"
        "\"memory_mib_ms\":0}",
        "{\"tenant\":\"a\",\"profile\":\"p\",\"compute_slots\":1,\"memory_mib\":1,\"stats\":{"
        "\"sm_tenths\":[-1]}}"};
    static const char old[] = "{\"leases\":3,\"compute_slot_ms\":7200000,\"memory_mib_ms\":5}";

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        const char *id = i == 0 ? "x" : "00000000000000000007";
        for (enum meter_record_kind k = METER_RECORD_ACCOUNT; k <= METER_RECORD_DAY; k++) {
            if (k == METER_RECORD_ACCOUNT && i > 4) {
                continue; /* has what an account needs */
            }
            assert_true(meter_load_record(m, k, id, bad[i], strlen(bad[i]), &err) < 0);
        }
    }
    assert_int_equal(meter_load_record(m, METER_RECORD_LEASE, "x", old, strlen(old), &err),
                     -EINVAL);
    assert_int_equal(meter_load_record(m, METER_RECORD_ACCOUNT, "old", old, strlen(old), &err), 0);
    struct seen s = ask(m, METER_BY_TENANT, 0);
    assert_int_equal(s.count, 1); /* from before there were samples */
    assert_int_equal(s.rows[0].sums.leases, 3);
    assert_true(s.rows[0].compute_slot_hours == 2.0);
    assert_true(meter_sums_idle(&s.rows[0].sums) < 0);

    meter_begin(m, 1, "x", "1g", "GPU-1", &one, HOUR);
    struct meter_sample sample = {.at_ms = HOUR / 2, .span_ms = -5, .has_sm = true,
                                  .sm_percent = 100, .sm_span_ms = -7};
    meter_add_sample(m, 1, &sample); /* from before the grant */
    meter_settle(m, 0);
    assert_true(ask(m, METER_BY_DAY, 0).rows[0].compute_slot_hours == 0.0);
    meter_end(m, 1, 0); /* the clock was set back */
    s = ask(m, METER_BY_TENANT, 0);
    assert_string_equal(s.rows[1].tenant, "x");
    assert_true(s.rows[1].compute_slot_hours == 0.0);
    /* And far ahead: years of days are neither made nor kept. */
    meter_begin(m, 2, "x", "1g", "GPU-1", &one, HOUR);
    meter_settle(m, 100 * 365 * DAY);
    s = ask(m, METER_BY_PROFILE, 100 * 365 * DAY);
    assert_true(s.rows[0].compute_slot_hours <= 24.0 * (KEPT + 1));
}

/* --- days ----------------------------------------------------------------------------------- */

static uint64_t seed;

static uint64_t draw(uint64_t below)
{
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (seed >> 33) % below;
}

#define TRUE_LEASES 24
#define TRUE_DAYS 12

struct truth {
    bool is_begun, is_ended;
    int64_t since_ms, until_ms;
    struct meter_load load;
    unsigned tenant, profile;
};

static const char *const tenants[] = {"a", "b"};
static const char *const profiles[] = {"1g", "2g", "3g"};

static int64_t overlap(int64_t a, int64_t b, int64_t c, int64_t d)
{
    int64_t from = a > c ? a : c, to = b < d ? b : d;

    return to > from ? to - from : 0;
}

/* What lies between the days from first to last, worked out from the leases themselves. */
static void compare(struct meter *m, const struct truth *truth, int64_t now, int64_t first,
                    int64_t last)
{
    struct meter_query q = {.by = METER_BY_PROFILE, .now_ms = now, .since_ms = first * DAY + 7,
                            .until_ms = (last + 1) * DAY - 7};
    double want[2][3] = {{0}};
    uint64_t leases[2][3] = {{0}};
    struct seen s = {0};

    for (unsigned i = 0; i < TRUE_LEASES; i++) {
        const struct truth *t = &truth[i];
        int64_t until = t->is_ended ? t->until_ms : now;
        if (t->is_begun) {
            want[t->tenant][t->profile] +=
                (double)overlap(t->since_ms, until, first * DAY, (last + 1) * DAY) *
                t->load.compute_slots;
            leases[t->tenant][t->profile] +=
                t->since_ms / DAY >= first && t->since_ms / DAY <= last;
        }
    }
    q.since_ms = first == 0 ? 1 : q.since_ms;
    meter_query(m, &q, collect, &s);
    for (unsigned i = 0; i < s.count; i++) {
        unsigned a = !strcmp(s.rows[i].tenant, "b"), p = (unsigned)(s.profiles[i][0] - '1');
        assert_true((double)s.rows[i].sums.compute_slot_ms == want[a][p]);
        assert_int_equal(s.rows[i].sums.leases, leases[a][p]);
        want[a][p] = 0;
    }
    for (unsigned i = 0; i < 6; i++) {
        assert_true(want[i / 3][i % 3] == 0); /* nothing is missing */
    }
}

/* Random leases over some days, settled, written and read back at random times, against sums that
 * are made from the leases themselves. */
static void days_agree_with_the_leases(void **state)
{
    (void)state;
    for (uint64_t run = 1; run <= 60; run++) {
        struct truth truth[TRUE_LEASES] = {{0}};
        struct disk disk = {0};
        struct meter *m = meter_new(&rates, KEPT);
        int64_t now = 1;
        seed = run;
        for (unsigned step = 0; step < 120; step++) {
            struct truth *t = &truth[draw(TRUE_LEASES)];
            uint64_t id = (uint64_t)(t - truth) + 1;
            now += (int64_t)draw((uint64_t)(TRUE_DAYS * DAY / 120));
            if (!t->is_begun) {
                *t = (struct truth){.is_begun = true, .since_ms = now, .tenant = (unsigned)draw(2),
                                    .profile = (unsigned)draw(3)};
                t->load = (struct meter_load){t->profile + 1, 10};
                meter_begin(m, id, tenants[t->tenant], profiles[t->profile], "GPU-1", &t->load,
                            now);
            } else if (!t->is_ended && draw(2)) {
                t->is_ended = true;
                t->until_ms = now;
                assert_true(meter_end(m, id, now));
                disk_sync(&disk, m);
            } else if (draw(2)) {
                struct meter_sample sample = {.at_ms = now, .span_ms = 10};
                meter_add_sample(m, id, &sample);
                meter_settle(m, now);
                disk_sync(&disk, m);
            } else if (draw(4) == 0) { /* killed */
                meter_free(m);
                m = disk_load(&disk);
                for (unsigned i = 0; i < TRUE_LEASES; i++) {
                    if (truth[i].is_begun && !truth[i].is_ended) {
                        meter_begin(m, i + 1, tenants[truth[i].tenant], profiles[truth[i].profile],
                                    "GPU-1", &truth[i].load, truth[i].since_ms);
                    }
                }
            }
            int64_t first = (int64_t)draw(TRUE_DAYS);
            compare(m, truth, now, first, first + (int64_t)draw(4));
        }
        disk_done(&disk);
        meter_free(m);
    }
}

static void old_days_go(void **state)
{
    CLEANUP(meter_freep) struct meter *m = meter_new(&rates, 3);
    struct meter_load one = {1, 1};
    struct disk disk = {0};

    (void)state;
    meter_begin(m, 1, "x", "1g", "GPU-1", &one, 10 * DAY);
    meter_end(m, 1, 12 * DAY);
    disk_sync(&disk, m);
    assert_int_equal(ask(m, METER_BY_DAY, 12 * DAY).count, 2);
    meter_settle(m, 14 * DAY);
    assert_int_equal(ask(m, METER_BY_DAY, 14 * DAY).count, 1);
    assert_int_equal(disk_sync(&disk, m), 1);
    assert_null(disk_find(&disk, METER_RECORD_DAY, "00000010/1g/x"));
    assert_non_null(disk_find(&disk, METER_RECORD_DAY, "00000011/1g/x"));
    assert_true(ask(m, METER_BY_TENANT, 14 * DAY).rows[0].compute_slot_hours == 48.0);
    disk_done(&disk);
}

static void a_lease_is_asked_for_exactly(void **state)
{
    CLEANUP(meter_freep) struct meter *m = meter_new(&rates, KEPT);
    struct meter_load two = {2, 2048};
    struct meter_query q = {.by = METER_BY_LEASE, .since_ms = 2 * HOUR, .until_ms = 3 * HOUR + 1,
                            .now_ms = 9 * HOUR};
    struct seen s = {0};

    (void)state;
    meter_begin(m, 1, "x", "2g", "GPU-1", &two, HOUR);
    meter_begin(m, 2, "x", "2g", "GPU-1", &two, HOUR);
    meter_begin(m, 3, "x", "2g", "GPU-1", &two, 4 * HOUR);
    meter_end(m, 1, 2 * HOUR + 30);
    meter_query(m, &q, collect, &s);
    assert_int_equal(s.count, 2);
    assert_int_equal(s.rows[0].sums.compute_slot_ms, 2 * 30);
    assert_int_equal(s.rows[0].until_ms, 2 * HOUR + 30);
    assert_int_equal(s.rows[1].sums.compute_slot_ms, 2 * (HOUR + 1));
    assert_int_equal(s.rows[1].until_ms, 0);
    q = (struct meter_query){.by = METER_BY_LEASE, .lease = 3, .now_ms = 9 * HOUR};
    s.count = 0;
    meter_query(m, &q, collect, &s);
    assert_int_equal(s.count, 1);
    assert_true(s.rows[0].memory_gib_hours == 10.0);
}

/* --- samples -------------------------------------------------------------------------------- */

static struct meter_sample at(int64_t ms, int64_t span, float sm)
{
    return (struct meter_sample){.at_ms = ms, .span_ms = span, .has_sm = sm >= 0, .sm_percent = sm,
                                 .sm_span_ms = span, .has_processes = true, .processes = 1};
}

static void samples_are_weighted_by_time(void **state)
{
    struct meter_stats s;
    struct meter_sample one;

    (void)state;
    meter_stats_init(&s, 1000);
    assert_true(meter_stats_sm_mean(&s) < 0 && meter_stats_sm_p95(&s) < 0);
    assert_true(meter_stats_memory_peak_percent(&s) < 0);
    for (int i = 0; i < 9; i++) {
        one = at(11000 + i * 10000, 10000, 20);
        meter_stats_add(&s, &one);
    }
    one = at(191000, 90000, 60);
    one.has_memory = true;
    one.memory_used_mib = 512;
    one.memory_total_mib = 2048;
    meter_stats_add(&s, &one);
    assert_true(meter_stats_sm_mean(&s) == 40.0);
    assert_true(meter_stats_sm_p95(&s) == 60.0);
    assert_true(s.sm_peak == 60.0f);
    assert_true(meter_stats_memory_peak_percent(&s) == 25.0);
    assert_int_equal(s.covered_ms, 180000);
    assert_int_equal(s.idle_ms, 0);
    assert_int_equal(meter_stats_idle_for_ms(&s), 0);
}

static void idleness_is_only_what_was_seen(void **state)
{
    struct meter_stats s;
    struct meter_sample nobody = {.span_ms = 10000, .has_processes = true}, one;

    (void)state;
    meter_stats_init(&s, 0);
    for (int i = 1; i <= 6; i++) {
        nobody.at_ms = i * 10000;
        meter_stats_add(&s, &nobody);
    }
    assert_int_equal(meter_stats_idle_for_ms(&s), 60000);
    one = at(70000, 10000, 0.4f); /* a process that does nothing */
    meter_stats_add(&s, &one);
    assert_int_equal(meter_stats_idle_for_ms(&s), 70000);
    one = at(80000, 10000, 50);
    meter_stats_add(&s, &one);
    assert_int_equal(meter_stats_idle_for_ms(&s), 0);
    nobody.at_ms = 90000;
    meter_stats_add(&s, &nobody);
    assert_int_equal(meter_stats_idle_for_ms(&s), 10000);
    nobody.at_ms = 900000; /* nobody had looked for a long time */
    meter_stats_add(&s, &nobody);
    assert_int_equal(meter_stats_idle_for_ms(&s), 10000);
    one = at(910000, 10000, -1); /* a process, and no word of what it does */
    meter_stats_add(&s, &one);
    assert_int_equal(meter_stats_idle_for_ms(&s), 0);
    assert_int_equal(s.idle_ms, 90000);
    assert_int_equal(s.covered_ms, 110000);
}

static void an_hour_goes_by_in_minutes(void **state)
{
    struct meter_hour h = {0};

    (void)state;
    assert_int_equal(meter_hour_get(&h, 0).sm_percent, METER_UNKNOWN);
    for (int64_t t = 10; t <= 90 * 60; t += 10) { /* seconds: minute n is n percent busy */
        struct meter_sample one = at(t * 1000, 10000, (float)(t / 60));
        one.has_memory = true;
        one.memory_used_mib = (uint64_t)(t % 60);
        one.memory_total_mib = 100;
        meter_hour_add(&h, &one);
    }
    assert_int_equal(meter_hour_get(&h, 0).sm_percent, 90);
    assert_int_equal(meter_hour_get(&h, 1).sm_percent, 89);
    assert_int_equal(meter_hour_get(&h, 1).memory_percent, 50);
    assert_int_equal(meter_hour_get(&h, 59).sm_percent, 31);
    assert_int_equal(meter_hour_get(&h, 60).sm_percent, METER_UNKNOWN);
    struct meter_sample late = at((90 + 5) * 60000, 10000, 7), early = at(60000, 10000, 99);
    meter_hour_add(&h, &late);
    meter_hour_add(&h, &early); /* a clock that went back */
    assert_int_equal(meter_hour_get(&h, 0).sm_percent, 7);
    assert_int_equal(meter_hour_get(&h, 1).sm_percent, METER_UNKNOWN);
    assert_int_equal(meter_hour_get(&h, 5).sm_percent, 90);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hours_and_prices_add_up),
        cmocka_unit_test(everything_survives),
        cmocka_unit_test(what_is_forgotten_goes_from_the_disk),
        cmocka_unit_test(damage_and_clocks_do_no_harm),
        cmocka_unit_test(days_agree_with_the_leases),
        cmocka_unit_test(old_days_go),
        cmocka_unit_test(a_lease_is_asked_for_exactly),
        cmocka_unit_test(samples_are_weighted_by_time),
        cmocka_unit_test(idleness_is_only_what_was_seen),
        cmocka_unit_test(an_hour_goes_by_in_minutes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
