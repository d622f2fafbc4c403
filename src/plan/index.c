/* The mask index.
 *
 * Costs depend only on what is busy and what is idle on one GPU (its state), and a fleet of any
 * size has few different states: at most 192 masks with today's eight-slot profiles, times what
 * engines and idle slices add.  So GPUs are kept by state, and for each profile the states in the
 * order of what the profile costs there.  One bit per rank says whether a state has a GPU; the best
 * GPU is the lowest number in the states of the first bits set, of those that are equally good.
 *
 *   seats[gpu]         the state of each GPU
 *   states[s].blocks   which blocks of 64 GPUs may have one in state s; the block is searched
 *   choices[s, p]      best start, key (what it costs) and rank of state s for profile p
 *   orders[p].states   the states by rank; has_gpu are the bits
 *   scores[s, place]   what a slice costs there, worked out when first asked for: for idle slices
 *                      and beside reservations any start may be the one
 *
 * Taking a slice is: find the rank's bit, which leads to the state and its first GPU; look up the
 * next state, set its block's bit, and find the first GPU of those left in the old one.  Nobody
 * looks whether a block that a GPU leaves still has others: the bit is cleared by the search that
 * finds none.  A state that becomes empty or non-empty flips one bit for each profile that has a
 * place in it.  All of it is a few words per state and four bytes per GPU, which stay in the
 * processor's cache for a hundred thousand GPUs.
 *
 * States come into being when first seen and are kept: a new one is inserted into the orders, which
 * costs a pass over the states.  When the mix changes, everything is sorted anew.
 *
 * Ties are broken by the lowest number, never by history: equal fleets give equal answers whatever
 * happened before. */
#include "plan/index.h"
#include "base/cleanup.h"
#include <assert.h>
#include <string.h>

void plan_index_init(struct plan_index *x, int class_id, const struct mig_geometry *geometry,
                     const struct plan_settings *settings)
{
    *x = (struct plan_index){
        .geometry = *geometry, .class_id = (uint32_t)class_id, .settings = settings};
    x->rankings[PLAN_RANKING_POLICY].policy = settings->policy;
    x->rankings[PLAN_RANKING_SPREAD].policy = PLAN_WORST_FIT;
    x->mix.value = settings->policy == PLAN_VALUE ? plan_value_new(geometry) : NULL;
    for (int p = 0; p < geometry->profile_count; p++) {
        x->mix.share[p] = 1.0 / geometry->profile_count;
        for (int k = 0; k < geometry->profiles[p].start_count; k++) {
            x->placement[p][geometry->profiles[p].starts[k]] = (uint16_t)x->placement_count++;
        }
    }
}

void plan_index_done(struct plan_index *x)
{
    for (uint32_t s = 0; s < x->state_count; s++) {
        free(x->states[s].blocks);
    }
    for (int k = 0; k < PLAN_RANKING_COUNT; k++) {
        for (int p = 0; p < x->geometry.profile_count; p++) {
            free(x->rankings[k].orders[p].states);
            free(x->rankings[k].orders[p].has_gpu);
        }
        free(x->rankings[k].choices);
        free(x->rankings[k].scores);
    }
    plan_value_free(x->mix.value);
    free(x->states);
    free(x->hash);
    free(x->taken);
    free(x->given);
}

size_t plan_index_bytes(const struct plan_index *x)
{
    size_t profiles = x->geometry.profile_count, links = x->placement_count;
    size_t n = (x->mix.value ? plan_value_bytes(x->mix.value) : 0) +
               x->hash_size * sizeof(*x->hash) +
               x->state_size * (sizeof(*x->states) + links * 2 * sizeof(*x->taken));

    for (int k = 0; k < PLAN_RANKING_COUNT; k++) {
        n += x->rankings[k].is_built
                 ? x->state_size * profiles * (sizeof(struct plan_choice) + sizeof(uint32_t) + 1)
                 : 0;
        n += x->rankings[k].scores ? x->state_size * links * sizeof(int64_t) : 0;
    }
    for (uint32_t s = 0; s < x->state_count; s++) {
        n += x->states[s].word_count * sizeof(uint64_t);
    }
    return n;
}

/* --- ranks --- */

/* Idle slots are counted, not idle slices: which slices there are is not part of the state, and to
 * destroy as few slots as possible comes to the same. */
static int64_t key_of(const struct plan_index *x, enum plan_policy policy,
                      const struct plan_state *s, const struct plan_look *look,
                      struct mig_slice slice)
{
    uint16_t window = mig_window(&x->geometry, slice.profile, slice.start);

    return plan_key(__builtin_popcount(window & s->idle),
                    plan_cost(policy, x->settings, &x->geometry, &x->mix, look, slice));
}

/* The best start of a profile in a state. */
static void choose(const struct plan_index *x, enum plan_policy policy, const struct plan_state *s,
                   const struct plan_look *look, int profile, struct plan_choice *ret)
{
    const struct mig_profile *row = &x->geometry.profiles[profile];
    double least = INFINITY;

    ret->key = INT64_MAX;
    for (int k = 0; k < row->start_count; k++) {
        struct mig_slice slice = {(uint8_t)profile, row->starts[k]};
        if (!mig_fits(&x->geometry, &s->busy, profile, slice.start)) {
            continue;
        }
        int64_t key = key_of(x, policy, s, look, slice);
        double among = plan_slot_cost(policy, &x->geometry, &s->busy, slice);
        if (key < ret->key || (key == ret->key && among < least)) {
            ret->key = key;
            ret->start = slice.start;
            least = among;
        }
    }
}

/* All profiles in a state. */
static void choose_all(const struct plan_index *x, struct plan_ranking *r, uint32_t state)
{
    const struct plan_state *s = &x->states[state];
    struct plan_look look;

    plan_look_at(&x->geometry, &x->mix, &s->busy, &look);
    for (int p = 0; p < x->geometry.profile_count; p++) {
        choose(x, r->policy, s, &look, p,
               &r->choices[(size_t)state * x->geometry.profile_count + (size_t)p]);
    }
}

static int compare_states(const struct plan_state *a, const struct plan_state *b)
{
    if (a->busy.mask != b->busy.mask) {
        return a->busy.mask < b->busy.mask ? -1 : 1;
    }
    if (a->idle != b->idle) {
        return a->idle < b->idle ? -1 : 1;
    }
    if (a->busy.starts != b->busy.starts) {
        return a->busy.starts < b->busy.starts ? -1 : 1;
    }
    return memcmp(a->busy.engines, b->busy.engines, sizeof(a->busy.engines));
}

struct sort {
    const struct plan_index *index;
    enum plan_ranking_kind kind;
    int profile;
};

static int compare_choices(const struct sort *o, uint32_t a, uint32_t b)
{
    int64_t ka = plan_index_choice(o->index, o->kind, a, o->profile)->key;
    int64_t kb = plan_index_choice(o->index, o->kind, b, o->profile)->key;

    if (ka != kb) {
        return ka < kb ? -1 : 1;
    }
    return compare_states(&o->index->states[a], &o->index->states[b]);
}

static int compare_sorted(const void *a, const void *b, void *arg)
{
    return compare_choices(arg, *(const uint32_t *)a, *(const uint32_t *)b);
}

static void set_bit(struct plan_order *o, uint32_t rank, bool on)
{
    uint64_t bit = 1ull << rank % 64;

    o->has_gpu[rank / 64] = on ? o->has_gpu[rank / 64] | bit : o->has_gpu[rank / 64] & ~bit;
}

static inline void flip_bit(struct plan_order *o, uint32_t rank)
{
    o->has_gpu[rank / 64] ^= 1ull << rank % 64;
}

/* Sets ranks and bits from order `from` on, after states were inserted or sorted. */
static void renumber(struct plan_index *x, enum plan_ranking_kind kind, int profile, uint32_t from)
{
    struct plan_ranking *r = &x->rankings[kind];
    struct plan_order *o = &r->orders[profile];

    for (uint32_t i = from; i < o->count; i++) {
        uint32_t s = o->states[i];
        r->choices[(size_t)s * x->geometry.profile_count + (size_t)profile].rank = i;
        set_bit(o, i, x->states[s].count > 0);
    }
}

static void rebuild_ranking(struct plan_index *x, enum plan_ranking_kind kind)
{
    struct plan_ranking *r = &x->rankings[kind];

    free(TAKE_PTR(r->scores));
    for (uint32_t s = 0; s < x->state_count; s++) {
        choose_all(x, r, s);
    }
    for (int p = 0; p < x->geometry.profile_count; p++) {
        struct plan_order *o = &r->orders[p];
        struct sort how = {x, kind, p};
        o->count = 0;
        for (uint32_t s = 0; s < x->state_count; s++) {
            if (x->states[s].fits >> p & 1) {
                o->states[o->count++] = s;
            }
        }
        if (o->count) {
            qsort_r(o->states, o->count, sizeof(*o->states), compare_sorted, &how);
        }
        renumber(x, kind, p, 0);
    }
    r->is_built = true;
}

void plan_index_rebuild(struct plan_index *x)
{
    for (int k = 0; k < PLAN_RANKING_COUNT; k++) {
        if (x->rankings[k].is_built) {
            rebuild_ranking(x, (enum plan_ranking_kind)k);
        }
    }
}

static void grow_ranking(struct plan_index *x, struct plan_ranking *r)
{
    size_t words = x->state_size / 64 + 1;

    free(TAKE_PTR(r->scores));
    r->choices = xreallocarray(r->choices, (size_t)x->state_size * x->geometry.profile_count,
                               sizeof(*r->choices));
    for (int p = 0; p < x->geometry.profile_count; p++) {
        struct plan_order *o = &r->orders[p];
        o->states = xreallocarray(o->states, x->state_size, sizeof(*o->states));
        free(o->has_gpu);
        o->has_gpu = xcalloc(words, sizeof(*o->has_gpu));
        for (uint32_t i = 0; r->is_built && i < o->count; i++) {
            set_bit(o, i, x->states[o->states[i]].count > 0);
        }
    }
}

void plan_index_need(struct plan_index *x, enum plan_ranking_kind kind)
{
    struct plan_ranking *r = &x->rankings[kind];

    if (!r->is_built) {
        grow_ranking(x, r);
        rebuild_ranking(x, kind);
    }
}

/* Puts a new state, which has no GPU yet, where it belongs. */
static void insert_ranked(struct plan_index *x, enum plan_ranking_kind kind, uint32_t state)
{
    struct plan_ranking *r = &x->rankings[kind];

    choose_all(x, r, state);
    for (int p = 0; p < x->geometry.profile_count; p++) {
        struct plan_order *o = &r->orders[p];
        struct sort how = {x, kind, p};
        uint32_t lo = 0, hi = o->count;
        if (!(x->states[state].fits >> p & 1)) {
            continue;
        }
        while (lo < hi) {
            uint32_t mid = lo + (hi - lo) / 2;
            if (compare_choices(&how, o->states[mid], state) < 0) {
                lo = mid + 1;
            } else {
                hi = mid;
            }
        }
        memmove(&o->states[lo + 1], &o->states[lo], (o->count - lo) * sizeof(*o->states));
        o->states[lo] = state;
        o->count++;
        renumber(x, kind, p, lo);
    }
}

/* --- states --- */

static uint64_t hash_state(const struct mig_use *busy, uint16_t idle)
{
    uint64_t h = (uint64_t)busy->starts << 32 | (uint64_t)busy->mask << 16 | idle;

    for (int e = 0; e < MIG_ENGINE_COUNT; e++) {
        h = (h ^ (h >> 29)) * 0x9e3779b97f4a7c15u + busy->engines[e];
    }
    h = (h ^ (h >> 29)) * 0x9e3779b97f4a7c15u;
    return h ^ (h >> 32);
}

static uint32_t *find_cell(const struct plan_index *x, const struct mig_use *busy, uint16_t idle)
{
    uint64_t i = hash_state(busy, idle);

    for (;; i++) {
        uint32_t *cell = &x->hash[i & (x->hash_size - 1)];
        const struct plan_state *s = &x->states[*cell - 1];
        if (!*cell || (s->busy.mask == busy->mask && s->busy.starts == busy->starts &&
                       s->idle == idle &&
                       memcmp(s->busy.engines, busy->engines, sizeof(busy->engines)) == 0)) {
            return cell;
        }
    }
}

static void grow_states(struct plan_index *x)
{
    size_t links = x->placement_count ? x->placement_count : 1;
    uint32_t size = x->state_size ? x->state_size + x->state_size / 2 : 64;

    x->states = xreallocarray(x->states, size, sizeof(*x->states));
    x->taken = xreallocarray(x->taken, size * links, sizeof(*x->taken));
    x->given = xreallocarray(x->given, size * links, sizeof(*x->given));
    memset(x->taken + x->state_size * links, 0xff, (size - x->state_size) * links * 4);
    memset(x->given + x->state_size * links, 0xff, (size - x->state_size) * links * 4);
    x->state_size = size;
    free(x->hash);
    x->hash_size = x->hash_size ? x->hash_size : 128;
    while (x->hash_size < 2 * size) {
        x->hash_size *= 2;
    }
    x->hash = xcalloc(x->hash_size, sizeof(*x->hash));
    for (uint32_t s = 0; s < x->state_count; s++) {
        *find_cell(x, &x->states[s].busy, x->states[s].idle) = s + 1;
    }
    for (int k = 0; k < PLAN_RANKING_COUNT; k++) {
        if (x->rankings[k].is_built) {
            grow_ranking(x, &x->rankings[k]);
        }
    }
}

uint32_t plan_index_state(struct plan_index *x, const struct mig_use *use, uint16_t idle)
{
    struct mig_use key = *use;
    const struct mig_use *busy = &key;

    key.instances = 0;
    key.starts = x->mix.value ? key.starts : 0; /* fewer states where nobody looks at them */
    if (x->state_count == x->state_size) {
        grow_states(x);
    }
    uint32_t *cell = find_cell(x, busy, idle);
    if (*cell) {
        return *cell - 1;
    }
    uint32_t s = x->state_count++;
    *cell = s + 1;
    x->states[s] = (struct plan_state){
        .busy = *busy, .idle = idle, .lowest = UINT32_MAX, .look = hash_state(busy, idle)};
    for (int p = 0; p < x->geometry.profile_count; p++) {
        x->states[s].fits |= (uint32_t)!!mig_free_starts(&x->geometry, busy, p) << p;
    }
    for (int k = 0; k < PLAN_RANKING_COUNT; k++) {
        if (x->rankings[k].is_built) {
            insert_ranked(x, (enum plan_ranking_kind)k, s);
        }
    }
    return s;
}

/* The state that a slice leads to, for the first time. */
static __attribute__((noinline)) uint32_t find_follower(struct plan_index *x, uint32_t state,
                                                        struct mig_slice slice, bool is_take)
{
    struct mig_use use = x->states[state].busy;
    uint16_t idle = x->states[state].idle;

    if (is_take) {
        mig_use_add(&x->geometry, &use, slice.profile, slice.start);
        idle &= (uint16_t)~mig_window(&x->geometry, slice.profile, slice.start);
    } else {
        use.instances = 1;
        mig_use_remove(&x->geometry, &use, slice.profile, slice.start);
    }
    use.instances = 0;
    return plan_index_state(x, &use, idle);
}

static inline size_t link_of(const struct plan_index *x, uint32_t state, struct mig_slice slice)
{
    return (size_t)state * x->placement_count + x->placement[slice.profile][slice.start];
}

uint32_t plan_index_taken(struct plan_index *x, uint32_t state, struct mig_slice slice)
{
    size_t link = link_of(x, state, slice);

    if (x->taken[link] == PLAN_NO_STATE) {
        uint32_t to = find_follower(x, state, slice, true);
        x->taken[link] = to; /* may have moved */
    }
    return x->taken[link];
}

uint32_t plan_index_given(struct plan_index *x, uint32_t state, struct mig_slice slice)
{
    size_t link = link_of(x, state, slice);

    if (x->given[link] == PLAN_NO_STATE) {
        uint32_t to = find_follower(x, state, slice, false);
        x->given[link] = to;
    }
    return x->given[link];
}

int64_t plan_index_score(struct plan_index *x, enum plan_ranking_kind kind, uint32_t state,
                         struct mig_slice slice)
{
    struct plan_ranking *r = &x->rankings[kind];
    const struct plan_state *s = &x->states[state];

    if (!r->scores) {
        r->scores = xcalloc((size_t)x->state_size * x->placement_count, sizeof(*r->scores));
    }
    int64_t *score = &r->scores[link_of(x, state, slice)];
    if (!*score) {
        struct plan_look look;
        plan_look_at(&x->geometry, &x->mix, &s->busy, &look);
        *score = key_of(x, r->policy, s, &look, slice);
    }
    return *score;
}

/* --- GPUs --- */

/* A state has got its first GPU, or lost its last. */
static void flip_bits(struct plan_index *x, uint32_t state)
{
    for (int k = 0; k < PLAN_RANKING_COUNT; k++) {
        struct plan_ranking *r = &x->rankings[k];
        if (!r->is_built) {
            continue;
        }
        const struct plan_choice *c = &r->choices[(size_t)state * x->geometry.profile_count];
        for (uint32_t fits = x->states[state].fits; fits; fits &= fits - 1) {
            int p = __builtin_ctz(fits);
            flip_bit(&r->orders[p], c[p].rank);
        }
    }
}

static uint32_t seat_of(const struct plan_index *x, uint32_t state)
{
    return state == PLAN_NO_STATE ? PLAN_NO_STATE : x->class_id << PLAN_SEAT_CLASS_SHIFT | state;
}

typedef uint32_t lanes __attribute__((vector_size(16)));

/* Bit i: the block's GPU i has this seat.  Without a branch: where the first one stands cannot be
 * foretold. */
static uint64_t gpus_in_block(const uint32_t *seats, uint32_t block, uint32_t seat)
{
    static const lanes bits[8] = {
        {1u << 0, 1u << 1, 1u << 2, 1u << 3},
        {1u << 4, 1u << 5, 1u << 6, 1u << 7},
        {1u << 8, 1u << 9, 1u << 10, 1u << 11},
        {1u << 12, 1u << 13, 1u << 14, 1u << 15},
        {1u << 16, 1u << 17, 1u << 18, 1u << 19},
        {1u << 20, 1u << 21, 1u << 22, 1u << 23},
        {1u << 24, 1u << 25, 1u << 26, 1u << 27},
        {1u << 28, 1u << 29, 1u << 30, 1u << 31}};
    const uint32_t *at = &seats[(size_t)block * PLAN_BLOCK];
    const lanes want = {seat, seat, seat, seat};
    uint64_t gpus = 0;

    for (int half = 32; half >= 0; half -= 32) {
        lanes found = {0}, four;
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) {
            memcpy(&four, &at[half + 4 * i], sizeof(four));
            found |= (lanes)(four == want) & bits[i];
        }
        gpus = gpus << 32 | (found[0] | found[1] | found[2] | found[3]);
    }
    return gpus;
}

/* The state's first GPU from number `from` on.  Stale bits of blocks are cleared on the way. */
static uint32_t first_gpu(const struct plan_state *s, const uint32_t *seats, uint32_t seat,
                          uint32_t from)
{
    uint32_t first = from / PLAN_BLOCK, word = first / 64;
    uint64_t skip = ~0ull << first % 64;

    if (word < s->first_word) {
        word = s->first_word;
        skip = ~0ull;
    }
    for (; word < s->word_count; word++, skip = ~0ull) {
        for (uint64_t blocks = s->blocks[word] & skip; blocks; blocks &= blocks - 1) {
            uint32_t block = word * 64 + (uint32_t)__builtin_ctzll(blocks);
            uint64_t gpus = gpus_in_block(seats, block, seat);
            if (!gpus) {
                s->blocks[word] &= ~(blocks & -blocks);
            }
            gpus &= block == first ? ~0ull << from % PLAN_BLOCK : ~0ull;
            if (gpus) {
                return block * PLAN_BLOCK + (uint32_t)__builtin_ctzll(gpus);
            }
        }
    }
    return UINT32_MAX;
}

uint32_t plan_index_lowest(const struct plan_index *x, const uint32_t *seats, uint32_t state,
                           uint32_t from)
{
    return first_gpu(&x->states[state], seats, seat_of(x, state), from);
}

static void leave(struct plan_index *x, const uint32_t *seats, uint32_t gpu, uint32_t state)
{
    struct plan_state *s = &x->states[state];

    if (--s->count == 0) {
        s->lowest = UINT32_MAX;
        flip_bits(x, state);
    } else if (gpu == s->lowest) {
        s->lowest = first_gpu(s, seats, seat_of(x, state), gpu + 1);
        s->first_word = s->lowest / PLAN_BLOCK / 64;
    }
}

static void enter(struct plan_index *x, uint32_t gpu, uint32_t state)
{
    struct plan_state *s = &x->states[state];
    uint32_t block = gpu / PLAN_BLOCK, word = block / 64;

    if (word >= s->word_count) {
        s->blocks = xreallocarray(s->blocks, word + 1, sizeof(*s->blocks));
        memset(s->blocks + s->word_count, 0, (word + 1 - s->word_count) * sizeof(*s->blocks));
        s->word_count = word + 1;
    }
    s->blocks[word] |= 1ull << block % 64;
    if (word < s->first_word || s->count == 0) {
        s->first_word = word;
    }
    s->lowest = gpu < s->lowest ? gpu : s->lowest;
    if (s->count++ == 0) {
        flip_bits(x, state);
    }
}

void plan_index_move(struct plan_index *x, uint32_t *seats, uint32_t gpu, uint32_t from,
                     uint32_t to)
{
    if (from == to) {
        return;
    }
    seats[gpu] = seat_of(x, to);
    if (from != PLAN_NO_STATE) {
        leave(x, seats, gpu, from);
    }
    if (to != PLAN_NO_STATE) {
        enter(x, gpu, to);
    }
}
