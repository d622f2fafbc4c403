#pragma once
#include "mig/mig.h"
#include "plan/cost.h"
#include "plan/plan.h"
#include <math.h>

/* The mask index: the best GPU of a class for any profile in constant time.  See index.c.
 * Internal to the room. */

#define PLAN_NO_STATE UINT32_MAX

#define PLAN_BLOCK 64 /* GPUs with neighbouring numbers */

/* What each GPU looks like, by its number: class and state in one word, or PLAN_NO_STATE for a GPU
 * that is not to be found.  The array's length is a multiple of PLAN_BLOCK. */
#define PLAN_SEAT_CLASS_SHIFT 24

/* GPUs that look alike: the same slots and engines busy, the same slots idle. */
struct plan_state {
    struct mig_use busy; /* instances not counted; starts for the policy "value" only */
    uint16_t idle;
    uint32_t fits;       /* bit p: profile p has a place here */
    uint64_t look;       /* a hash of busy and idle */
    uint32_t count;      /* GPUs */
    uint32_t lowest;     /* the first of them; UINT32_MAX: none */
    uint32_t first_word; /* no block before this word has one */
    uint32_t word_count;
    uint64_t *blocks; /* bit b: a GPU of block b is in this state, or was */
};

/* What one profile would cost in one state, at the best start. */
struct plan_choice {
    int64_t key; /* idle slots destroyed, then cost: smaller is better; INT64_MAX: does not fit */
    uint32_t rank;
    uint8_t start;
};

/* All states in order of preference for one profile, and which of them have a GPU. */
struct plan_order {
    uint32_t count;
    uint32_t *states;  /* by rank */
    uint64_t *has_gpu; /* by rank */
};

struct plan_ranking {
    enum plan_policy policy;
    bool is_built;
    struct plan_choice *choices; /* [state * profiles + profile] */
    int64_t *scores; /* [state * placements + placement], 0: not yet known; NULL: none yet */
    struct plan_order orders[MIG_PROFILES_MAX];
};

enum plan_ranking_kind { PLAN_RANKING_POLICY, PLAN_RANKING_SPREAD, PLAN_RANKING_COUNT };

struct plan_index {
    struct mig_geometry geometry;
    uint32_t class_id;
    const struct plan_settings *settings;
    struct plan_mix mix;
    uint32_t state_count, state_size;
    struct plan_state *states;
    uint32_t *hash, hash_size; /* state + 1; 0 is empty */
    uint32_t placement_count;
    uint16_t placement[MIG_PROFILES_MAX][MIG_SLOTS_MAX];
    uint32_t *taken, *given; /* [state * placements + placement], PLAN_NO_STATE: not yet known */
    struct plan_ranking rankings[PLAN_RANKING_COUNT];
};

void plan_index_init(struct plan_index *index, int class_id, const struct mig_geometry *geometry,
                     const struct plan_settings *settings);
void plan_index_done(struct plan_index *index);
/* Sorts everything anew; after a change of index->mix. */
void plan_index_rebuild(struct plan_index *index);

/* The state with this occupancy. */
uint32_t plan_index_state(struct plan_index *index, const struct mig_use *busy, uint16_t idle);
/* The state after taking or giving back a slice; the slice must be legal there. Idle slots that it
 * covers are no longer idle. */
uint32_t plan_index_taken(struct plan_index *index, uint32_t state, struct mig_slice slice);
uint32_t plan_index_given(struct plan_index *index, uint32_t state, struct mig_slice slice);

/* The key of a slice that fits there: what plan_choice has for the best start. */
int64_t plan_index_score(struct plan_index *index, enum plan_ranking_kind kind, uint32_t state,
                         struct mig_slice slice);

/* Moves a GPU between states (PLAN_NO_STATE: out of the index). */
void plan_index_move(struct plan_index *index, uint32_t *seats, uint32_t gpu, uint32_t from,
                     uint32_t to);
/* The lowest GPU of a state from number `from` on; UINT32_MAX: none. */
uint32_t plan_index_lowest(const struct plan_index *index, const uint32_t *seats, uint32_t state,
                           uint32_t from);

/* Memory held, without the struct itself. */
size_t plan_index_bytes(const struct plan_index *index);

/* Makes a ranking ready for use. */
void plan_index_need(struct plan_index *index, enum plan_ranking_kind kind);
/* The first rank from `rank` on that has a GPU, or UINT32_MAX. */
static inline uint32_t plan_order_next(const struct plan_order *order, uint32_t rank)
{
    uint64_t skip = ~0ull << rank % 64;

    for (uint32_t word = rank / 64; word * 64 < order->count; word++, skip = ~0ull) {
        uint64_t bits = order->has_gpu[word] & skip;
        if (bits) {
            return word * 64 + (uint32_t)__builtin_ctzll(bits);
        }
    }
    return UINT32_MAX;
}

static inline const struct plan_choice *plan_index_choice(const struct plan_index *index,
                                                          enum plan_ranking_kind kind,
                                                          uint32_t state, int profile)
{
    return &index->rankings[kind]
                .choices[(size_t)state * index->geometry.profile_count + (size_t)profile];
}

/* The order in which spots are compared: idle slots destroyed first, then cost. */
#define PLAN_KEY_DESTROYED (1ll << 48)
#define PLAN_KEY_SLOT 0x1p20      /* a cost of 1 */
#define PLAN_KEY_ZERO (1ll << 40) /* so that a negative cost stays inside its part of the key */

static inline int64_t plan_key(int destroyed_slots, double cost)
{
    return destroyed_slots * PLAN_KEY_DESTROYED + PLAN_KEY_ZERO + llround(cost * PLAN_KEY_SLOT);
}

static inline double plan_key_cost(int64_t key)
{
    return (double)(key % PLAN_KEY_DESTROYED - PLAN_KEY_ZERO) / PLAN_KEY_SLOT;
}
