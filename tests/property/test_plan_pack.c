/* Packing: the closed form, the search and an exhaustive packer must agree. */
#include "draw.h"
#include "base/cleanup.h"
#include "plan/batch.h"
#include "plan/pack.h"
#include "replay/models.h"
#include "replay/pack.h"
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct packer {
    const struct mig_geometry *g;
    struct mig_use use[8];
    int gpus;
    uint32_t left[MIG_PROFILES_MAX];
};

/* Tries everything: the first slice still wanted on every GPU at every start. */
static bool packs(struct packer *k)
{
    int p = k->g->profile_count - 1;

    while (p >= 0 && !k->left[p]) {
        p--;
    }
    if (p < 0) {
        return true;
    }
    k->left[p]--;
    for (int i = 0; i < k->gpus; i++) {
        for (int s = 0; s < k->g->slots; s++) {
            if (!mig_fits(k->g, &k->use[i], p, s)) {
                continue;
            }
            mig_use_add(k->g, &k->use[i], p, s);
            bool ok = packs(k);
            mig_use_remove(k->g, &k->use[i], p, s);
            if (ok) {
                k->left[p]++;
                return true;
            }
        }
        if (!k->use[i].mask) {
            break; /* all empty GPUs are alike */
        }
    }
    k->left[p]++;
    return false;
}

static uint32_t exhaustive(const struct mig_geometry *g, const uint32_t counts[MIG_PROFILES_MAX])
{
    for (int gpus = 0; gpus <= 8; gpus++) {
        struct packer k = {.g = g, .gpus = gpus};
        memcpy(k.left, counts, sizeof(k.left));
        if (packs(&k)) {
            return (uint32_t)gpus;
        }
    }
    fail_msg("more than 8 GPUs");
    return 0;
}

static void check_counts(const struct mig_geometry *g, const uint32_t *counts, bool by_hand)
{
    struct replay_pack closed = {0}, search = {0};
    struct error err = {0};

    assert_int_equal(replay_pack_solve(g, counts, true, 500, &closed, &err), 0);
    assert_int_equal(replay_pack_solve(g, counts, false, 500, &search, &err), 0);
    assert_int_equal(closed.gpus, closed.least);
    assert_int_equal(search.gpus, search.least); /* proven */
    assert_int_equal(closed.gpus, search.gpus);
    assert_true(closed.area_bound <= closed.gpus);
    if (by_hand) {
        assert_int_equal(closed.gpus, exhaustive(g, counts));
    }
}

static void small_sets_agree_with_trying_everything(void **state)
{
    static const char *const models[] = {"H100-SXM5-80GB", "A100-SXM4-40GB", "A30",
                                         "RTX-PRO-6000-BSE"};
    (void)state;
    replay_random_seed(&rnd, 5);
    for (int round = 0; round < 600; round++) {
        struct mig_geometry g;
        uint32_t counts[MIG_PROFILES_MAX] = {0};
        assert_int_equal(replay_model_geometry(models[round % 4], &g, NULL), 0);
        for (uint32_t n = draw(9); n > 0; n--) {
            counts[draw(g.profile_count)]++;
        }
        check_counts(&g, counts, true);
    }
}

static void large_sets_agree(void **state)
{
    int closed = 0;

    (void)state;
    replay_random_seed(&rnd, 6);
    for (int round = 0; round < 100; round++) {
        struct mig_geometry g;
        uint32_t counts[MIG_PROFILES_MAX] = {0};
        assert_int_equal(replay_model_geometry("H100-SXM5-80GB", &g, NULL), 0);
        for (int p = 0; p < g.profile_count; p++) {
            counts[p] = p == 1 && round % 2 ? 0 : draw(60); /* p 1 is +me */
        }
        closed += plan_pack_is_closed_form(&g, counts);
        check_counts(&g, counts, false);
    }
    assert_int_equal(closed, 50);
}

/* --- batches beside what is busy, on mixed fleets --- */

#define GPUS 5

struct scene {
    struct plan *plan;
    const struct mig_geometry *g[GPUS];
    int class_of[GPUS];
    struct plan_gpu gpu[GPUS];
    struct plan_batch_want wants[3];
    uint32_t left[3];
    uint32_t best; /* fewest opened: exhaustive */
};

static void search_all(struct scene *s, uint32_t opened)
{
    int w = 0;

    while (w < 3 && !s->left[w]) {
        w++;
    }
    if (opened >= s->best) {
        return;
    }
    if (w == 3) {
        s->best = opened;
        return;
    }
    s->left[w]--;
    for (int i = 0; i < GPUS; i++) {
        int p = s->wants[w].ask.profile[s->class_of[i]];
        for (int k = 0; p >= 0 && k < MIG_SLOTS_MAX; k++) {
            if (mig_fits(s->g[i], &s->gpu[i].busy, p, k)) {
                uint32_t more = !s->gpu[i].busy.mask;
                mig_use_add(s->g[i], &s->gpu[i].busy, p, k);
                search_all(s, opened + more);
                mig_use_remove(s->g[i], &s->gpu[i].busy, p, k);
            }
        }
    }
    s->left[w]++;
}

static void make_scene(struct scene *s)
{
    static const char *const models[] = {"H100-SXM5-80GB", "A30"};
    int classes[2];

    memset(s, 0, sizeof(*s));
    s->plan = plan_new(NULL);
    for (int i = 0; i < 2; i++) {
        struct mig_geometry g;
        assert_int_equal(replay_model_geometry(models[i], &g, NULL), 0);
        assert_int_equal(plan_add_class(s->plan, &g, &classes[i], NULL), 0);
    }
    for (uint32_t i = 0; i < GPUS; i++) {
        s->class_of[i] = classes[draw(2)];
        s->g[i] = plan_class_geometry(s->plan, s->class_of[i]);
        assert_int_equal(plan_add_gpu(s->plan, i, s->class_of[i], NULL), 0);
        s->gpu[i].is_usable = true;
        for (uint32_t n = draw(4); n > 0; n--) { /* pinned slices */
            int p = (int)draw(s->g[i]->profile_count), at = (int)draw(8);
            if (mig_fits(s->g[i], &s->gpu[i].busy, p, at)) {
                mig_use_add(s->g[i], &s->gpu[i].busy, p, at);
            }
        }
        int p = (int)draw(s->g[i]->profile_count), at = (int)draw(8);
        if (mig_fits(s->g[i], &s->gpu[i].busy, p, at)) {
            s->gpu[i].idle[s->gpu[i].idle_count++] = (struct mig_slice){(uint8_t)p, (uint8_t)at};
        }
        plan_update_gpu(s->plan, i, &s->gpu[i]);
    }
    for (int w = 0; w < 3; w++) {
        plan_ask_init(&s->wants[w].ask);
        for (int c = 0; c < 2; c++) {
            s->wants[w].ask.profile[c] =
                (int8_t)((int)draw(plan_class_geometry(s->plan, c)->profile_count + 1) - 1);
        }
        s->wants[w].count = s->left[w] = draw(3);
    }
    s->best = UINT32_MAX;
}

static void check_batch(struct scene *s, const struct plan_batch *b)
{
    uint32_t opened = 0, destroyed = 0, got[3] = {0};
    uint16_t gone[GPUS] = {0};
    bool is_open[GPUS];

    for (int i = 0; i < GPUS; i++) {
        is_open[i] = s->gpu[i].busy.mask != 0;
    }
    for (size_t i = 0; i < b->count; i++) {
        const struct plan_spot *t = &b->spots[i].spot;
        struct plan_gpu *gpu = &s->gpu[t->gpu_id];
        const struct mig_geometry *g = s->g[t->gpu_id];
        got[b->spots[i].want]++;
        assert_int_equal(t->slice.profile,
                         s->wants[b->spots[i].want].ask.profile[s->class_of[t->gpu_id]]);
        assert_true(mig_fits(g, &gpu->busy, t->slice.profile, t->slice.start));
        mig_use_add(g, &gpu->busy, t->slice.profile, t->slice.start);
        opened += !is_open[t->gpu_id];
        is_open[t->gpu_id] = true;
        gone[t->gpu_id] |= t->destroy;
        destroyed += (uint32_t)__builtin_popcount(t->destroy);
    }
    for (int i = 0; i < GPUS; i++) { /* idle slices are kept for us, untouched, or destroyed */
        for (int k = 0; k < s->gpu[i].idle_count; k++) {
            uint16_t w = mig_window(s->g[i], s->gpu[i].idle[k].profile, s->gpu[i].idle[k].start);
            bool kept = false;
            for (size_t n = 0; n < b->count; n++) {
                kept = kept || (b->spots[n].is_kept && b->spots[n].spot.gpu_id == (uint32_t)i &&
                                b->spots[n].spot.slice.start == s->gpu[i].idle[k].start);
            }
            assert_true(kept || !(w & s->gpu[i].busy.mask) || (gone[i] >> k & 1));
            assert_false(kept && (gone[i] >> k & 1));
        }
    }
    for (int w = 0; w < 3; w++) {
        assert_int_equal(got[w], s->wants[w].count);
    }
    assert_int_equal(opened, b->opened);
    assert_int_equal(destroyed, b->destroyed);
    assert_int_equal(opened, s->best);
}

static void batches_agree_with_trying_everything(void **state)
{
    int fits = 0, fails = 0;

    (void)state;
    replay_random_seed(&rnd, 7);
    for (int round = 0; round < 400; round++) {
        struct scene s;
        struct plan_batch b = {0};
        make_scene(&s);
        search_all(&s, 0);
        int r = plan_batch_place(s.plan, s.wants, 3, 1000, &b, NULL);
        if (s.best == UINT32_MAX) {
            assert_int_equal(r, -ENOSPC);
            fails++;
        } else {
            assert_int_equal(r, 0);
            assert_true(b.is_proven);
            check_batch(&s, &b);
            plan_batch_done(&b);
            fits++;
        }
        plan_free(s.plan);
    }
    assert_true(fits > 100 && fails > 30);
}

/* --- a fleet of 64 mixed GPUs --- */

#define FLEET 64
#define MODELS 4
#define KINDS 8
#define NODES_MAX 5000

struct fleet {
    struct plan *plan;
    const struct mig_geometry *g[MODELS];
    struct plan_batch_want wants[KINDS];
    unsigned free_slots;
};

static void pin(struct fleet *f, uint32_t gpu, int model)
{
    const struct mig_geometry *g = f->g[model];
    struct plan_gpu view = {.is_usable = true};

    for (uint32_t n = draw(4); n > 0; n--) {
        int p = (int)draw(g->profile_count), at = (int)draw(g->slots);
        if (mig_fits(g, &view.busy, p, at)) {
            mig_use_add(g, &view.busy, p, at);
        }
    }
    f->free_slots += g->slots - (unsigned)__builtin_popcount(view.busy.mask);
    plan_update_gpu(f->plan, gpu, &view);
}

static void make_fleet(struct fleet *f)
{
    static const char *const models[MODELS] = {"H100-SXM5-80GB", "A100-SXM4-40GB", "A30",
                                               "RTX-PRO-6000-BSE"};
    int classes[MODELS];

    memset(f, 0, sizeof(*f));
    f->plan = plan_new(NULL);
    for (int i = 0; i < MODELS; i++) {
        struct mig_geometry g;
        assert_int_equal(replay_model_geometry(models[i], &g, NULL), 0);
        assert_int_equal(plan_add_class(f->plan, &g, &classes[i], NULL), 0);
        f->g[i] = plan_class_geometry(f->plan, classes[i]);
    }
    for (uint32_t i = 0; i < FLEET; i++) {
        int model = (int)draw(MODELS);
        assert_int_equal(plan_add_gpu(f->plan, i, classes[model], NULL), 0);
        pin(f, i, model);
    }
}

/* Memory slots that one of the want takes where it takes least; 0: nobody has it. */
static unsigned least_size(const struct fleet *f, const struct plan_batch_want *w)
{
    unsigned least = 0;

    for (int c = 0; c < MODELS; c++) {
        unsigned size = w->ask.profile[c] < 0 ? 0 : f->g[c]->profiles[w->ask.profile[c]].size;
        least = size && (!least || size < least) ? size : least;
    }
    return least;
}

/* What people write, or any profile of each model; so many that they take about this share of the
 * free slots. */
static void draw_wants(struct fleet *f, bool is_written, unsigned percent)
{
    static const char *const texts[KINDS] = {"1g", "2g", "3g", "4g", "memory=20GiB", "1g+me",
                                             "memory=10GiB,compute=2", "7g"};
    unsigned slots = f->free_slots * percent / 100;

    for (int w = 0; w < KINDS; w++) {
        struct mig_want want;
        plan_ask_init(&f->wants[w].ask);
        if (is_written) {
            assert_int_equal(mig_want_parse(texts[w], &want, NULL), 0);
            assert_int_equal(plan_ask_resolve(f->plan, &want, &f->wants[w].ask, NULL), 0);
        }
        for (int c = 0; !is_written && c < MODELS; c++) {
            f->wants[w].ask.profile[c] = (int8_t)((int)draw(f->g[c]->profile_count + 1) - 1);
        }
    }
    for (unsigned misses = 0; misses < 20;) {
        struct plan_batch_want *w = &f->wants[draw(KINDS)];
        unsigned size = least_size(f, w);
        if (!size || size > slots) {
            misses++;
        } else {
            w->count++;
            slots -= size;
        }
    }
}

/* Within a second each, which so many linear programs do not take.  TANGRAM_ROUNDS=... for more,
 * and TANGRAM_ROUND=... for one of them alone.  Branching on columns only, the one of round 122 is
 * open after 2,000 programs. */
static void mixed_fleets_are_proven(void **state)
{
    static const unsigned percents[] = {20, 40, 50, 60, 70, 80, 90, 100};
    const char *text = getenv("TANGRAM_ROUNDS"), *seed = getenv("TANGRAM_SEED"),
               *only = getenv("TANGRAM_ROUND");
    unsigned rounds = text ? (unsigned)strtoul(text, NULL, 10) : 130, fits = 0, open = 0, nodes = 0;
    double slowest_ms = 0;

    (void)state;
    replay_random_seed(&rnd, seed ? strtoull(seed, NULL, 10) : 11);
    for (unsigned round = 0; round < rounds; round++) {
        struct fleet f;
        struct plan_batch b = {0};
        unsigned percent = percents[round % ARRAY_SIZE(percents)];
        make_fleet(&f);
        draw_wants(&f, round / ARRAY_SIZE(percents) % 2, percent);
        if (only && strtoul(only, NULL, 10) != round) {
            plan_free(f.plan);
            continue;
        }
        clock_t begun = clock();
        int r = plan_batch_place(f.plan, f.wants, KINDS, NODES_MAX, &b, NULL);
        double ms = 1e3 * (double)(clock() - begun) / CLOCKS_PER_SEC;
        bool is_open = r == -EAGAIN || (r == 0 && !b.is_proven);
        if (is_open || text) {
            print_message("round %u: %u %%, %d, opened %u of at least %u, %u programs, %.1f ms%s\n",
                          round, percent, r, b.opened, b.opened_least, b.nodes, ms,
                          is_open ? ", not proven" : "");
        }
        assert_true(r == 0 || r == -ENOSPC || r == -EAGAIN);
        fits += r == 0;
        open += is_open;
        nodes = b.nodes > nodes ? b.nodes : nodes;
        slowest_ms = ms > slowest_ms ? ms : slowest_ms;
        plan_batch_done(&b);
        plan_free(f.plan);
    }
    print_message("%u fit, %u do not, %u are open; at most %u programs, %.1f ms\n", fits,
                  rounds - fits - open, open, nodes, slowest_ms);
    assert_int_equal(open, 0);
    assert_true(fits * 3 > rounds);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_sets_agree_with_trying_everything),
        cmocka_unit_test(large_sets_agree),
        cmocka_unit_test(batches_agree_with_trying_everything),
        cmocka_unit_test(mixed_fleets_are_proven),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
