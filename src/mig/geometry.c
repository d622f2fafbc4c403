/* Windows, occupancy and layouts.
 *
 * Occupancy is one bit per memory slot.  Whether two instances may stand side by side is decided by
 * their windows and by engines: the sum of each engine over all instances is at most the GPU's
 * total.  The driver does not state the totals; every table known to us has a profile that owns
 * all of an engine, so the total is the largest number in the engine's column.  The limit of
 * compute slices needs no check: the windows imply it. */
#include "base/cleanup.h"
#include "mig/mig.h"
#include <assert.h>
#include <string.h>

static int check_name(const struct mig_geometry *g, int i, struct error *err)
{
    const struct mig_profile *p = &g->profiles[i];

    if (!p->name[0] || !memchr(p->name, '\0', sizeof(p->name))) {
        return err_set(err, EINVAL, "the driver's profile %d (id %u) has no usable name", i, p->id);
    }
    for (int k = 0; k < i; k++) {
        if (g->profiles[k].id == p->id) {
            return err_set(err, EINVAL, "the driver gives id %u to both profile %s and %s", p->id,
                           g->profiles[k].name, p->name);
        }
        if (strcmp(g->profiles[k].name, p->name) == 0) {
            return err_set(err, EINVAL, "the driver lists profile %s twice (ids %u and %u)",
                           p->name, g->profiles[k].id, p->id);
        }
    }
    return 0;
}

static int check_placements(const struct mig_profile *p, struct error *err)
{
    if (p->slices == 0 || p->size == 0 || p->size > MIG_SLOTS_MAX) {
        return err_set(err, EINVAL,
                       "the driver says profile %s has %u compute slices and %u of at "
                       "most %d memory slots",
                       p->name, p->slices, p->size, MIG_SLOTS_MAX);
    }
    if (p->start_count > MIG_SLOTS_MAX || p->compute_count > MIG_COMPUTE_PROFILES_MAX) {
        return err_set(err, EINVAL,
                       "the driver lists %u placements and %u compute profiles for "
                       "%s; at most %d and %d are possible",
                       p->start_count, p->compute_count, p->name, MIG_SLOTS_MAX,
                       MIG_COMPUTE_PROFILES_MAX);
    }
    for (int k = 0; k < p->start_count; k++) {
        if (p->starts[k] + p->size > MIG_SLOTS_MAX) {
            return err_set(err, EINVAL,
                           "the driver places profile %s at slots %u to %d; the last "
                           "possible slot is %d",
                           p->name, p->starts[k], p->starts[k] + p->size - 1, MIG_SLOTS_MAX - 1);
        }
        for (int j = 0; j < k; j++) {
            if (p->starts[j] == p->starts[k]) {
                return err_set(err, EINVAL, "the driver lists start %u of profile %s twice",
                               p->starts[k], p->name);
            }
        }
    }
    return 0;
}

static void derive(struct mig_geometry *g, int i)
{
    struct mig_profile *p = &g->profiles[i];
    int n = 0;

    g->window_mask[i] = (uint16_t)((1u << p->size) - 1);
    g->start_mask[i] = 0;
    for (int k = 0; k < p->start_count; k++) {
        g->start_mask[i] |= (uint16_t)(1u << p->starts[k]);
        if (p->starts[k] + p->size > g->slots) {
            g->slots = (uint8_t)(p->starts[k] + p->size);
        }
    }
    for (int s = 0; s < MIG_SLOTS_MAX; s++) { /* ascending */
        if (g->start_mask[i] >> s & 1) {
            p->starts[n++] = (uint8_t)s;
        }
    }
    if (p->slices > g->slices) {
        g->slices = p->slices;
    }
    for (int e = 0; e < MIG_ENGINE_COUNT; e++) {
        if (p->engines[e] > g->engine_total[e]) {
            g->engine_total[e] = p->engines[e];
        }
    }
}

int mig_geometry_init(struct mig_geometry *g, struct error *err)
{
    int r;

    if (g->profile_count == 0 || g->profile_count > MIG_PROFILES_MAX) {
        return err_set(err, EINVAL, "the driver lists %u profiles; 1 to %d are possible",
                       g->profile_count, MIG_PROFILES_MAX);
    }
    g->slots = 0;
    g->slices = 0;
    memset(g->engine_total, 0, sizeof(g->engine_total));
    memset(g->start_mask, 0, sizeof(g->start_mask));
    memset(g->window_mask, 0, sizeof(g->window_mask));
    for (int i = 0; i < g->profile_count; i++) {
        r = check_name(g, i, err);
        if (r == 0) {
            r = check_placements(&g->profiles[i], err);
        }
        if (r < 0) {
            return r;
        }
        derive(g, i);
    }
    if (g->slots == 0) {
        return err_set(err, EINVAL, "the driver lists no placement for any profile");
    }
    return 0;
}

int mig_profile_by_id(const struct mig_geometry *g, uint32_t id)
{
    for (int i = 0; i < g->profile_count; i++) {
        if (g->profiles[i].id == id) {
            return i;
        }
    }
    return MIG_PROFILE_NONE;
}

int mig_profile_by_name(const struct mig_geometry *g, const char *name)
{
    for (int i = 0; i < g->profile_count; i++) {
        if (strcmp(g->profiles[i].name, name) == 0) {
            return i;
        }
    }
    return MIG_PROFILE_NONE;
}

int mig_compute_by_slices(const struct mig_profile *profile, int slices)
{
    for (int i = 0; i < profile->compute_count; i++) {
        if (profile->compute[i].slices == slices) {
            return i;
        }
    }
    return MIG_PROFILE_NONE;
}

static bool engines_fit(const struct mig_geometry *g, const struct mig_use *use, int profile)
{
    const uint16_t *need = g->profiles[profile].engines;

    for (int e = 0; e < MIG_ENGINE_COUNT; e++) {
        if (need[e] && use->engines[e] + need[e] > g->engine_total[e]) {
            return false;
        }
    }
    return true;
}

bool mig_fits(const struct mig_geometry *g, const struct mig_use *use, int profile, int start)
{
    return profile >= 0 && profile < g->profile_count && start >= 0 && start < MIG_SLOTS_MAX &&
           (g->start_mask[profile] >> start & 1) && !(use->mask & mig_window(g, profile, start)) &&
           engines_fit(g, use, profile);
}

uint16_t mig_free_starts(const struct mig_geometry *g, const struct mig_use *use, int profile)
{
    unsigned size = g->profiles[profile].size, have = 1;
    uint16_t run = (uint16_t)~use->mask;

    /* Bit s: `have` slots from s on are free.  Doubled, so that no placement is looked
     * at by itself. */
    while (have < size) {
        unsigned step = have < size - have ? have : size - have;
        run &= (uint16_t)(run >> step);
        have += step;
    }
    run &= g->start_mask[profile];
    return run && engines_fit(g, use, profile) ? run : 0;
}

uint16_t mig_free_slots(const struct mig_geometry *g, const struct mig_use *use, int profile)
{
    unsigned size = g->profiles[profile].size, have = 1;
    uint16_t slots = mig_free_starts(g, use, profile);

    while (have < size) {
        unsigned step = have < size - have ? have : size - have;
        slots |= (uint16_t)(slots << step);
        have += step;
    }
    return slots;
}

void mig_use_add(const struct mig_geometry *g, struct mig_use *use, int profile, int start)
{
    uint16_t window = mig_window(g, profile, start);

    assert(!(use->mask & window));
    use->mask |= window;
    use->starts |= (uint16_t)(1u << start);
    use->instances++;
    for (int e = 0; e < MIG_ENGINE_COUNT; e++) {
        use->engines[e] = (uint16_t)(use->engines[e] + g->profiles[profile].engines[e]);
    }
}

void mig_use_remove(const struct mig_geometry *g, struct mig_use *use, int profile, int start)
{
    uint16_t window = mig_window(g, profile, start);

    assert((use->mask & window) == window && use->instances > 0);
    use->mask &= (uint16_t)~window;
    use->starts &= (uint16_t)~window;
    use->instances--;
    for (int e = 0; e < MIG_ENGINE_COUNT; e++) {
        assert(use->engines[e] >= g->profiles[profile].engines[e]);
        use->engines[e] = (uint16_t)(use->engines[e] - g->profiles[profile].engines[e]);
    }
}

void mig_use_block(struct mig_use *use, uint16_t mask)
{
    use->starts |= mask & (uint16_t)~use->mask;
    use->mask |= mask;
}

/* All windows of one profile are equally long, so taking the leftmost free one each time packs the
 * most of them. */
int mig_remaining(const struct mig_geometry *g, const struct mig_use *use, int profile)
{
    struct mig_use u = *use;
    int n = 0;

    for (int k = 0; k < g->profiles[profile].start_count; k++) {
        int start = g->profiles[profile].starts[k];
        if (mig_fits(g, &u, profile, start)) {
            mig_use_add(g, &u, profile, start);
            n++;
        }
    }
    return n;
}

int mig_max_instances(const struct mig_geometry *g)
{
    int most[MIG_SLOTS_MAX + 1] = {0}; /* in the slots from here to the end */

    for (int s = MIG_SLOTS_MAX - 1; s >= 0; s--) {
        most[s] = most[s + 1];
        for (int i = 0; i < g->profile_count; i++) {
            if ((g->start_mask[i] >> s & 1) && most[s + g->profiles[i].size] + 1 > most[s]) {
                most[s] = most[s + g->profiles[i].size] + 1;
            }
        }
    }
    return most[0];
}

struct visit {
    const struct mig_geometry *geometry;
    int (*fn)(void *arg, const struct mig_layout *layout);
    void *arg;
    struct mig_layout layout;
};

/* Slices are added by ascending start, so every set comes up once.  At most MIG_SLOTS_MAX deep. */
static int visit_from(struct visit *v, int from) /* NOLINT(misc-no-recursion) */
{
    const struct mig_geometry *g = v->geometry;
    struct mig_layout *l = &v->layout;
    int r = v->fn(v->arg, l);

    for (int s = from; r == 0 && s < g->slots; s++) {
        for (int i = 0; r == 0 && i < g->profile_count; i++) {
            if (!mig_fits(g, &l->use, i, s)) {
                continue;
            }
            mig_use_add(g, &l->use, i, s);
            l->slices[l->count++] = (struct mig_slice){(uint8_t)i, (uint8_t)s};
            r = visit_from(v, s + g->profiles[i].size);
            l->count--;
            mig_use_remove(g, &l->use, i, s);
        }
    }
    return r;
}

int mig_layouts_visit(const struct mig_geometry *g, const struct mig_use *use,
                      int (*fn)(void *arg, const struct mig_layout *layout), void *arg)
{
    struct visit v = {.geometry = g, .fn = fn, .arg = arg};

    if (use) {
        v.layout.use = *use;
    }
    return visit_from(&v, 0);
}
