#include "base/cleanup.h"
#include "plan/plan.h"
#include "plan/set.h"
#include "replay/models.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct mig_geometry h100;

static int setup(void **state)
{
    (void)state;
    return replay_model_geometry("H100-SXM5-80GB", &h100, NULL);
}

static struct mig_slice slice(const char *name, int start)
{
    int p = mig_profile_by_name(&h100, name);

    assert_true(p >= 0);
    return (struct mig_slice){(uint8_t)p, (uint8_t)start};
}

static struct plan *fleet(const char *policy, uint32_t gpus)
{
    struct plan_settings settings;
    int id = -1;

    plan_settings_default(&settings);
    assert_int_equal(plan_policy_parse(policy, &settings.policy, NULL), 0);
    assert_string_equal(plan_policy_name(settings.policy), policy);
    struct plan *p = plan_new(&settings);
    assert_int_equal(plan_add_class(p, &h100, &id, NULL), 0);
    for (uint32_t i = 0; i < gpus; i++) {
        assert_int_equal(plan_add_gpu(p, i, id, NULL), 0);
    }
    return p;
}

static struct plan_ask ask_for(const struct plan *p, const char *text)
{
    struct mig_want want;
    struct plan_ask ask;

    assert_int_equal(mig_want_parse(text, &want, NULL), 0);
    assert_int_equal(plan_ask_resolve(p, &want, &ask, NULL), 0);
    return ask;
}

/* Places and takes; "gpu@start" to compare with. */
static struct plan_spot take(struct plan *p, const char *text)
{
    struct plan_ask ask = ask_for(p, text);
    struct plan_spot spot = {0};

    assert_int_equal(plan_place(p, &ask, &spot), 0);
    plan_take(p, &spot, true, 1);
    return spot;
}

#define assert_spot(spot, gpu, at)                                                                 \
    do {                                                                                           \
        struct plan_spot s_ = (spot);                                                              \
        assert_int_equal(s_.gpu_id, (gpu));                                                        \
        assert_int_equal(s_.slice.start, (at));                                                    \
    } while (0)

static void small_slices_keep_the_large_windows_free(void **state)
{
    CLEANUP(plan_freep) struct plan *p = fleet("fgd", 2);

    (void)state;
    assert_spot(take(p, "1g.10gb"), 0, 6); /* the slot that costs least */
    assert_spot(take(p, "3g.40gb"), 0, 0);
    assert_spot(take(p, "1g.10gb"), 0, 4); /* not the empty GPU */
    assert_spot(take(p, "7g.80gb"), 1, 0);
}

static void policies_do_what_their_names_say(void **state)
{
    (void)state;
    {
        CLEANUP(plan_freep) struct plan *p = fleet("first-fit", 3);
        assert_spot(take(p, "1g.10gb"), 0, 0);
        assert_spot(take(p, "1g.10gb"), 0, 1);
        assert_spot(take(p, "4g.40gb"), 1, 0);
        assert_spot(take(p, "2g.20gb"), 0, 2);
    }
    {
        CLEANUP(plan_freep) struct plan *p = fleet("round-robin", 3);
        assert_spot(take(p, "1g.10gb"), 0, 0);
        assert_spot(take(p, "1g.10gb"), 1, 0);
        assert_spot(take(p, "1g.10gb"), 2, 0);
        assert_spot(take(p, "1g.10gb"), 0, 1);
        assert_spot(take(p, "3g.40gb"), 1, 4);
    }
}

static void wide_policies(void **state)
{
    (void)state;
    CLEANUP(plan_freep) struct plan *worst = fleet("worst-fit", 2);
    take(worst, "3g.40gb");
    assert_int_equal(take(worst, "1g.10gb").gpu_id, 1);
    CLEANUP(plan_freep) struct plan *best = fleet("best-fit", 2);
    take(best, "3g.40gb");
    assert_int_equal(take(best, "1g.10gb").gpu_id, 0);
    CLEANUP(plan_freep) struct plan *lowest = fleet("lowest-slot", 2);
    assert_spot(take(lowest, "1g.10gb"), 0, 0);
    assert_spot(take(lowest, "1g.10gb"), 1, 0);
    assert_spot(take(lowest, "1g.10gb"), 0, 1);
}

static void spread_asks_for_the_emptiest(void **state)
{
    CLEANUP(plan_freep) struct plan *p = fleet("fgd", 2);
    struct plan_ask ask = ask_for(p, "1g");
    struct plan_spot spot;

    (void)state;
    assert_int_equal(take(p, "1g").gpu_id, 0);
    ask.is_spread = true;
    assert_int_equal(plan_place(p, &ask, &spot), 0);
    assert_int_equal(spot.gpu_id, 1);
}

static void idle_slices_are_spared(void **state)
{
    CLEANUP(plan_freep) struct plan *p = fleet("fgd", 1);
    struct plan_gpu gpu = {.is_usable = true, .idle_count = 2};
    struct plan_ask ask = ask_for(p, "2g.20gb");
    struct plan_spot spot;

    (void)state;
    gpu.idle[0] = slice("1g.10gb", 0);
    gpu.idle[1] = slice("3g.40gb", 4);
    plan_update_gpu(p, 0, &gpu);
    assert_int_equal(plan_place(p, &ask, &spot), 0);
    assert_int_equal(spot.slice.start, 2);
    assert_int_equal(spot.destroy, 0);
    ask = ask_for(p, "4g.40gb");
    assert_int_equal(plan_place(p, &ask, &spot), 0);
    assert_int_equal(spot.destroy, 1);
    ask = ask_for(p, "7g.80gb");
    assert_int_equal(plan_place(p, &ask, &spot), 0);
    assert_int_equal(spot.destroy, 3);
    gpu.is_usable = false;
    plan_update_gpu(p, 0, &gpu);
    assert_int_equal(plan_place(p, &ask, &spot), -ENOSPC);
    plan_remove_gpu(p, 0);
    assert_int_equal(plan_place(p, &ask, &spot), -ENOSPC);
}

static void reservations_are_left_alone(void **state)
{
    CLEANUP(plan_freep) struct plan *p = fleet("fgd", 1);
    struct plan_exclusion out = {0, 0x0f};
    struct plan_ask ask = ask_for(p, "3g.40gb");
    struct plan_spot spot;

    (void)state;
    ask.excluded = &out;
    ask.excluded_count = 1;
    assert_int_equal(plan_place(p, &ask, &spot), 0);
    assert_int_equal(spot.slice.start, 4);
    out.mask = 0x18;
    assert_int_equal(plan_place(p, &ask, &spot), -ENOSPC);
}

static void a_set_is_all_or_nothing(void **state)
{
    CLEANUP(plan_freep) struct plan *p = fleet("fgd", 1);
    struct plan_ask one = ask_for(p, "1g"), three = ask_for(p, "3g"), four = ask_for(p, "4g");
    const struct plan_ask *fits[] = {&one, &three, &one, &three};
    const struct plan_ask *fails[] = {&one, &four, &four};
    struct plan_spot spots[4];

    (void)state;
    assert_int_equal(plan_place_each(p, fits, 2, spots), 0);
    assert_int_equal(spots[1].slice.profile, three.profile[0]);
    assert_int_equal(plan_place_each(p, fits, 4, spots), -ENOSPC);
    assert_int_equal(plan_place_each(p, fails, 3, spots), -ENOSPC);
    assert_int_equal(plan_place_each(p, fails, 2, spots), 0);
    assert_int_equal(spots[1].slice.start, 0);
}

/* Greedy puts the first 3g at 0 and has no room for the 4g; all together there is. */
static void a_set_that_fits_is_found(void **state)
{
    CLEANUP(plan_freep) struct plan *p = fleet("first-fit", 2);
    struct plan_ask three = ask_for(p, "3g"), four = ask_for(p, "4g");
    const struct plan_ask *set[] = {&three, &three, &four};
    struct plan_gpu gpu = {.is_usable = true};
    struct plan_spot spots[3];

    (void)state;
    mig_use_add(&h100, &gpu.busy, slice("1g.10gb", 0).profile, 5);
    plan_update_gpu(p, 1, &gpu);
    assert_int_equal(plan_place_each(p, set, 3, spots), 0);
    assert_int_equal(spots[2].slice.start, 0);
    assert_int_equal(spots[2].slice.profile, four.profile[0]);
    assert_int_equal(spots[0].slice.profile, three.profile[0]);
    uint16_t seen[2] = {0, gpu.busy.mask};
    for (int i = 0; i < 3; i++) {
        uint16_t window = mig_window(&h100, spots[i].slice.profile, spots[i].slice.start);
        assert_int_equal(seen[spots[i].gpu_id] & window, 0);
        seen[spots[i].gpu_id] |= window;
    }
}

static void the_mix_is_learned(void **state)
{
    CLEANUP(plan_freep) struct plan *p = fleet("fgd", 1);
    struct plan_ask ask = ask_for(p, "2g.20gb");

    (void)state;
    for (int i = 0; i < 3000; i++) {
        plan_learn(p, &ask);
    }
    assert_true(plan_class_share(p, 0, ask.profile[0]) > 0.95);
    /* When everybody wants 2g, a 1g goes where no 2g could. */
    assert_spot(take(p, "1g.10gb"), 0, 6);
}

/* Three GPUs that look alike; the two last end later. */
static void a_slice_does_not_stay_alone(void **state)
{
    static const char *const policies[] = {"reach", "align"};
    (void)state;
    for (int i = 0; i < 2; i++) {
        CLEANUP(plan_freep) struct plan *p = fleet(policies[i], 3);
        struct plan_ask ask = ask_for(p, "2g.20gb");
        struct plan_gpu gpu = {.is_usable = true};
        struct plan_spot spot;
        mig_use_add(&h100, &gpu.busy, slice("3g.40gb", 4).profile, 4);
        for (uint32_t k = 0; k < 3; k++) {
            gpu.end_ms = k == 0 ? 20000 : 90000;
            plan_update_gpu(p, k, &gpu);
        }
        assert_int_equal(plan_place(p, &ask, &spot), 0);
        assert_int_equal(spot.gpu_id, 0); /* nobody knows when it ends */
        ask.now_ms = 10000;
        ask.end_ms = 80000;
        plan_learn(p, &ask);
        assert_int_equal(plan_place(p, &ask, &spot), 0);
        assert_int_equal(spot.gpu_id, i);
        ask.end_ms = 20000;
        assert_int_equal(plan_place(p, &ask, &spot), 0);
        assert_int_equal(spot.gpu_id, 0); /* it stays no longer than what is there */
        ask.end_ms = 100000;
        assert_int_equal(plan_place(p, &ask, &spot), 0);
        assert_int_equal(spot.gpu_id, i); /* it is alone for 10 s, not for 80 */
        ask.is_spread = true;
        assert_int_equal(plan_place(p, &ask, &spot), 0);
        assert_int_equal(spot.gpu_id, 0);
    }
}

/* An end that is past says nothing: the slice goes soon. */
static void what_is_overdue_ends_now(void **state)
{
    CLEANUP(plan_freep) struct plan *p = fleet("align", 2);
    struct plan_ask ask = ask_for(p, "2g.20gb");
    struct plan_gpu gpu = {.is_usable = true, .end_ms = 5000};
    double early, late;

    (void)state;
    mig_use_add(&h100, &gpu.busy, slice("3g.40gb", 4).profile, 4);
    plan_update_gpu(p, 0, &gpu);
    gpu.end_ms = 0;
    plan_update_gpu(p, 1, &gpu);
    ask.now_ms = 10000;
    ask.end_ms = 20000;
    plan_learn(p, &ask);
    early = plan_score(p, &ask, 1, slice("2g.20gb", 0));
    late = plan_score(p, &ask, 0, slice("2g.20gb", 0));
    assert_true(late - early > 0.2499 && late - early < 0.2501); /* by one mean stay */
}

static void moves_make_room(void **state)
{
    CLEANUP(plan_freep) struct plan *p = fleet("fgd", 2);
    struct plan_gpu gpu = {.is_usable = true};
    struct plan_ask ask = ask_for(p, "4g.40gb");
    struct plan_moves moves;

    (void)state;
    gpu.movable_count = 1;
    gpu.movable[0] = (struct plan_movable){slice("1g.10gb", 1), 3};
    mig_use_add(&h100, &gpu.busy, gpu.movable[0].slice.profile, 1);
    plan_update_gpu(p, 0, &gpu);
    gpu.movable[0].cost = 2;
    plan_update_gpu(p, 1, &gpu);
    assert_int_equal(plan_find_moves(p, &ask, 0, &moves), -ENOSPC);
    assert_int_equal(plan_find_moves(p, &ask, 1, &moves), 0);
    assert_int_equal(moves.count, 1);
    assert_int_equal(moves.moves[0].from_gpu, 1); /* the cheaper one */
    assert_int_equal(moves.spot.gpu_id, 1);
    assert_int_equal(moves.spot.slice.start, 0);
    assert_true(moves.cost > 1.9 && moves.cost < 2.1);
    gpu.movable_count = 0; /* pinned now */
    plan_update_gpu(p, 0, &gpu);
    plan_update_gpu(p, 1, &gpu);
    assert_int_equal(plan_find_moves(p, &ask, 3, &moves), -ENOSPC);
}

/* Of sets that are equally good the same one is found, whatever the fleet looked like before. */
static void moves_do_not_depend_on_history(void **state)
{
    struct plan_moves first, found;
    (void)state;

    for (unsigned seed = 0; seed < 50; seed++) {
        CLEANUP(plan_freep) struct plan *p = fleet("fgd", 3);
        struct plan_ask ask = ask_for(p, "7g.80gb");
        for (unsigned i = 0; i < seed; i++) { /* states that nobody is in any more */
            struct plan_gpu was = {.is_usable = true};
            was.busy.mask = (uint16_t)((i * 37 + 11) & 0x7f);
            plan_update_gpu(p, i % 3, &was);
        }
        for (unsigned g = 0; g < 3; g++) {
            struct plan_gpu gpu = {.is_usable = true, .movable_count = 1};
            gpu.movable[0] = (struct plan_movable){slice("1g.10gb", (int)(4 - g)), 1};
            mig_use_add(&h100, &gpu.busy, gpu.movable[0].slice.profile, 4 - g);
            plan_update_gpu(p, g, &gpu);
        }
        assert_int_equal(plan_find_moves(p, &ask, 1, &found), 0);
        first = seed ? first : found;
        assert_int_equal(found.spot.gpu_id, first.spot.gpu_id);
        assert_int_equal(found.moves[0].to_gpu, first.moves[0].to_gpu);
        assert_int_equal(found.moves[0].to.start, first.moves[0].to.start);
    }
}

/* --- apply --- */

static void want(uint8_t wanted[MIG_PROFILES_MAX], const char *name, int count)
{
    wanted[mig_profile_by_name(&h100, name)] = (uint8_t)count;
}

static void a_diff_keeps_what_it_can(void **state)
{
    struct plan_diff_slice now[] = {
        {slice("3g.40gb", 0), false}, {slice("1g.10gb", 4), true}, {slice("1g.10gb", 5), false}};
    uint8_t wanted[MIG_PROFILES_MAX] = {0};
    struct plan_diff d;

    (void)state;
    want(wanted, "3g.40gb", 1);
    want(wanted, "1g.10gb", 1);
    want(wanted, "2g.20gb", 0);
    want(wanted, "1g.20gb", 1);
    assert_int_equal(plan_layout_diff(&h100, now, 3, wanted, &d, NULL), 0);
    assert_int_equal(d.keep, 3);
    assert_int_equal(d.destroy, 4);
    assert_int_equal(d.blocker, 0);
    assert_int_equal(d.create_count, 1);
    assert_string_equal(h100.profiles[d.create[0].profile].name, "1g.20gb");
    assert_int_equal(d.create[0].start, 6);
}

static void a_diff_names_its_blockers(void **state)
{
    struct plan_diff_slice now[] = {{slice("1g.10gb", 0), true}, {slice("1g.10gb", 4), true}};
    uint8_t wanted[MIG_PROFILES_MAX] = {0};
    struct plan_diff d = {.keep = 99};
    struct error err = {0};

    (void)state;
    want(wanted, "4g.40gb", 1);
    want(wanted, "1g.10gb", 2);
    assert_int_equal(plan_layout_diff(&h100, now, 2, wanted, &d, &err), -EBUSY);
    assert_int_equal(d.blocker, 1);
    assert_int_equal(d.keep, 2);
    memset(wanted, 0, sizeof(wanted));
    want(wanted, "4g.40gb", 2);
    d.keep = 99;
    assert_int_equal(plan_layout_diff(&h100, now, 2, wanted, &d, &err), -ENOSPC);
    assert_string_equal(err.msg, "2 x 4g.40gb are wanted on one GPU; at most 1 fit");
    assert_int_equal(d.keep, 99);
    memset(wanted, 0, sizeof(wanted));
    now[0].is_pinned = now[1].is_pinned = false;
    assert_int_equal(plan_layout_diff(&h100, now, 2, wanted, &d, &err), 0);
    assert_int_equal(d.destroy, 3);
    assert_int_equal(d.create_count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_slices_keep_the_large_windows_free),
        cmocka_unit_test(policies_do_what_their_names_say),
        cmocka_unit_test(wide_policies),
        cmocka_unit_test(spread_asks_for_the_emptiest),
        cmocka_unit_test(idle_slices_are_spared),
        cmocka_unit_test(reservations_are_left_alone),
        cmocka_unit_test(a_set_is_all_or_nothing),
        cmocka_unit_test(a_set_that_fits_is_found),
        cmocka_unit_test(the_mix_is_learned),
        cmocka_unit_test(a_slice_does_not_stay_alone),
        cmocka_unit_test(what_is_overdue_ends_now),
        cmocka_unit_test(moves_make_room),
        cmocka_unit_test(moves_do_not_depend_on_history),
        cmocka_unit_test(a_diff_keeps_what_it_can),
        cmocka_unit_test(a_diff_names_its_blockers),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
