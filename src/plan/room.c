/* Room by slots and engines, each alone.  The rows follow from the table of profiles. */
#include "plan/room.h"
#include "plan/fleet.h"
#include "plan/moves.h"
#include <limits.h>
#include <string.h>

/* Windows of one size, from the left: so as many as there can be. */
static int count_places(const struct mig_geometry *g, uint16_t mask, int profile)
{
    const struct mig_profile *row = &g->profiles[profile];
    int n = 0;

    for (int k = 0; k < row->start_count; k++) {
        uint16_t window = mig_window(g, profile, row->starts[k]);
        if (!(mask & window)) {
            mask |= window;
            n++;
        }
    }
    return n;
}

static bool is_new_window(const struct mig_geometry *g, int profile)
{
    for (int p = 0; p < profile; p++) {
        if (g->start_mask[p] == g->start_mask[profile] &&
            g->window_mask[p] == g->window_mask[profile]) {
            return false;
        }
    }
    return g->profiles[profile].start_count > 0;
}

/* The fewest places of a row that a slice of the profile covers, wherever it stands. */
static unsigned least_taken(const struct mig_geometry *g, int profile, int row)
{
    const struct mig_profile *p = &g->profiles[profile];
    int least = p->start_count ? INT_MAX : 0;

    for (int k = 0; k < p->start_count; k++) {
        uint16_t others = (uint16_t)~mig_window(g, profile, p->starts[k]);
        int n = count_places(g, others, row);
        least = n < least ? n : least;
    }
    return (unsigned)least;
}

static void add_windows(const struct mig_geometry *g, struct plan_room_class *c)
{
    for (int q = 0; q < g->profile_count && c->rows < PLAN_ROOM_ROWS - MIG_ENGINE_COUNT - 1; q++) {
        if (is_new_window(g, q)) {
            for (int p = 0; p < g->profile_count; p++) {
                c->takes[p][c->rows] = (uint8_t)least_taken(g, p, q);
            }
            c->of[c->rows++] = (uint8_t)q;
        }
    }
    c->windows = c->rows;
    for (int p = 0; p < g->profile_count; p++) {
        c->takes[p][c->rows] = g->profiles[p].size;
    }
    c->rows++;
}

static void add_engines(const struct mig_geometry *g, const struct mig_profile *ask,
                        struct plan_room_class *c)
{
    for (int e = 0; e < MIG_ENGINE_COUNT; e++) {
        unsigned unit = ask->engines[e];
        if (!unit || g->engine_total[e] / unit >= (unsigned)g->slots / ask->size) {
            continue;
        }
        for (int p = 0; p < g->profile_count; p++) {
            c->takes[p][c->rows] = (uint8_t)(g->profiles[p].engines[e] / unit);
        }
        c->unit[c->rows] = (uint16_t)unit;
        c->of[c->rows++] = (uint8_t)e;
    }
}

void plan_room_places(const struct plan_room *room, int class_id, const struct mig_use *use,
                      int8_t ret[PLAN_ROOM_ROWS])
{
    const struct mig_geometry *g = &room->plan->classes[class_id]->index.geometry;
    const struct plan_room_class *c = &room->classes[class_id];
    uint16_t free_slots = (uint16_t)(~use->mask & ((1u << g->slots) - 1));
    unsigned i = 0;

    for (; i < c->windows; i++) {
        ret[i] = (int8_t)count_places(g, use->mask, c->of[i]);
    }
    ret[i++] = (int8_t)mig_count_slots(free_slots);
    for (; i < c->rows; i++) {
        unsigned total = g->engine_total[c->of[i]], used = use->engines[c->of[i]];
        ret[i] = (int8_t)(used < total ? (total - used) / c->unit[i] : 0);
    }
}

/* So many GPUs in this state, with these slots left alone. */
static void add_gpus(struct plan_room *room, int class_id, const struct mig_use *busy, uint16_t out,
                     int count)
{
    const struct mig_geometry *g = &room->plan->classes[class_id]->index.geometry;
    struct plan_room_class *c = &room->classes[class_id];
    int profile = room->ask->profile[class_id];
    int8_t places[PLAN_ROOM_ROWS] = {0};
    struct mig_use use = *busy;

    room->gpus += (unsigned)count;
    mig_use_block(&use, out);
    plan_room_places(room, class_id, &use, places);
    for (unsigned i = 0; i < c->rows; i++) {
        c->left[i] += count * places[i];
    }
    if (profile >= 0) {
        room->now += (unsigned)(count * mig_remaining(g, &use, profile));
    }
}

static void count_class(struct plan_room *room, int class_id)
{
    const struct plan_index *x = &room->plan->classes[class_id]->index;

    add_windows(&x->geometry, &room->classes[class_id]);
    if (room->ask->profile[class_id] >= 0) {
        add_engines(&x->geometry, &x->geometry.profiles[room->ask->profile[class_id]],
                    &room->classes[class_id]);
    }
    for (uint32_t s = 0; s < x->state_count; s++) {
        if (x->states[s].count) {
            add_gpus(room, class_id, &x->states[s].busy, 0, (int)x->states[s].count);
        }
    }
}

void plan_room_count(const struct plan *p, const struct plan_ask *ask, struct plan_room *ret)
{
    *ret = (struct plan_room){.plan = p, .ask = ask};
    for (int c = 0; c < p->class_count; c++) {
        count_class(ret, c);
    }
    for (size_t i = 0; i < ask->excluded_count; i++) {
        const struct plan_exclusion *out = &ask->excluded[i];
        if (plan_has_gpu(p, out->gpu_id) && plan_is_usable(p, out->gpu_id)) {
            int c = plan_gpu_class(p, out->gpu_id);
            add_gpus(ret, c, plan_gpu_busy(p, out->gpu_id), 0, -1);
            add_gpus(ret, c, plan_gpu_busy(p, out->gpu_id), out->mask, 1);
        }
    }
}

unsigned plan_room_most(const struct plan_room *room)
{
    unsigned sum = 0;

    for (int k = 0; k < room->plan->class_count; k++) {
        const struct plan_room_class *c = &room->classes[k];
        int profile = room->ask->profile[k];
        int most = INT_MAX;
        for (unsigned i = 0; i < c->rows; i++) {
            int takes = profile < 0 ? 0 : c->takes[profile][i];
            if (c->left[i] < 0) {
                return 0;
            }
            most = takes && c->left[i] / takes < most ? c->left[i] / takes : most;
        }
        sum += profile < 0 ? 0 : (unsigned)most;
    }
    return sum;
}
