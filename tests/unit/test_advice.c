#include "meter/advice.h"
#include "replay/models.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static const struct meter_rates no_rates;
static const struct meter_rates memory_is_dear = {0.01, 5.0, "EUR"};

static const struct mig_geometry *table(const char *model)
{
    static struct mig_geometry tables[2];
    static unsigned next;
    struct mig_geometry *g = &tables[next++ % 2];
    struct error err = {0};

    assert_int_equal(replay_model_geometry(model, g, &err), 0);
    return g;
}

/* A lease that used so much for an hour. */
static struct meter_stats used(uint64_t peak_mib, uint64_t total_mib, double sm_percent)
{
    struct meter_stats s;

    meter_stats_init(&s, 1);
    for (int i = 1; i <= 360; i++) {
        struct meter_sample one = {.at_ms = i * 10000, .span_ms = 10000, .has_memory = true,
                                   .memory_used_mib = i == 100 ? peak_mib : peak_mib / 2,
                                   .memory_total_mib = total_mib, .has_sm = sm_percent >= 0,
                                   .can_sm = sm_percent >= 0, .sm_percent = (float)sm_percent,
                                   .sm_span_ms = 10000, .has_processes = true, .processes = 1};
        meter_stats_add(&s, &one);
    }
    return s;
}

static const char *better(const struct mig_geometry *g, const char *held, uint64_t peak_mib,
                          double sm_percent, const struct meter_rates *rates)
{
    int profile = mig_profile_by_name(g, held);
    uint64_t memory = profile >= 0 ? g->profiles[profile].memory_mib : 81559;
    struct meter_stats s = used(peak_mib, memory, sm_percent);
    struct meter_advice advice = {.profile = MIG_PROFILE_NONE};

    return meter_advise(g, profile, memory, &s, rates, 600000, &advice)
               ? g->profiles[advice.profile].name : "";
}

static void examples(void **state)
{
    const struct mig_geometry *h100 = table("H100-SXM5-80GB"), *a100 = table("A100-SXM4-80GB");

    (void)state;
    assert_string_equal(better(h100, "3g.40gb", 4096, 5, &no_rates), "1g.10gb");
    assert_string_equal(better(h100, "3g.40gb", 15000, 5, &no_rates), "1g.20gb");
    assert_string_equal(better(h100, "3g.40gb", 15000, 95, &no_rates), "");
    assert_string_equal(better(h100, "1g.10gb", 10, 1, &no_rates), "");
    assert_string_equal(better(h100, "1g.10gb+me", 10, 1, &no_rates), "");
    assert_string_equal(better(h100, "gpu", 30000, 30, &no_rates), "3g.40gb");
    /* Without activity only memory is made smaller. */
    assert_string_equal(better(a100, "3g.40gb", 100, -1, &no_rates), "");
    assert_string_equal(better(a100, "1g.20gb", 100, -1, &no_rates), "1g.10gb");
    assert_string_equal(better(a100, "1g.20gb", 15000, -1, &no_rates), "");
}

static void silent_without_enough(void **state)
{
    const struct mig_geometry *g = table("H100-SXM5-80GB");
    int held = mig_profile_by_name(g, "7g.80gb");
    struct meter_stats s = used(1000, 81000, 5);
    struct meter_advice advice;

    (void)state;
    assert_true(meter_advise(g, held, 0, &s, &no_rates, 3600000, &advice));
    assert_false(meter_advise(g, held, 0, &s, &no_rates, 3600001, &advice));
    assert_false(advice.limits_peaks);
    struct meter_stats few = s;
    few.sm_ms = 10000; /* it can tell, and has hardly */
    assert_false(meter_advise(g, held, 0, &few, &no_rates, 600000, &advice));
    few = s;
    few.memory_samples = 2;
    assert_false(meter_advise(g, held, 0, &few, &no_rates, 600000, &advice));
    few = s;
    few.idle_ms = few.covered_ms; /* what it would need is not known */
    assert_false(meter_advise(g, held, 0, &few, &no_rates, 600000, &advice));
    memset(s.sm_tenths, 0, sizeof(s.sm_tenths)); /* seldom busy, then very */
    s.sm_tenths[0] = 90;
    s.sm_tenths[19] = 10;
    s.sm_peak = 100;
    assert_true(meter_advise(g, held, 0, &s, &no_rates, 600000, &advice));
    assert_true(advice.limits_peaks);
    assert_int_equal(advice.slices_saved, 7 - g->profiles[advice.profile].slices);
}

static const char *suffix(const char *name)
{
    return name + strcspn(name, "+-");
}

/* Every profile of every model, against the definition in advice.h taken literally. */
struct trial {
    const struct mig_geometry *g;
    int held;
    uint64_t peak_mib;
    double sm; /* -1: not told */
    const struct meter_rates *rates;
};

static double price(const struct trial *t, const struct mig_profile *p)
{
    return p->slices * t->rates->compute_slot_hour +
           p->memory_mib / 1024.0 * t->rates->memory_gib_hour;
}

/* The definition in advice.h, taken literally. */
static bool would_do(const struct trial *t, const struct mig_profile *p)
{
    const struct mig_profile *now = &t->g->profiles[t->held];
    bool holds_memory = (double)p->memory_mib >= (double)t->peak_mib * 1.1;
    bool holds_work = t->sm < 0 ? p->slices == now->slices && p->sm_count >= now->sm_count
                                : t->sm / 100 * now->sm_count <= p->sm_count * 0.8 + 1e-9;
    bool is_less = p->slices <= now->slices && p->memory_mib <= now->memory_mib &&
                   (p->slices != now->slices || p->memory_mib != now->memory_mib);
    bool is_idle = t->sm >= 0 && t->sm < 1; /* then nothing is known of its need */

    return holds_memory && holds_work && is_less && !is_idle && p->start_count &&
           !strcmp(suffix(p->name), suffix(now->name));
}

static bool check(const struct trial *t)
{
    const struct mig_profile *now = &t->g->profiles[t->held];
    struct meter_stats s = used(t->peak_mib, now->memory_mib, t->sm);
    struct meter_advice advice = {.profile = MIG_PROFILE_NONE};
    bool is_told = meter_advise(t->g, t->held, 0, &s, t->rates, 600000, &advice);
    bool is_possible = false;

    for (int i = 0; i < t->g->profile_count; i++) {
        const struct mig_profile *p = &t->g->profiles[i];
        if (!would_do(t, p)) {
            assert_true(!is_told || advice.profile != i);
            continue;
        }
        is_possible = true;
        assert_true(is_told);
        const struct mig_profile *b = &t->g->profiles[advice.profile];
        assert_true(price(t, b) <= price(t, p) + 1e-9);
        assert_true(t->rates != &no_rates || b->slices < p->slices ||
                    (b->slices == p->slices && b->memory_mib <= p->memory_mib));
    }
    assert_int_equal(is_told, is_possible);
    return is_told;
}

/* Every profile of every model, over a grid of what a lease may have used. */
static void nothing_better_is_missed(void **state)
{
    static const double activities[] = {-1, 0, 1, 5, 12.5, 25, 50, 75, 100};
    static const struct meter_rates *const rates[] = {&no_rates, &memory_is_dear};
    unsigned found = 0;

    (void)state;
    for (int m = 0; m < replay_model_count(); m++) {
        struct mig_geometry g;
        if (replay_model_geometry(replay_model_name(m), &g, NULL) < 0) {
            continue; /* its placements are not known */
        }
        for (unsigned k = 0; k < g.profile_count * ARRAY_SIZE(activities) * 10 * 2; k++) {
            struct trial t = {.g = &g, .rates = rates[k % 2],
                              .sm = activities[k / 20 % ARRAY_SIZE(activities)],
                              .held = (int)(k / 20 / ARRAY_SIZE(activities))};
            t.peak_mib = g.profiles[t.held].memory_mib * (uint64_t)(k / 2 % 10 + 1) / 10;
            found += check(&t);
        }
    }
    assert_true(found > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(examples),
        cmocka_unit_test(silent_without_enough),
        cmocka_unit_test(nothing_better_is_missed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
