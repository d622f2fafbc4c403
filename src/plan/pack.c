/* Packing without anything in place: closed forms.
 *
 * The eight-slot shape (A100, H100, H200, B200 and kin).  Let a GPU be a left half {0..3} and a
 * right half {4..7}, and slot 7 be of use to 3g@4 and the double-memory 1g@6 only.
 *   - 7g takes whole GPUs; m are left.  4g goes left, so 4g <= m.
 *   - 3g goes right first (a right half yields less to others), the rest `o` left.
 *   - a left half is two full pairs of slots, a right half one full pair {4,5} and one weak pair
 *     {6,7} that takes one 1g-double or one 1g.  2g needs a full pair.
 *   - 1g-double fills weak pairs first: there it costs two slots of which others use only one.
 *   - 1g takes what is left.
 * Each step is forced or costs nothing, so the test is exact; the property test holds it against
 * an exhaustive packer.
 *
 * The halving shape (A30, RTX PRO): every profile may start at all multiples of its size, and sizes
 * divide each other; then largest first packs without a gap and only the sum of slots counts. */
#include "plan/pack.h"
#include <string.h>

enum shape { ONE, DOUBLE, TWO, THREE, FOUR, SEVEN, SHAPE_COUNT };

static const struct {
    uint8_t size;
    uint16_t starts;
} shapes[SHAPE_COUNT] = {
    [ONE] = {1, 0x7f},   [DOUBLE] = {2, 0x55}, [TWO] = {2, 0x15},
    [THREE] = {4, 0x11}, [FOUR] = {4, 0x01},   [SEVEN] = {8, 0x01},
};

/* Counts by shape; false when a profile in use has none of these shapes. */
static bool count_shapes(const struct mig_geometry *g, const uint32_t counts[MIG_PROFILES_MAX],
                         uint64_t n[SHAPE_COUNT])
{
    memset(n, 0, SHAPE_COUNT * sizeof(n[0]));
    for (int p = 0; p < g->profile_count; p++) {
        int s = 0;
        while (s < SHAPE_COUNT &&
               (shapes[s].size != g->profiles[p].size || shapes[s].starts != g->start_mask[p])) {
            s++;
        }
        if (counts[p] && s == SHAPE_COUNT) {
            return false;
        }
        if (counts[p]) {
            n[s] += counts[p];
        }
    }
    return g->slots == 8;
}

static bool is_halving(const struct mig_geometry *g, const uint32_t counts[MIG_PROFILES_MAX])
{
    for (int p = 0; p < g->profile_count; p++) {
        int size = g->profiles[p].size;
        for (int s = 0; counts[p] && s < g->slots; s++) {
            bool may = g->start_mask[p] >> s & 1;
            if (g->slots % size || may != (s % size == 0)) {
                return false;
            }
        }
        for (int q = 0; counts[p] && q < p; q++) {
            int other = g->profiles[q].size;
            if (counts[q] && size % other && other % size) {
                return false;
            }
        }
    }
    return true;
}

/* The most of an engine that slots alone would let one GPU use, by profiles in use. */
static uint32_t most_engines(const struct mig_geometry *g, const uint32_t counts[MIG_PROFILES_MAX],
                             int engine)
{
    uint32_t most[MIG_SLOTS_MAX + 1] = {0};

    for (int s = MIG_SLOTS_MAX - 1; s >= 0; s--) {
        most[s] = most[s + 1];
        for (int p = 0; p < g->profile_count; p++) {
            if (counts[p] && (g->start_mask[p] >> s & 1)) {
                uint32_t n = most[s + g->profiles[p].size] + g->profiles[p].engines[engine];
                most[s] = n > most[s] ? n : most[s];
            }
        }
    }
    return most[0];
}

bool plan_pack_is_closed_form(const struct mig_geometry *g, const uint32_t counts[MIG_PROFILES_MAX])
{
    uint64_t n[SHAPE_COUNT];

    for (int e = 0; e < MIG_ENGINE_COUNT; e++) {
        if (most_engines(g, counts, e) > g->engine_total[e]) {
            return false;
        }
    }
    return count_shapes(g, counts, n) || is_halving(g, counts);
}

bool plan_pack_is_by_slots(const struct mig_geometry *g, const uint32_t counts[MIG_PROFILES_MAX])
{
    uint64_t n[SHAPE_COUNT];

    return !count_shapes(g, counts, n) && plan_pack_is_closed_form(g, counts);
}

static bool fits_eight(const uint64_t n[SHAPE_COUNT], uint64_t gpus)
{
    if (n[SEVEN] > gpus || n[FOUR] > gpus - n[SEVEN]) {
        return false;
    }
    uint64_t m = gpus - n[SEVEN];
    uint64_t right = n[THREE] < m ? n[THREE] : m; /* 3g in right halves */
    uint64_t o = n[THREE] - right;
    if (o > m - n[FOUR]) {
        return false;
    }
    uint64_t weak = m - right;                    /* weak pairs */
    uint64_t full = 2 * (m - n[FOUR] - o) + weak; /* full pairs */
    uint64_t in_weak = n[DOUBLE] < weak ? n[DOUBLE] : weak;
    uint64_t in_full = n[DOUBLE] - in_weak + n[TWO];
    return in_full <= full && n[ONE] <= 2 * (full - in_full) + weak - in_weak;
}

static uint64_t slots_wanted(const struct mig_geometry *g, const uint32_t counts[MIG_PROFILES_MAX])
{
    uint64_t sum = 0;

    for (int p = 0; p < g->profile_count; p++) {
        sum += (uint64_t)counts[p] * g->profiles[p].size;
    }
    return sum;
}

bool plan_pack_fits(const struct mig_geometry *g, const uint32_t counts[MIG_PROFILES_MAX],
                    uint32_t gpus)
{
    uint64_t n[SHAPE_COUNT];

    if (count_shapes(g, counts, n)) {
        return fits_eight(n, gpus);
    }
    return slots_wanted(g, counts) <= (uint64_t)gpus * g->slots;
}

uint32_t plan_pack_min_gpus(const struct mig_geometry *g, const uint32_t counts[MIG_PROFILES_MAX])
{
    uint32_t lo = plan_pack_area_bound(g, counts), hi = lo ? lo : 1;

    while (!plan_pack_fits(g, counts, hi)) {
        hi *= 2;
    }
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        if (plan_pack_fits(g, counts, mid)) {
            hi = mid;
        } else {
            lo = mid + 1;
        }
    }
    return lo;
}

uint32_t plan_pack_area_bound(const struct mig_geometry *g, const uint32_t counts[MIG_PROFILES_MAX])
{
    uint64_t bound = (slots_wanted(g, counts) + g->slots - 1) / g->slots;

    for (int p = 0; p < g->profile_count; p++) {
        struct mig_use none = {0};
        uint64_t most = counts[p] ? (uint64_t)mig_remaining(g, &none, p) : 1;
        uint64_t alone = most ? (counts[p] + most - 1) / most : 0;
        bound = alone > bound ? alone : bound;
    }
    for (int e = 0; e < MIG_ENGINE_COUNT; e++) {
        uint64_t sum = 0;
        for (int p = 0; p < g->profile_count; p++) {
            sum += (uint64_t)counts[p] * g->profiles[p].engines[e];
        }
        uint64_t need =
            g->engine_total[e] ? (sum + g->engine_total[e] - 1) / g->engine_total[e] : 0;
        bound = need > bound ? need : bound;
    }
    return (uint32_t)bound;
}
