/* From what is on one GPU to the counts that are wanted.
 *
 * All layouts with exactly these counts are tried, left to right, cutting off where even keeping
 * everything to the right would not beat the best so far.  Today's GPUs have at most a few thousand
 * layouts, so this is exact and takes microseconds. */
#include "plan/plan.h"
#include <string.h>

struct search {
    const struct mig_geometry *geometry;
    const struct plan_diff_slice *current;
    size_t count;
    uint16_t pinned; /* bits of current */
    uint8_t left[MIG_PROFILES_MAX];
    int slots_left; /* what `left` needs */
    struct mig_use use;
    uint8_t depth;
    struct mig_slice slices[MIG_SLOTS_MAX];
    uint16_t kept;
    /* The best so far: fewest pinned slices lost, then most slices kept. */
    int score; /* -1: none */
    uint16_t best_kept;
    uint8_t best_count;
    struct mig_slice best[MIG_SLOTS_MAX];
};

static int score_of(const struct search *s, uint16_t kept)
{
    return __builtin_popcount(kept & s->pinned) * 32 + __builtin_popcount(kept);
}

/* Current slices from this slot on. */
static uint16_t current_from(const struct search *s, int slot)
{
    uint16_t bits = 0;

    for (size_t i = 0; i < s->count; i++) {
        if (s->current[i].slice.start >= slot) {
            bits |= (uint16_t)(1u << i);
        }
    }
    return bits;
}

static uint16_t current_at(const struct search *s, struct mig_slice slice)
{
    for (size_t i = 0; i < s->count; i++) {
        if (s->current[i].slice.start == slice.start &&
            s->current[i].slice.profile == slice.profile) {
            return (uint16_t)(1u << i);
        }
    }
    return 0;
}

static void search_from(struct search *s, int slot);

static void try_slice(struct search *s, int profile, int slot) /* NOLINT(misc-no-recursion) */
{
    struct mig_slice slice = {(uint8_t)profile, (uint8_t)slot};
    uint16_t same = current_at(s, slice);
    int size = s->geometry->profiles[profile].size;

    mig_use_add(s->geometry, &s->use, profile, slot);
    s->slices[s->depth++] = slice;
    s->left[profile]--;
    s->slots_left -= size;
    s->kept |= same;
    search_from(s, slot + size);
    s->kept &= (uint16_t)~same;
    s->slots_left += size;
    s->left[profile]++;
    s->depth--;
    mig_use_remove(s->geometry, &s->use, profile, slot);
}

static void search_from(struct search *s, int slot) /* NOLINT(misc-no-recursion) */
{
    if (score_of(s, s->kept | current_from(s, slot)) <= s->score ||
        s->slots_left > s->geometry->slots - slot) {
        return;
    }
    if (s->slots_left == 0) {
        if (score_of(s, s->kept) > s->score) {
            s->score = score_of(s, s->kept);
            s->best_kept = s->kept;
            s->best_count = s->depth;
            memcpy(s->best, s->slices, sizeof(s->best));
        }
        return;
    }
    for (int p = 0; p < s->geometry->profile_count; p++) {
        if (s->left[p] && mig_fits(s->geometry, &s->use, p, slot)) {
            try_slice(s, p, slot);
        }
    }
    search_from(s, slot + 1);
}

/* Larger slices first: should a later one fail, the smaller loss is left to repair. */
static void list_created(const struct search *s, struct plan_diff *ret)
{
    ret->create_count = 0;
    for (int size = MIG_SLOTS_MAX; size > 0; size--) {
        for (int i = 0; i < s->best_count; i++) {
            if (s->geometry->profiles[s->best[i].profile].size == size &&
                !(current_at(s, s->best[i]) & s->best_kept)) {
                ret->create[ret->create_count++] = s->best[i];
            }
        }
    }
}

static int fail_no_layout(const struct search *s, struct error *err)
{
    for (int p = 0; p < s->geometry->profile_count; p++) {
        struct mig_use none = {0};
        int most = mig_remaining(s->geometry, &none, p);
        if (s->left[p] > most) {
            return err_set(err, ENOSPC, "%u x %s are wanted on one GPU; at most %d fit", s->left[p],
                           s->geometry->profiles[p].name, most);
        }
    }
    return err_set(err, ENOSPC, "no layout of one GPU has the wanted slices together");
}

int plan_layout_diff(const struct mig_geometry *geometry, const struct plan_diff_slice *current,
                     size_t count, const uint8_t wanted[MIG_PROFILES_MAX], struct plan_diff *ret,
                     struct error *err)
{
    struct search s = {.geometry = geometry, .current = current, .count = count, .score = -1};
    uint16_t all = (uint16_t)((1u << count) - 1);

    for (size_t i = 0; i < count; i++) {
        s.pinned |= current[i].is_pinned ? (uint16_t)(1u << i) : 0;
    }
    for (int p = 0; p < geometry->profile_count; p++) {
        s.left[p] = wanted[p];
        s.slots_left += wanted[p] * geometry->profiles[p].size;
    }
    search_from(&s, 0);
    if (s.score < 0) {
        return fail_no_layout(&s, err);
    }
    *ret = (struct plan_diff){
        .keep = s.best_kept,
        .destroy = all & (uint16_t)~s.best_kept & (uint16_t)~s.pinned,
        .blocker = s.pinned & (uint16_t)~s.best_kept,
    };
    list_created(&s, ret);
    if (ret->blocker) {
        return err_set(err, EBUSY, "%d slices in use stand in the way of the wanted layout",
                       __builtin_popcount(ret->blocker));
    }
    return 0;
}
