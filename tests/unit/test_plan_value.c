/* What a GPU is worth, and the policy that goes by it. */
#include "base/cleanup.h"
#include "plan/plan.h"
#include "plan/value.h"
#include "replay/models.h"
#include "replay/random.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct mig_geometry h100;

static int setup(void **state)
{
    (void)state;
    return replay_model_geometry("H100-SXM5-80GB", &h100, NULL);
}

/* A model whose profiles have these sizes, each at every multiple of its step. */
static void model(struct mig_geometry *g, int slots, int count, const int sizes[][2])
{
    *g = (struct mig_geometry){.profile_count = (uint8_t)count};
    for (int p = 0; p < count; p++) {
        struct mig_profile *row = &g->profiles[p];
        snprintf(row->name, sizeof(row->name), "%dg.%dgb", p + 1, p + 1);
        row->id = (uint32_t)p;
        row->size = (uint8_t)sizes[p][0];
        row->slices = row->size;
        row->max_count = 1;
        for (int s = 0; s + sizes[p][0] <= slots; s += sizes[p][1]) {
            row->starts[row->start_count++] = (uint8_t)s;
        }
    }
    assert_int_equal(mig_geometry_init(g, NULL), 0);
}

/* One slot, and everybody is turned away elsewhere.  With x = V(empty) - V(busy) and m the rate of
 * leaving: 2m V(empty) = 1 - x and 3m V(busy) = m V(empty), so x = 1 / (1 + 3m). */
static void the_smallest_gpu_is_worth_what_it_should(void **state)
{
    static const int sizes[][2] = {{1, 1}};
    struct mig_geometry g;
    struct mig_use none = {0}, busy = {.mask = 1, .starts = 1};

    (void)state;
    model(&g, 1, 1, sizes);
    CLEANUP(plan_value_freep) struct plan_value *v = plan_value_new(&g);
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < 64; i++) {
            plan_value_learn(v, 0, i % 4 ? (double)INFINITY : .99, i % 4 == 0);
        }
        plan_value_refresh(v, .5, 1); /* a quarter placed, half a slice there: m is 0.5 */
    }
    assert_true(plan_value_is_ready(v));
    double x = plan_value_of(v, &none) - plan_value_of(v, &busy);
    assert_true(fabs(x - 1 / 2.5) < .03); /* prices are known to a sixteenth of a slot */
    assert_true(fabs(plan_value_of(v, &none) - 1.5 * x) < .03);
    assert_true(fabs(plan_value_price(v, &none, &(struct mig_slice){0, 0}) - x) < .05);
}

/* Whole GPUs are turned away, halves are not: what matters is how soon a GPU becomes empty. */
static void many_slices_leave_later_than_one(void **state)
{
    static const int sizes[][2] = {{1, 1}, {2, 2}, {4, 4}};
    struct mig_geometry g;
    struct mig_use one = {.mask = 3, .starts = 1}, two = {.mask = 3, .starts = 3};
    struct mig_use odd = {.mask = 7};

    (void)state;
    model(&g, 4, 3, sizes);
    CLEANUP(plan_value_freep) struct plan_value *v = plan_value_new(&g);
    for (int i = 0; i < 640; i++) {
        plan_value_learn(v, i % 3, i % 3 == 2 ? (double)INFINITY : 0, i % 3 != 2);
        if (i % 64 == 63) {
            plan_value_refresh(v, 10, 1);
        }
    }
    assert_true(plan_value_of(v, &one) > plan_value_of(v, &two) + .05);
    assert_true(plan_value_price(v, &one, &(struct mig_slice){0, 2}) >
                plan_value_price(v, &two, &(struct mig_slice){0, 2}) + .05);
    /* Slots that are busy with something unknown: as if cut in one way or another. */
    assert_true(plan_value_of(v, &odd) < plan_value_of(v, &one));
    assert_true(plan_value_of(v, &odd) == plan_value_of(v, &(struct mig_use){7, .starts = 5}));
}

/* The highest price there can be: all slots of the largest GPU. */
static void the_largest_slice_has_a_price(void **state)
{
    static const int sizes[][2] = {{8, 8}, {16, 16}};
    struct mig_geometry g;
    struct mig_use none = {0}, half = {.mask = 0xff, .starts = 1};

    (void)state;
    model(&g, 16, 2, sizes);
    CLEANUP(plan_value_freep) struct plan_value *v = plan_value_new(&g);
    for (int i = 0; i < 640; i++) {
        plan_value_learn(v, 1, i % 2 ? (double)INFINITY : 16, i % 2 == 0);
        if (i % 64 == 63) {
            plan_value_refresh(v, 10, 1);
        }
    }
    /* Only whole GPUs are wanted, and always one more than there are. */
    assert_true(plan_value_of(v, &none) - plan_value_of(v, &half) > 1);
    assert_true(plan_value_price(v, &none, &(struct mig_slice){1, 0}) > 12);
}

static void it_waits_until_it_knows(void **state)
{
    CLEANUP(plan_value_freep) struct plan_value *v = plan_value_new(&h100);

    (void)state;
    assert_false(plan_value_refresh(v, 0, 1)); /* nobody came */
    for (int i = 0; i < 127; i++) {
        plan_value_learn(v, 0, 0, true);
    }
    assert_false(plan_value_refresh(v, 10, 1));
    plan_value_learn(v, 0, 0, true);
    assert_false(plan_value_refresh(v, 65, 1)); /* the fleet has not turned over twice */
    assert_false(plan_value_is_ready(v));
    assert_true(plan_value_refresh(v, 64, 1));
    assert_true(plan_value_is_ready(v));
    assert_false(plan_value_refresh(v, 64, 1)); /* nothing new */
}

static struct plan *fleet(const struct mig_geometry *g, enum plan_policy policy, uint32_t gpus)
{
    struct plan_settings settings;
    int id = -1;

    plan_settings_default(&settings);
    settings.policy = policy;
    struct plan *p = plan_new(&settings);
    assert_int_equal(plan_add_class(p, g, &id, NULL), 0);
    for (uint32_t i = 0; i < gpus; i++) {
        assert_int_equal(plan_add_gpu(p, i, id, NULL), 0);
    }
    return p;
}

/* Plain profiles come, and go at random or when there are more than so many; a hash of all
 * answers. */
static uint64_t live(struct plan *p, const struct mig_geometry *g, int requests, int present,
                     uint64_t seed)
{
    struct plan_spot held[512];
    struct replay_random random;
    uint64_t hash = 0;
    int count = 0;

    replay_random_seed(&random, seed);
    for (int i = 0; i < requests; i++) {
        struct plan_ask ask;
        plan_ask_init(&ask);
        do {
            ask.profile[0] = (int8_t)(replay_random_next(&random) % g->profile_count);
        } while (strpbrk(g->profiles[ask.profile[0]].name, "+-"));
        plan_learn(p, &ask);
        if (plan_place(p, &ask, &held[count]) == 0) {
            plan_take(p, &held[count], false, 0);
            hash = hash * 31 + held[count].gpu_id * 16 + held[count].slice.start;
            count++;
        }
        while (count > present || (count && replay_random_next(&random) % 32 == 0)) {
            int k = (int)(replay_random_next(&random) % (unsigned)count);
            plan_give_back(p, held[k].gpu_id, held[k].slice);
            held[k] = held[--count];
        }
    }
    while (count-- > 0) {
        plan_give_back(p, held[count].gpu_id, held[count].slice);
    }
    return hash;
}

/* A GPU with one large slice may soon be empty, one with four small ones in the same slots not. */
static void a_slice_joins_the_crowd(void **state)
{
    (void)state;
    for (int crowded = 0; crowded < 2; crowded++) {
        CLEANUP(plan_freep) struct plan *p = fleet(&h100, PLAN_VALUE, 8);
        struct plan_gpu gpu = {.is_usable = true}, full = gpu;
        struct plan_ask ask;
        struct plan_spot spot;
        int one = mig_profile_by_name(&h100, "1g.10gb");
        int four = mig_profile_by_name(&h100, "4g.40gb");
        live(p, &h100, 3000, 14, 5);
        mig_use_add(&h100, &full.busy, mig_profile_by_name(&h100, "7g.80gb"), 0);
        for (uint32_t i = 0; i < 8; i++) {
            plan_update_gpu(p, i, &full);
        }
        mig_use_add(&h100, &gpu.busy, four, 0);
        plan_update_gpu(p, crowded ? 2 : 5, &gpu);
        gpu.busy = (struct mig_use){0};
        for (int s = 0; s < 4; s++) {
            mig_use_add(&h100, &gpu.busy, one, s);
        }
        plan_update_gpu(p, crowded ? 5 : 2, &gpu);
        plan_ask_init(&ask);
        ask.profile[0] = (int8_t)one;
        assert_int_equal(plan_place(p, &ask, &spot), 0);
        assert_int_equal(spot.gpu_id, crowded ? 5 : 2);
    }
}

static void equal_lives_get_equal_answers(void **state)
{
    CLEANUP(plan_freep) struct plan *a = fleet(&h100, PLAN_VALUE, 8);
    CLEANUP(plan_freep) struct plan *b = fleet(&h100, PLAN_VALUE, 8);
    CLEANUP(plan_freep) struct plan *c = fleet(&h100, PLAN_REACH, 8);
    CLEANUP(plan_freep) struct plan *d = fleet(&h100, PLAN_VALUE, 8);

    (void)state;
    /* Too early to know more. */
    assert_int_equal(live(c, &h100, 120, 30, 1), live(d, &h100, 120, 30, 1));
    uint64_t hash = live(a, &h100, 2000, 30, 1);
    assert_int_equal(live(b, &h100, 2000, 30, 1), hash);
    assert_int_not_equal(live(c, &h100, 2000, 30, 1), hash);
}

/* So many ways to cut it that values would take too long: the policy is reach for good. */
static void too_many_looks_are_left_to_reach(void **state)
{
    static const int sizes[][2] = {{1, 1}, {2, 2}, {4, 4}, {8, 8}, {16, 16}};
    struct mig_geometry g;

    (void)state;
    model(&g, 16, 5, sizes);
    assert_null(plan_value_new(&g));
    CLEANUP(plan_freep) struct plan *a = fleet(&g, PLAN_VALUE, 8);
    CLEANUP(plan_freep) struct plan *b = fleet(&g, PLAN_REACH, 8);
    assert_int_equal(live(a, &g, 1500, 30, 3), live(b, &g, 1500, 30, 3));
}

static void every_model_is_known(void **state)
{
    (void)state;
    for (int i = 0; i < replay_model_count(); i++) {
        struct mig_geometry g;
        if (replay_model_geometry(replay_model_name(i), &g, NULL) < 0) {
            continue; /* cannot be cut */
        }
        CLEANUP(plan_value_freep) struct plan_value *v = plan_value_new(&g);
        assert_non_null(v);
        assert_true(plan_value_bytes(v) < 256 * 1024);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_smallest_gpu_is_worth_what_it_should),
        cmocka_unit_test(many_slices_leave_later_than_one),
        cmocka_unit_test(the_largest_slice_has_a_price),
        cmocka_unit_test(it_waits_until_it_knows),
        cmocka_unit_test(a_slice_joins_the_crowd),
        cmocka_unit_test(equal_lives_get_equal_answers),
        cmocka_unit_test(too_many_looks_are_left_to_reach),
        cmocka_unit_test(every_model_is_known),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
