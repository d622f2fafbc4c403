#include "base/cleanup.h"
#include "mig/mig.h"
#include "replay/models.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* A geometry with only the named profiles (by enum value) of a model. */
static struct mig_geometry subset(const char *model, const int *enums, int n)
{
    struct mig_geometry all, g = {0};

    assert_int_equal(replay_model_geometry(model, &all, NULL), 0);
    for (int i = 0; i < all.profile_count; i++) {
        for (int k = 0; k < n; k++) {
            if (all.profiles[i].enum_value == enums[k]) {
                g.profiles[g.profile_count++] = all.profiles[i];
            }
        }
    }
    assert_int_equal(mig_geometry_init(&g, NULL), 0);
    return g;
}

struct tally {
    const struct mig_geometry *g;
    int layouts, maximal, placements;
    bool mask_seen[1 << MIG_SLOTS_MAX];
    int masks, vector_count, best_count;
    uint8_t vectors[1000][MIG_PROFILES_MAX];
};

static int count_layout(void *arg, const struct mig_layout *l)
{
    struct tally *t = arg;
    uint8_t v[MIG_PROFILES_MAX] = {0};
    bool is_maximal = true;
    int i;

    t->layouts++;
    t->masks += !t->mask_seen[l->use.mask];
    t->mask_seen[l->use.mask] = true;
    for (int p = 0; p < t->g->profile_count; p++) {
        is_maximal = is_maximal && mig_remaining(t->g, &l->use, p) == 0;
    }
    t->maximal += is_maximal;
    for (i = 0; i < l->count; i++) {
        v[l->slices[i].profile]++;
    }
    for (i = 0; i < t->vector_count && memcmp(t->vectors[i], v, sizeof(v)) != 0; i++) {
    }
    if (i == t->vector_count) {
        memcpy(t->vectors[t->vector_count++], v, sizeof(v));
    }
    return 0;
}

static bool is_dominated(const struct tally *t, int i)
{
    for (int k = 0; k < t->vector_count; k++) {
        bool all = k != i;
        for (int p = 0; p < t->g->profile_count; p++) {
            all = all && t->vectors[k][p] >= t->vectors[i][p];
        }
        if (all) {
            return true;
        }
    }
    return false;
}

static void check_counts(const char *model, const int *enums, int n, const int want[6])
{
    struct mig_geometry g = subset(model, enums, n);
    CLEANUP(freep) struct tally *t = xcalloc(1, sizeof(*t));

    t->g = &g;
    assert_int_equal(mig_layouts_visit(&g, NULL, count_layout, t), 0);
    for (int p = 0; p < g.profile_count; p++) {
        t->placements += g.profiles[p].start_count;
    }
    for (int i = 0; i < t->vector_count; i++) {
        t->best_count += !is_dominated(t, i);
    }
    assert_int_equal(t->placements, want[0]);
    assert_int_equal(t->layouts, want[1]);
    assert_int_equal(t->masks, want[2]);
    assert_int_equal(t->maximal, want[3]);
    assert_int_equal(t->vector_count, want[4]);
    assert_int_equal(t->best_count, want[5]);
}

static void layouts_are_as_many_as_known(void **state)
{
    (void)state;
    check_counts("H100-SXM5-80GB", (int[]){0, 9, 1, 2, 3, 4}, 6, (int[]){18, 723, 192, 78, 78, 28});
    check_counts("A100-SXM4-40GB", (int[]){0, 9, 1, 2, 3, 4}, 6, (int[]){18, 723, 192, 78, 78, 28});
    check_counts("H100-SXM5-80GB", (int[]){0, 1, 2, 3, 4}, 5, (int[]){14, 298, 144, 19, 38, 12});
    check_counts("A30", (int[]){0, 1, 3}, 3, (int[]){7, 26, 16, 5, 10, 4});
}

/* Most instances of one profile beside `use`, by trying everything. */
static int brute_remaining(const struct mig_geometry *g, const struct mig_use *use, int p, int from)
{
    int best = 0;

    for (int k = from; k < g->profiles[p].start_count; k++) {
        struct mig_use u = *use;
        if (mig_fits(g, &u, p, g->profiles[p].starts[k])) {
            mig_use_add(g, &u, p, g->profiles[p].starts[k]);
            int n = 1 + brute_remaining(g, &u, p, k + 1);
            best = n > best ? n : best;
        }
    }
    return best;
}

static void check_free(const struct mig_geometry *g, const struct mig_use *use, int p)
{
    uint16_t starts = 0, slots = 0;
    int count = 0;

    for (int s = 0; s < MIG_SLOTS_MAX; s++) {
        if (mig_fits(g, use, p, s)) {
            starts |= (uint16_t)(1u << s);
            slots |= mig_window(g, p, s);
            count++;
        }
    }
    assert_int_equal(mig_free_starts(g, use, p), starts);
    assert_int_equal(mig_free_slots(g, use, p), slots);
    assert_int_equal(mig_count_slots(starts), count);
}

static int check_remaining(void *arg, const struct mig_layout *l)
{
    const struct mig_geometry *g = arg;

    for (int p = 0; p < g->profile_count; p++) {
        assert_int_equal(mig_remaining(g, &l->use, p), brute_remaining(g, &l->use, p, 0));
        check_free(g, &l->use, p);
    }
    return 0;
}

static void every_model_agrees_with_brute_force(void **state)
{
    int known = 0;

    (void)state;
    for (int m = 0; m < replay_model_count(); m++) {
        struct mig_geometry g;
        if (replay_model_geometry(replay_model_name(m), &g, NULL) < 0) {
            continue;
        }
        known++;
        for (uint32_t mask = 0; mask < 1u << g.slots; mask++) {
            struct mig_use use = {0};
            mig_use_block(&use, (uint16_t)mask);
            for (int p = 0; p < g.profile_count; p++) {
                assert_int_equal(mig_remaining(&g, &use, p), brute_remaining(&g, &use, p, 0));
            }
        }
        assert_int_equal(mig_layouts_visit(&g, NULL, check_remaining, &g), 0);
    }
    assert_int_equal(known, 32);
}

/* What the driver's own remaining capacity was seen to be on A100 and H100. */
static void remaining_is_what_drivers_show(void **state)
{
    static const struct {
        const char *name;
        int after_4g, after_2g, after_1g;
    } rows[] = {{"1g.10gb", 3, 1, 0}, {"1g.10gb+me", 1, 1, 0}, {"1g.20gb", 2, 1, 0},
                {"2g.20gb", 1, 0, 0}, {"3g.40gb", 1, 0, 0},    {"4g.40gb", 0, 0, 0},
                {"7g.80gb", 0, 0, 0}};
    struct mig_geometry g;
    struct mig_use a = {0}, b, c;

    (void)state;
    assert_int_equal(replay_model_geometry("H100-SXM5-80GB", &g, NULL), 0);
    mig_use_add(&g, &a, mig_profile_by_name(&g, "4g.40gb"), 0);
    b = a;
    mig_use_add(&g, &b, mig_profile_by_name(&g, "2g.20gb"), 4);
    c = b;
    mig_use_add(&g, &c, mig_profile_by_name(&g, "1g.10gb"), 6);
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        int p = mig_profile_by_name(&g, rows[i].name);
        assert_int_equal(mig_remaining(&g, &a, p), rows[i].after_4g);
        assert_int_equal(mig_remaining(&g, &b, p), rows[i].after_2g);
        assert_int_equal(mig_remaining(&g, &c, p), rows[i].after_1g);
    }
}

static void engines_limit_variants(void **state)
{
    struct mig_geometry g;
    struct mig_use use = {0};

    (void)state;
    assert_int_equal(replay_model_geometry("RTX-PRO-6000-BSE", &g, NULL), 0);
    mig_use_add(&g, &use, mig_profile_by_name(&g, "1g.24gb+me.all"), 3);
    assert_int_equal(mig_remaining(&g, &use, mig_profile_by_name(&g, "1g.24gb")), 0);
    assert_int_equal(mig_remaining(&g, &use, mig_profile_by_name(&g, "1g.24gb-me")), 3);
    assert_int_equal(mig_remaining(&g, &use, mig_profile_by_name(&g, "2g.48gb-me")), 1);
    mig_use_remove(&g, &use, mig_profile_by_name(&g, "1g.24gb+me.all"), 3);
    assert_int_equal(mig_remaining(&g, &use, mig_profile_by_name(&g, "1g.24gb")), 4);
    assert_int_equal(mig_max_instances(&g), 4);
    assert_int_equal(replay_model_geometry("A30", &g, NULL), 0);
    mig_use_add(&g, &use, mig_profile_by_name(&g, "2g.12gb+me"), 0);
    assert_int_equal(mig_remaining(&g, &use, mig_profile_by_name(&g, "1g.6gb+me")), 0);
    assert_int_equal(mig_remaining(&g, &use, mig_profile_by_name(&g, "1g.6gb")), 2);
}

static void lies_are_named(void **state)
{
    struct mig_geometry good, g;
    struct error err = {0};

    (void)state;
    assert_int_equal(replay_model_geometry("H100-SXM5-80GB", &good, NULL), 0);
    assert_int_equal(mig_max_instances(&good), 7);
    g = good;
    g.profiles[3].id = g.profiles[1].id;
    assert_int_equal(mig_geometry_init(&g, &err), -EINVAL);
    assert_string_equal(err.msg, "the driver gives id 20 to both profile 1g.10gb+me and 2g.20gb");
    g = good;
    g.profiles[4].starts[1] = 14;
    assert_int_equal(mig_geometry_init(&g, &err), -EINVAL);
    assert_string_equal(err.msg, "the driver places profile 3g.40gb at slots 14 to 17; the last "
                                 "possible slot is 15");
    g = good;
    g.profiles[0].starts[1] = 0;
    assert_int_equal(mig_geometry_init(&g, &err), -EINVAL);
    assert_non_null(strstr(err.msg, "start 0 of profile 1g.10gb twice"));
    g = good;
    g.profiles[2].size = 0;
    assert_int_equal(mig_geometry_init(&g, &err), -EINVAL);
    memset(g.profiles[2].name, 'x', MIG_NAME_BYTES);
    assert_int_equal(mig_geometry_init(&g, &err), -EINVAL);
    assert_non_null(strstr(err.msg, "no usable name"));
    g.profile_count = 33;
    assert_int_equal(mig_geometry_init(&g, &err), -EINVAL);
}

static const char *resolved(const char *text, const struct mig_geometry *g, struct error *err)
{
    struct mig_want w = {0};
    int p = -7, c = -7;

    assert_int_equal(mig_want_parse(text, &w, err), 0);
    if (mig_want_resolve(&w, g, &p, &c, err) < 0) {
        assert_int_equal(p, -7);
        return NULL;
    }
    return g->profiles[p].name;
}

static void wants_find_the_smallest(void **state)
{
    struct mig_geometry h, a, r;
    struct error err = {0};

    (void)state;
    assert_int_equal(replay_model_geometry("H100-SXM5-80GB", &h, NULL), 0);
    assert_int_equal(replay_model_geometry("A30", &a, NULL), 0);
    assert_int_equal(replay_model_geometry("RTX-PRO-6000-BSE", &r, NULL), 0);
    assert_string_equal(resolved("2g.20gb", &h, NULL), "2g.20gb");
    assert_string_equal(resolved("MIG 1g.10gb+me", &h, NULL), "1g.10gb+me");
    assert_string_equal(resolved("2g", &h, NULL), "2g.20gb");
    assert_string_equal(resolved("2g", &a, NULL), "2g.12gb");
    assert_string_equal(resolved("1g+me", &a, NULL), "1g.6gb+me");
    assert_string_equal(resolved("1g-me", &r, NULL), "1g.24gb-me");
    assert_string_equal(resolved("1g", &h, NULL), "1g.10gb");
    assert_string_equal(resolved("memory=12GiB", &h, NULL), "1g.20gb");
    assert_string_equal(resolved("memory=12GiB,compute=2", &h, NULL), "2g.20gb");
    assert_string_equal(resolved("compute=3,memory=1GiB", &h, NULL), "3g.40gb");
    assert_string_equal(resolved("memory=30GiB", &r, NULL), "2g.48gb");
    assert_null(resolved("3g", &a, &err));
    assert_string_equal(err.msg, "no profile 3g on this GPU; it has 1g.6gb, 1g.6gb+me, 2g.12gb, "
                                 "2g.12gb+me, 4g.24gb");
    assert_null(resolved("memory=100GiB", &h, &err));
    assert_int_equal(err.code, ENOENT);
    assert_null(resolved("gpu", &h, &err));
    assert_int_equal(err.code, EINVAL);
}

static void compute_instances_are_found(void **state)
{
    struct mig_geometry g;
    struct mig_want w = {0};
    struct error err = {0};
    int p = -7, c = -7;

    (void)state;
    assert_int_equal(replay_model_geometry("H100-SXM5-80GB", &g, NULL), 0);
    struct mig_profile *row = &g.profiles[mig_profile_by_name(&g, "3g.40gb")];
    row->compute_count = 2;
    row->compute[0] = (struct mig_compute_profile){"1c.3g.40gb", 0, 0, 16, 1, 3};
    row->compute[1] = (struct mig_compute_profile){"3g.40gb", 2, 2, 46, 3, 1};
    assert_int_equal(mig_want_parse("1c.3g.40gb", &w, NULL), 0);
    assert_int_equal(mig_want_resolve(&w, &g, &p, &c, NULL), 0);
    assert_int_equal(c, 0);
    assert_int_equal(mig_want_parse("3g", &w, NULL), 0);
    assert_int_equal(mig_want_resolve(&w, &g, &p, &c, NULL), 0);
    assert_int_equal(c, 1);
    assert_int_equal(mig_want_parse("2c.3g", &w, NULL), 0);
    assert_int_equal(mig_want_resolve(&w, &g, &p, &c, &err), -ENOENT);
    assert_string_equal(err.msg, "3g.40gb has no compute instance of 2 slices; it has 1c.3g.40gb, "
                                 "3g.40gb");
}

static void nonsense_is_refused(void **state)
{
    static const char *bad[] = {"",
                                "g",
                                "0g",
                                "2g.",
                                "2g.20",
                                "2g.gb",
                                "2g.20gbx",
                                "2g.20gb+",
                                "x2g.20gb",
                                "1c2g.20gb",
                                "memory=",
                                "memory=0",
                                "compute=0",
                                "compute=17",
                                "memory=1GiB,memory=2GiB",
                                "memory=1GiB,",
                                "cpu=1",
                                "2G.20GB",
                                "100g",
                                "2g.20gb\n",
                                "gpus"};
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        struct mig_want w = {.slices = 77};
        struct error err = {0};
        if (mig_want_parse(bad[i], &w, &err) != -EINVAL) {
            fail_msg("accepted \"%s\"", bad[i]);
        }
        assert_int_equal(w.slices, 77);
        assert_true(err.msg[0]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layouts_are_as_many_as_known),
        cmocka_unit_test(every_model_agrees_with_brute_force),
        cmocka_unit_test(remaining_is_what_drivers_show),
        cmocka_unit_test(engines_limit_variants),
        cmocka_unit_test(lies_are_named),
        cmocka_unit_test(wants_find_the_smallest),
        cmocka_unit_test(compute_instances_are_found),
        cmocka_unit_test(nonsense_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
