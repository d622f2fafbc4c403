/* The tables: every model that can be simulated is consistent, and placement rules give what
 * NVIDIA publishes. */
#include "sim/model.h"
#include "sim/slice.h"
#include "sim_fixture.h"
#include <string.h>

static void check_model(const struct sim_model *m)
{
    const struct sim_gi_profile *whole = sim_model_whole(m);
    assert_non_null(whole);
    assert_int_equal(whole->starts[0], 0);
    assert_true(whole->memory_mib <= m->memory_mib);
    assert_true(whole->sms <= m->sms);
    for (int i = 0; i < m->gi_count; i++) {
        const struct sim_gi_profile *p = &m->gis[i];
        assert_true(p->decoders <= whole->decoders && p->ofas <= whole->ofas);
        assert_int_equal(m->slots % p->size, 0);
        struct sim_state state = {.mig_mode = 1};
        assert_true(slice_gi_room(m, &state, i) >= 1);
        assert_true((int)slice_gi_room(m, &state, i) <= p->count);
        for (int k = 0; k < p->start_count; k++) {
            /* Every window has an id of its own among windows of its size. */
            unsigned int id = slice_gi_id(m, false, p->starts[k], p->size);
            assert_true(id < SIM_MAX_GI);
            assert_true(slice_gi_id(m, true, p->starts[k], p->size) < SIM_MAX_GI);
        }
        bool has_full = false;
        for (int k = 0; k < p->ci_count; k++) {
            has_full = has_full || p->cis[k].slices == p->slices;
            assert_true(p->cis[k].sms <= p->sms);
        }
        assert_true(has_full);
    }
}

static void test_tables(void **state)
{
    (void)state;
    unsigned int able = 0;
    assert_int_equal(sim_model_count, 37);
    for (unsigned int i = 0; i < sim_model_count; i++) {
        assert_ptr_equal(sim_model_find(sim_models[i].key), &sim_models[i]);
        if (!sim_models[i].lacks[0] && sim_model_has_mig(&sim_models[i])) {
            check_model(&sim_models[i]);
            able++;
        }
    }
    assert_true(able >= 20);
    assert_null(sim_model_find("H100"));
}

/* Walks every set of windows of the five classic profiles, counting states and those to which
 * nothing can be added. */
struct walk {
    const struct sim_model *m;
    int profile[8], count;
    unsigned int states, maximal;
};

static void walk(struct walk *w, const struct sim_state *at, int from)
{
    bool is_maximal = true;
    w->states++;
    int window = 0;
    for (int i = 0; i < w->count; i++) {
        const struct sim_gi_profile *p = &w->m->gis[w->profile[i]];
        for (int k = 0; k < p->start_count; k++, window++) {
            struct sim_state next = *at;
            unsigned int id = 0;
            if (slice_gi_create(w->m, false, &next, w->profile[i], p->starts[k], &id) != 0) {
                continue;
            }
            is_maximal = false;
            if (window >= from) {
                walk(w, &next, window + 1); /* each set once, in ascending order */
            }
        }
    }
    w->maximal += is_maximal;
}

static void check_layouts(const int *ids, int count, unsigned int states, unsigned int maximal)
{
    struct walk w = {.m = sim_model_find("A100-SXM4-40GB"), .count = count};
    for (int i = 0; i < count; i++) {
        w.profile[i] = sim_model_gi_by_id(w.m, (unsigned int)ids[i]);
        assert_true(w.profile[i] >= 0);
    }
    struct sim_state empty = {.mig_mode = 1};
    walk(&w, &empty, 0);
    assert_int_equal(w.states, states);
    assert_int_equal(w.maximal, maximal);
}

/* NVIDIA publishes 19 layouts; they are reached through 298 states.  With the double-memory
 * profile it is 78 and 723. */
static void test_published_layouts(void **state)
{
    (void)state;
    check_layouts((const int[]){19, 14, 9, 5, 0}, 5, 298, 19);
    check_layouts((const int[]){19, 14, 9, 5, 0, 15}, 6, 723, 78);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tables),
        cmocka_unit_test(test_published_layouts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
