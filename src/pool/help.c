/* What would let a waiting request through: the cheapest set of things that, together, make room.
 *
 * For each part of the request every window on every GPU is looked at: who has to go from there,
 * and who holds engines that would still be short.  The window with the fewest holders wins (what
 * only an operator can take away counts more), and the next part sees it as taken. */
#include "pool/internal.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define COST_STRANGE 8 /* a slice that is not ours, against one lease */
#define SET_MAX 32

/* Who has to go; each lease once. */
struct set {
    const struct pool_slice *slice[SET_MAX];
    const struct pool_lease *lease[SET_MAX]; /* NULL: nobody's */
    const struct pool_gpu *gpu[SET_MAX];
    unsigned count, cost;
};

struct place {
    const struct pool_gpu *gpu;
    int profile;
    unsigned start;
};

struct search {
    const struct pool *pool;
    const struct pool_lease *lease;
    struct place place[POOL_MAX_COUNT]; /* of the parts before this one */
    unsigned placed;
    struct set all; /* for them */
};

/* False: there is no room for it in the set. */
static bool add_to_set(struct set *set, const struct set *known, const struct pool_gpu *gpu,
                       const struct pool_slice *slice, const struct pool_lease *lease)
{
    for (unsigned i = 0; i < set->count; i++) {
        if (lease ? set->lease[i] == lease : set->slice[i] == slice && set->gpu[i] == gpu) {
            return true;
        }
    }
    for (unsigned i = 0; known && i < known->count; i++) {
        if (lease ? known->lease[i] == lease : known->slice[i] == slice && known->gpu[i] == gpu) {
            return true;
        }
    }
    if (set->count == SET_MAX) {
        return false;
    }
    set->gpu[set->count] = gpu;
    set->slice[set->count] = slice;
    set->lease[set->count++] = lease;
    set->cost += lease ? 1 : COST_STRANGE;
    return true;
}

/* Everybody who holds a compute instance of the slice. */
static bool add_slice(struct search *s, struct set *set, const struct pool_slice *slice)
{
    bool is_held = false, fits = true;

    for (unsigned c = 0; c < slice->ci_count; c++) {
        const struct pool_lease *l =
            slice->ci[c].lease ? pool_find_lease(s->pool, slice->ci[c].lease) : NULL;
        if (l) {
            is_held = true;
            fits = fits && add_to_set(set, &s->all, slice->gpu, slice, l);
        }
    }
    return is_held ? fits : add_to_set(set, &s->all, slice->gpu, slice, NULL);
}

/* What stays on the GPU beside the parts that have their places. */
static bool use_without(const struct search *s, const struct pool_gpu *gpu, uint32_t going,
                        struct mig_use *use)
{
    memset(use, 0, sizeof(*use));
    for (unsigned i = 0; i < gpu->slice_count; i++) {
        if (!(going >> i & 1) && !slice_is_spare(gpu->slices[i])) {
            slice_add_to_use(gpu->slices[i], use);
        }
    }
    for (unsigned i = 0; i < s->placed; i++) {
        const struct place *at = &s->place[i];
        if (at->gpu == gpu) {
            if (!mig_fits(gpu->geometry, use, at->profile, at->start)) {
                return false;
            }
            mig_use_add(gpu->geometry, use, at->profile, at->start);
        }
    }
    return true;
}

/* Has it something of the engines that the profile lacks? */
static bool has_short_engine(const struct pool_slice *slice, const struct mig_use *use, int profile)
{
    const struct mig_geometry *g = slice->gpu->geometry;

    for (int e = 0; slice->profile >= 0 && e < MIG_ENGINE_COUNT; e++) {
        if (g->profiles[slice->profile].engines[e] &&
            use->engines[e] + g->profiles[profile].engines[e] > g->engine_total[e]) {
            return true;
        }
    }
    return false;
}

/* The slices (bits of gpu->slices) that have to go for this window; false: nothing helps. */
static bool find_going(const struct search *s, const struct place *at, uint32_t *ret_going)
{
    const struct pool_gpu *gpu = at->gpu;
    uint32_t going = 0;
    struct mig_use use;

    for (unsigned i = 0; i < s->placed; i++) { /* those before it go all the same */
        uint16_t mask = s->place[i].gpu != gpu ? 0
                            : mig_window(gpu->geometry, s->place[i].profile, s->place[i].start);
        for (unsigned k = 0; k < gpu->slice_count; k++) {
            going |= slice_mask(gpu->slices[k]) & mask ? 1u << k : 0;
        }
    }
    uint16_t window = mig_window(gpu->geometry, at->profile, at->start);
    for (unsigned i = 0; i < gpu->slice_count; i++) {
        going |= slice_mask(gpu->slices[i]) & window ? 1u << i : 0;
    }
    bool fits = use_without(s, gpu, going, &use) &&
                mig_fits(gpu->geometry, &use, at->profile, at->start);
    /* By and by those with its engines. */
    for (unsigned i = 0; !fits && i < gpu->slice_count; i++) {
        if (!(going >> i & 1) && !slice_is_spare(gpu->slices[i]) &&
            has_short_engine(gpu->slices[i], &use, at->profile)) {
            going |= 1u << i;
            fits = use_without(s, gpu, going, &use) &&
                   mig_fits(gpu->geometry, &use, at->profile, at->start);
        }
    }
    *ret_going = going;
    return fits;
}

static bool is_for_ever(const struct pool_slice *s)
{
    return s->state == POOL_SLICE_QUARANTINED && !slice_is_leased(s);
}

static void look_at_window(struct search *s, const struct place *at, struct place *best,
                           struct set *best_set)
{
    struct set set = {0};
    uint32_t going = 0;
    bool fits = find_going(s, at, &going);

    for (unsigned i = 0; fits && i < at->gpu->slice_count; i++) {
        const struct pool_slice *slice = at->gpu->slices[i];
        if (going >> i & 1 && !slice_is_spare(slice)) {
            fits = !is_for_ever(slice) && add_slice(s, &set, slice);
        }
    }
    if (fits && at->gpu->lease) {
        fits = add_to_set(&set, &s->all, at->gpu, NULL, pool_find_lease(s->pool, at->gpu->lease));
    }
    if (fits && (!best->gpu || set.cost < best_set->cost)) {
        *best = *at;
        *best_set = set;
    }
}

/* A GPU that is wanted, and has no slices, is one window. */
static void look_at_whole(struct search *s, const struct pool_gpu *gpu, struct place *best,
                          struct set *best_set)
{
    struct place at = {.gpu = gpu, .profile = MIG_PROFILE_NONE};
    const struct pool_lease *holder = pool_find_lease(s->pool, gpu->lease);
    struct set set = {0};
    bool fits = !gpu->slice_count;

    for (unsigned i = 0; i < s->placed; i++) {
        fits = fits && s->place[i].gpu != gpu;
    }
    if (holder || gpu->processes) {
        fits = fits && add_to_set(&set, &s->all, gpu, NULL, holder);
    }
    if (fits && (!best->gpu || set.cost < best_set->cost)) {
        *best = at;
        *best_set = set;
    }
}

static void look_at_gpu(struct search *s, const struct pool_gpu *gpu, struct place *best,
                        struct set *best_set)
{
    int p = lease_profile_on(s->lease, gpu);
    const char *why = NULL;
    bool is_whole = s->lease->want.kind == MIG_WANT_GPU && !gpu->info.is_mig_enabled;

    if (!lease_is_possible_on(s->lease, gpu, &why) || gpu->health != POOL_HEALTH_OK) {
        return;
    }
    if (is_whole) {
        look_at_whole(s, gpu, best, best_set);
        return;
    }
    for (unsigned i = 0; p >= 0 && i < gpu->geometry->profiles[p].start_count; i++) {
        struct place at = {gpu, p, gpu->geometry->profiles[p].starts[i]};
        look_at_window(s, &at, best, best_set);
    }
}

/* Appends " and " and the text; what has no room any more is counted. */
struct sentence {
    char *buf;
    size_t size, at;
    unsigned left_out;
};

static void add_words(struct sentence *out, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

static void add_words(struct sentence *out, const char *fmt, ...)
{
    char words[160];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(words, sizeof(words), fmt, ap);
    va_end(ap);
    size_t len = strlen(words) + (out->at ? 5 : 0);
    if (out->at + len + 16 > out->size) {
        out->left_out++;
        return;
    }
    out->at += (size_t)snprintf(out->buf + out->at, out->size - out->at, "%s%s",
                                out->at ? " and " : "", words);
}

static void add_releases(struct sentence *out, const struct set *set)
{
    bool has_release = false;

    for (unsigned i = 0; i < set->count; i++) {
        const struct pool_lease *l = set->lease[i];
        if (l && l->state != POOL_LEASE_RELEASING) {
            add_words(out, "%sl-%" PRIu64 " (%.40s)", has_release ? "" : "release of ", l->id,
                      l->tenant->name);
            has_release = true;
        }
    }
}

static void add_others(struct sentence *out, const struct set *set)
{
    for (unsigned i = 0; i < set->count; i++) {
        const struct pool_lease *l = set->lease[i];
        const struct pool_slice *s = set->slice[i];
        char label[96];
        if (l && l->state == POOL_LEASE_RELEASING) {
            add_words(out, "the end of the processes that still run on l-%" PRIu64 " (%.40s)",
                      l->id, l->tenant->name);
        } else if (!l && !s) {
            add_words(out, "the end of the processes on GPU %u", set->gpu[i]->info.index);
        } else if (!l && s->state == POOL_SLICE_FOREIGN) {
            add_words(out, "adopting, or removing, the foreign slice %s", slice_label(s, label));
        } else if (!l && s->state == POOL_SLICE_IDLE) {
            add_words(out, "the end of the processes on the idle slice %s", slice_label(s, label));
        } else if (!l) {
            add_words(out, "%s being %s", slice_label(s, label),
                      s->state == POOL_SLICE_CREATING ? "made" : "destroyed");
        }
    }
}

static void say_set(const struct set *set, char *buf, size_t size)
{
    struct sentence out = {.buf = buf, .size = size};

    add_releases(&out, set);
    add_others(&out, set);
    if (out.left_out) {
        snprintf(buf + out.at, size - out.at, " and %u more", out.left_out);
    }
}

void explain_help(const struct pool *pool, const struct pool_lease *lease, char *buf, size_t size)
{
    CLEANUP(freep) struct search *s = xcalloc(1, sizeof(*s));
    unsigned parts = 0;

    buf[0] = '\0';
    s->pool = pool;
    s->lease = lease;
    while (parts < lease->count) {
        struct place best = {0};
        struct set set = {0};
        for (unsigned i = 0; i < pool->gpu_count; i++) {
            look_at_gpu(s, pool->gpus[i], &best, &set);
        }
        if (!best.gpu) {
            return; /* nothing that anybody here could do */
        }
        for (unsigned i = 0; i < set.count; i++) {
            (void)add_to_set(&s->all, NULL, set.gpu[i], set.slice[i], set.lease[i]);
        }
        s->place[s->placed++] = best;
        parts += lease_parts_in_window(lease, best.gpu);
    }
    say_set(&s->all, buf, size);
}
