/* Bounds: no better than trying everything says, and as good as the programs they stand for. */
#include "draw.h"
#include "base/cleanup.h"
#include "plan/lp.h"
#include "plan/pack.h"
#include "replay/blocking.h"
#include "replay/clairvoyant.h"
#include "replay/shuffle.h"
#include "replay/trace.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* --- a fleet and kinds of request on it --- */

struct scene {
    struct replay_fleet fleet;
    size_t kinds;
    struct plan_ask asks[REPLAY_KINDS_MAX];
    struct replay_polytope *polytope;
};

static void scene_init(struct scene *s, const char *fleet, const char *const *wants)
{
    CLEANUP(plan_freep) struct plan *plan = plan_new(NULL);
    struct error err = {0};
    int class_id = 0;

    memset(s, 0, sizeof(*s));
    assert_int_equal(replay_fleet_parse(fleet, &s->fleet, &err), 0);
    for (int i = 0; i < s->fleet.count; i++) {
        assert_int_equal(plan_add_class(plan, &s->fleet.groups[i].geometry, &class_id, &err), 0);
    }
    for (; wants[s->kinds]; s->kinds++) {
        struct mig_want want;
        assert_int_equal(mig_want_parse(wants[s->kinds], &want, &err), 0);
        assert_int_equal(plan_ask_resolve(plan, &want, &s->asks[s->kinds], &err), 0);
    }
    assert_int_equal(replay_polytope_new(&s->fleet, s->asks, s->kinds, &s->polytope, &err), 0);
}

static void scene_done(struct scene *s)
{
    replay_polytope_free(s->polytope);
}

struct gpus {
    int count;
    int class_of[8];
    struct mig_use use[8];
};

static struct gpus empty_gpus(const struct scene *s)
{
    struct gpus g = {0};

    for (int c = 0; c < s->fleet.count; c++) {
        for (uint32_t i = 0; i < s->fleet.groups[c].gpus; i++) {
            g.class_of[g.count++] = c;
        }
    }
    return g;
}

/* Can the fleet hold these counts?  Tries everything. */
static bool packs(const struct scene *s, struct gpus *g, uint32_t *left)
{
    size_t q = 0;

    while (q < s->kinds && !left[q]) {
        q++;
    }
    if (q == s->kinds) {
        return true;
    }
    left[q]--;
    for (int i = 0; i < g->count; i++) {
        const struct mig_geometry *x = &s->fleet.groups[g->class_of[i]].geometry;
        int p = s->asks[q].profile[g->class_of[i]];
        for (int at = 0; p >= 0 && at < x->slots; at++) {
            if (!mig_fits(x, &g->use[i], p, at)) {
                continue;
            }
            mig_use_add(x, &g->use[i], p, at);
            bool ok = packs(s, g, left);
            mig_use_remove(x, &g->use[i], p, at);
            if (ok) {
                left[q]++;
                return true;
            }
        }
    }
    left[q]++;
    return false;
}

static bool can_hold(const struct scene *s, const uint32_t *counts)
{
    uint32_t left[REPLAY_KINDS_MAX];
    struct gpus g = empty_gpus(s);

    memcpy(left, counts, sizeof(left));
    return packs(s, &g, left);
}

static const char *const h100_kinds[] = {"1g.10gb", "1g.20gb", "2g.20gb", "3g.40gb",
                                         "4g.40gb", "7g.80gb", NULL};
static const char *const any_kinds[] = {"1g", "2g", "4g", "memory=12GiB", NULL};
static const char *const engine_kinds[] = {"1g", "1g+me", "2g", "3g", NULL};

/* --- the polytope --- */

static void whatever_fits_lies_inside(void **state)
{
    static const struct {
        const char *fleet;
        const char *const *kinds;
    } cases[] = {{"H100-SXM5-80GB:2", h100_kinds},
                 {"H100-SXM5-80GB:1,A30:1", any_kinds},
                 {"A100-SXM4-40GB:2", engine_kinds}};
    int fits = 0, fails = 0;

    (void)state;
    replay_random_seed(&rnd, 11);
    for (size_t k = 0; k < ARRAY_SIZE(cases); k++) {
        struct scene s;
        scene_init(&s, cases[k].fleet, cases[k].kinds);
        for (int round = 0; round < 300; round++) {
            uint32_t counts[REPLAY_KINDS_MAX] = {0};
            double n[REPLAY_KINDS_MAX] = {0};
            struct replay_face face;
            for (uint32_t i = 1 + draw(8); i > 0; i--) {
                uint32_t q = draw((uint32_t)s.kinds);
                counts[q]++;
                n[q]++;
            }
            double stretch = replay_polytope_stretch(s.polytope, n, &face), load = 0;
            for (size_t q = 0; q < s.kinds; q++) {
                load += face.price[q] * n[q];
            }
            assert_true(fabs(load * stretch - 1) < 1e-6); /* the face is where the stretch ends */
            bool ok = can_hold(&s, counts);
            assert_true(!ok || stretch > 1 - 1e-9);
            fits += ok;
            fails += stretch < 1 - 1e-9;
        }
        scene_done(&s);
    }
    assert_true(fits > 200 && fails > 100);
}

/* The four faces of the eight-slot models: compute slices, memory slots, places of 2g (three on a
 * GPU), and left halves. */
static void the_faces_are_those_known(void **state)
{
    static const double known[][6] = {
        {1, 1, 2, 3, 4, 7}, {1, 2, 2, 4, 4, 8}, {0, 0, 1, 1, 2, 3}, {0, 0, 0, 0, 1, 1}};
    struct replay_face faces[64];
    struct scene s;

    (void)state;
    scene_init(&s, "H100-SXM5-80GB:5", h100_kinds);
    size_t count = replay_polytope_faces(s.polytope, faces, ARRAY_SIZE(faces));
    assert_int_equal(count, ARRAY_SIZE(known));
    for (size_t i = 0; i < count; i++) {
        int found = 0;
        for (size_t f = 0; f < count; f++) {
            double off = 0;
            for (int q = 0; q < 6; q++) {
                off = fmax(off, fabs(faces[f].price[q] * 5 * known[i][5] - known[i][q]));
            }
            found += off < 1e-6;
        }
        assert_int_equal(found, 1);
    }
    scene_done(&s);
}

/* --- clairvoyant --- */

#define VISITS 10

/* The best set of visits: at every arrival those chosen that are present must fit together. */
static double try_all(const struct scene *s, const struct replay_visit *v, size_t count)
{
    double best = 0;

    for (uint32_t set = 0; set < 1u << count; set++) {
        double value = 0;
        bool ok = true;
        for (size_t j = 0; j < count; j++) {
            value += set >> j & 1 ? v[j].weight : 0;
        }
        for (size_t t = 0; value > best && ok && t < count; t++) {
            uint32_t counts[REPLAY_KINDS_MAX] = {0};
            for (size_t j = 0; j < count; j++) {
                bool is_there = v[j].from <= v[t].from && v[t].from < v[j].to;
                counts[v[j].kind] += (set >> j & 1) && is_there;
            }
            ok = can_hold(s, counts);
        }
        best = ok && value > best ? value : best;
    }
    return best;
}

static void draw_visits(const struct scene *s, struct replay_visit *v, size_t count, uint32_t stay)
{
    int64_t now = 0;

    for (size_t j = 0; j < count; j++) {
        now += draw(3);
        v[j] = (struct replay_visit){now, now + draw(stay), draw((uint32_t)s->kinds), 1 + draw(4)};
    }
}

static void nobody_accepts_more_than_the_clairvoyant(void **state)
{
    static const struct {
        const char *fleet;
        const char *const *kinds;
    } cases[] = {{"H100-SXM5-80GB:1", h100_kinds},
                 {"A30:1", any_kinds},
                 {"H100-SXM5-80GB:1,A30:1", any_kinds},
                 {"A100-SXM4-40GB:1", engine_kinds}};
    double best = 0, bound = 0;

    (void)state;
    replay_random_seed(&rnd, 12);
    for (int round = 0; round < 60; round++) {
        struct replay_visit v[VISITS];
        struct replay_clairvoyant c;
        struct scene s;
        scene_init(&s, cases[round % 4].fleet, cases[round % 4].kinds);
        draw_visits(&s, v, VISITS, 12);
        double most = try_all(&s, v, VISITS);
        replay_clairvoyant_bound(s.polytope, s.kinds, v, VISITS, 1e-4, 20000, &c);
        assert_true(c.value >= most - 1e-6);
        assert_true(c.attained <= c.value + 1e-9);
        assert_true(c.value - c.attained <= 2e-4 * c.value);
        best += most;
        bound += c.value;
        scene_done(&s);
    }
    assert_true(bound < 1.1 * best); /* and it is not far off */
}

/* Rows of planning's program at one arrival: counts are those of the visits present.  Extra
 * variables: o (3g in left halves), z (1g-double in full pairs), y (full pairs for 1g), v (weak
 * pairs for 1g). */
static void fill_rows(struct plan_lp *lp, size_t first_row, size_t first_col, double gpus,
                      const struct replay_visit *v, size_t count, int64_t now)
{
    static const int of_kind[6][6] = {/* 1g, 1g-double, 2g, 3g, 4g, 7g in each row */
                                      {0, 0, 0, 0, 1, 1},   /* left halves: n7 + n4 + o <= M */
                                      {0, 0, 0, 1, 0, 1},   /* right ones: n7 + n3 - o <= M */
                                      {0, 0, 1, 1, 2, 3},   /* full pairs: ... + o + z + y <= 3 M */
                                      {0, 1, 0, 1, 0, 1},   /* weak pairs: ... - o - z + v <= M */
                                      {1, 0, 0, 0, 0, 0},   /* 1g: n1 - 2 y - v <= 0 */
                                      {0, -1, 0, 0, 0, 0}}; /* z <= n1d */
    static const int extra[6][4] = {{1, 0, 0, 0},   {-1, 0, 0, 0},  {1, 1, 1, 0},
                                    {-1, -1, 0, 1}, {0, 0, -2, -1}, {0, 1, 0, 0}};
    const double most[6] = {gpus, gpus, 3 * gpus, gpus, 0, 0};

    for (size_t i = 0; i < 6; i++) {
        double *row = &lp->a[(first_row + i) * lp->cols];
        for (size_t j = 0; j < count; j++) {
            bool is_there = v[j].from <= now && now < v[j].to;
            row[j] = is_there ? of_kind[i][v[j].kind] : 0;
        }
        for (size_t e = 0; e < 4; e++) {
            row[first_col + e] = extra[i][e];
        }
        lp->b[first_row + i] = most[i];
    }
}

static double solve_directly(double gpus, const struct replay_visit *v, size_t count)
{
    struct plan_lp lp = plan_lp_new(7 * count, 5 * count);
    CLEANUP(freep) double *x = xcalloc(lp.cols, sizeof(*x));
    double value = 0;

    for (size_t t = 0; t < count; t++) {
        lp.c[t] = v[t].weight;
        lp.a[t * lp.cols + t] = 1;
        lp.b[t] = 1;
        fill_rows(&lp, count + 6 * t, count + 4 * t, gpus, v, count, v[t].from);
    }
    assert_int_equal(plan_lp_solve(&lp, &value, x, NULL), 0);
    plan_lp_done(&lp);
    return value;
}

static void the_iteration_reaches_the_optimum(void **state)
{
    int binding = 0;

    (void)state;
    replay_random_seed(&rnd, 13);
    for (int round = 0; round < 20; round++) {
        struct replay_visit v[40];
        struct replay_clairvoyant c;
        struct scene s;
        double all = 0;
        scene_init(&s, round % 2 ? "H100-SXM5-80GB:3" : "H100-SXM5-80GB:1", h100_kinds);
        draw_visits(&s, v, 40, 30);
        double exact = solve_directly(s.fleet.gpus, v, 40);
        replay_clairvoyant_bound(s.polytope, s.kinds, v, 40, 1e-4, 50000, &c);
        for (int j = 0; j < 40; j++) {
            all += v[j].weight;
        }
        assert_true(c.value >= exact - 1e-6);
        assert_true(c.value <= exact * (1 + 2e-4));
        binding += exact < all - 1e-6;
        scene_done(&s);
    }
    assert_true(binding > 15);
}

static void it_holds_however_soon_it_stops(void **state)
{
    struct replay_visit v[40];
    struct scene s;

    (void)state;
    replay_random_seed(&rnd, 14);
    scene_init(&s, "H100-SXM5-80GB:2", h100_kinds);
    draw_visits(&s, v, 40, 30);
    double exact = solve_directly(2, v, 40);
    for (uint32_t rounds = 0; rounds <= 200; rounds += 50) {
        struct replay_clairvoyant c;
        replay_clairvoyant_bound(s.polytope, s.kinds, v, 40, 0, rounds, &c);
        assert_true(c.value >= exact - 1e-6);
    }
    scene_done(&s);
}

/* Many kinds on several models: questions about faces are dear, and there is no end of them. */
static void the_search_for_faces_ends(void **state)
{
    CLEANUP(replay_trace_done) struct replay_trace t = {0};
    const char *wants[REPLAY_KINDS_MAX] = {NULL};
    struct replay_clairvoyant c;
    struct error err = {0};
    struct scene s;

    (void)state;
    assert_int_equal(replay_trace_read(TANGRAM_SOURCE_DIR "/tests/data/replay/many_kinds.csv", &t,
                                       &err), 0);
    for (uint32_t i = 0; i < t.profile_count; i++) {
        wants[i] = t.profiles[i];
    }
    scene_init(&s, "A100-SXM4-40GB:1,A30:1,RTX-PRO-6000-BSE:1,H200-SXM5-141GB:1", wants);
    CLEANUP(freep) struct replay_visit *v = xcalloc(t.count, sizeof(*v));
    for (size_t i = 0; i < t.count; i++) {
        const struct replay_job *j = &t.jobs[i];
        v[i] = (struct replay_visit){j->arrival_ms, j->arrival_ms + j->duration_ms, j->profile, 1};
    }
    replay_clairvoyant_bound(s.polytope, s.kinds, v, t.count, 2e-4, 2000, &c);
    assert_true(c.value >= c.attained && c.attained > 0);
    assert_true(replay_polytope_work(s.polytope) < 2.2 * REPLAY_FACES_WORK);
    scene_done(&s);
}

static void edge_cases(void **state)
{
    struct replay_clairvoyant c;
    struct scene s;

    (void)state;
    scene_init(&s, "H100-SXM5-80GB:1", h100_kinds);
    replay_clairvoyant_bound(s.polytope, s.kinds, NULL, 0, 1e-4, 1000, &c);
    assert_true(c.value == 0);
    /* Those who take no time are free; two 7g at once are one too many. */
    const struct replay_visit v[] = {{0, 0, 5, 3}, {0, 10, 5, 1}, {0, 10, 5, 1}, {10, 20, 5, 1}};
    replay_clairvoyant_bound(s.polytope, s.kinds, v, 4, 1e-6, 20000, &c);
    assert_true(fabs(c.value - 5) < 1e-3);
    scene_done(&s);
}

/* --- everything moves, on several models --- */

/* Every way to share them out among the models; each model's share by the closed form, which
 * test_plan_pack.c holds against trying everything. */
static bool can_share(const struct scene *s, const uint32_t *counts, size_t kind, int model,
                      uint32_t left, uint32_t share[REPLAY_GROUPS_MAX][MIG_PROFILES_MAX])
{
    if (kind == s->kinds) {
        return true;
    }
    if (model == s->fleet.count) {
        return !left && can_share(s, counts, kind + 1, 0,
                                  kind + 1 < s->kinds ? counts[kind + 1] : 0, share);
    }
    const struct replay_group *g = &s->fleet.groups[model];
    int p = s->asks[kind].profile[model];
    uint32_t n = 0;
    bool fits = true, is_found = false;
    while (!is_found && fits) {
        is_found = can_share(s, counts, kind, model + 1, left - n, share);
        if (is_found || p < 0 || n == left) {
            break;
        }
        n++;
        share[model][p]++;
        fits = plan_pack_fits(&g->geometry, share[model], g->gpus);
    }
    if (p >= 0) {
        share[model][p] -= n;
    }
    return is_found;
}

static void a_shuffle_agrees_with_trying_everything(void **state)
{
    static const char *const fleets[] = {
        "H100-SXM5-80GB:1,A30:1", "A100-SXM4-40GB:1,H100-SXM5-80GB:1", "A30:2,RTX-PRO-6000-BSE:1",
        "A30:1,H100-SXM5-80GB:1,A30:1"};
    unsigned fits = 0, fails = 0;

    (void)state;
    replay_random_seed(&rnd, 21);
    for (int round = 0; round < 40; round++) {
        CLEANUP(replay_shuffle_freep) struct replay_shuffle *shuffle = NULL;
        uint32_t counts[REPLAY_KINDS_MAX] = {0};
        struct error err = {0};
        struct scene s;
        scene_init(&s, fleets[round % 4], any_kinds);
        assert_int_equal(replay_shuffle_new(&s.fleet, s.asks, s.kinds, s.polytope, &shuffle, &err),
                         0);
        for (int i = 0; i < 60; i++) {
            uint32_t q = draw((uint32_t)s.kinds);
            if (counts[q] && draw(3) == 0) {
                replay_shuffle_remove(shuffle, q);
                counts[q]--;
                continue;
            }
            counts[q]++;
            uint32_t share[REPLAY_GROUPS_MAX][MIG_PROFILES_MAX] = {{0}};
            int r = replay_shuffle_add(shuffle, q);
            assert_int_equal(r, can_share(&s, counts, 0, 0, counts[0], share));
            counts[q] -= r != 1;
            fits += r == 1;
            fails += r != 1;
        }
        scene_done(&s);
    }
    assert_true(fits > 300 && fails > 300);
}

/* Where variants compete for an engine there is no closed form, and nothing is claimed. */
static void a_shuffle_wants_closed_forms(void **state)
{
    struct replay_shuffle *shuffle = NULL;
    struct error err = {0};
    struct scene s;

    (void)state;
    scene_init(&s, "A100-SXM4-40GB:1,A30:1", engine_kinds);
    assert_int_equal(replay_shuffle_new(&s.fleet, s.asks, s.kinds, s.polytope, &shuffle, &err),
                     -ENOTSUP);
    assert_null(shuffle);
    scene_done(&s);
}

/* --- blocking --- */

struct direct {
    const struct mig_geometry *g;
    uint32_t gpus;
    const double *load;
    double all, accepted[MIG_PROFILES_MAX];
};

/* Every packable vector of counts, one by one. */
static void sum_directly(struct direct *d, int profile, uint32_t *counts, double weight)
{
    if (profile == d->g->profile_count) {
        d->all += weight;
        for (int p = 0; p < d->g->profile_count; p++) {
            counts[p]++;
            d->accepted[p] += d->load[p] > 0 && plan_pack_fits(d->g, counts, d->gpus) ? weight : 0;
            counts[p]--;
        }
        return;
    }
    for (uint32_t n = 0; plan_pack_fits(d->g, counts, d->gpus); n++) {
        sum_directly(d, profile + 1, counts, weight);
        if (d->load[profile] <= 0) {
            break;
        }
        weight *= d->load[profile] / (n + 1);
        counts[profile]++;
    }
    counts[profile] = 0;
}

static void blocking_is_the_sum_over_all_states(void **state)
{
    static const char *const models[] = {"H100-SXM5-80GB", "A30", "RTX-PRO-6000-BSE"};

    (void)state;
    replay_random_seed(&rnd, 15);
    for (int round = 0; round < 18; round++) {
        struct mig_geometry g;
        double load[MIG_PROFILES_MAX] = {0}, accepted[MIG_PROFILES_MAX];
        uint32_t counts[MIG_PROFILES_MAX] = {0};
        assert_int_equal(replay_model_geometry(models[round % 3], &g, NULL), 0);
        for (int p = 0; p < g.profile_count; p++) {
            load[p] = strpbrk(g.profiles[p].name, "+-") ? 0 : 0.1 + draw(30) / 10.0;
        }
        struct direct d = {.g = &g, .gpus = 1 + (uint32_t)round / 9, .load = load};
        assert_true(replay_blocking_accepted(&g, d.gpus, load, accepted));
        sum_directly(&d, 0, counts, 1);
        for (int p = 0; p < g.profile_count; p++) {
            assert_true(load[p] <= 0 || fabs(accepted[p] - d.accepted[p] / d.all) < 1e-9);
        }
    }
}

/* One kind that takes a whole GPU: Erlang's formula. */
static void blocking_of_one_kind_is_erlangs(void **state)
{
    struct mig_geometry g;
    double load[MIG_PROFILES_MAX] = {0}, accepted[MIG_PROFILES_MAX], b = 1;

    (void)state;
    assert_int_equal(replay_model_geometry("H100-SXM5-80GB", &g, NULL), 0);
    int p = mig_profile_by_name(&g, "7g.80gb");
    load[p] = 50;
    for (int n = 1; n <= 60; n++) {
        b = 50 * b / (n + 50 * b);
    }
    assert_true(replay_blocking_accepted(&g, 60, load, accepted));
    assert_true(fabs(accepted[p] - (1 - b)) < 1e-12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_fits_lies_inside),
        cmocka_unit_test(the_faces_are_those_known),
        cmocka_unit_test(nobody_accepts_more_than_the_clairvoyant),
        cmocka_unit_test(the_iteration_reaches_the_optimum),
        cmocka_unit_test(it_holds_however_soon_it_stops),
        cmocka_unit_test(the_search_for_faces_ends),
        cmocka_unit_test(edge_cases),
        cmocka_unit_test(a_shuffle_agrees_with_trying_everything),
        cmocka_unit_test(a_shuffle_wants_closed_forms),
        cmocka_unit_test(blocking_is_the_sum_over_all_states),
        cmocka_unit_test(blocking_of_one_kind_is_erlangs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
