#pragma once
#include "base/error.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a GPU can be cut into.
 *
 * A geometry is one model's table of profiles as the driver states it at run time; no model is
 * known here.  All structs are plain values without pointers: copy, compare and send them freely.
 * Nothing here does I/O, allocates, or keeps state between calls; any thread may call it.
 *
 * A profile is named by its index in the geometry, a placement by (profile index, start slot). */

#define MIG_PROFILES_MAX 32
#define MIG_SLOTS_MAX 16
#define MIG_COMPUTE_PROFILES_MAX 8
#define MIG_NAME_BYTES 32
#define MIG_PROFILE_NONE (-1)

enum mig_engine {
    MIG_ENGINE_COPY,
    MIG_ENGINE_DECODER,
    MIG_ENGINE_ENCODER,
    MIG_ENGINE_JPEG,
    MIG_ENGINE_OFA,
    MIG_ENGINE_COUNT,
};

#define MIG_CAP_P2P 1u
#define MIG_CAP_GFX 2u

/* A compute instance that fits inside a slice of the profile it belongs to. */
struct mig_compute_profile {
    char name[MIG_NAME_BYTES]; /* "1c.3g.40gb", or the slice's own name when it takes all */
    int enum_value;            /* argument of the driver's ...ProfileInfo calls */
    uint32_t id;               /* the driver's runtime id, argument of everything else */
    uint32_t sm_count;
    uint8_t slices;
    uint8_t max_count;
};

struct mig_profile {
    char name[MIG_NAME_BYTES]; /* "1g.10gb+me", without the driver's "MIG " */
    int enum_value;
    uint32_t id;
    uint32_t sm_count;
    uint32_t memory_mib;
    uint32_t capabilities; /* MIG_CAP_* */
    uint16_t engines[MIG_ENGINE_COUNT];
    uint8_t slices;    /* compute slices */
    uint8_t size;      /* memory slots */
    uint8_t max_count; /* how many the driver says an empty GPU takes; for people only */
    uint8_t start_count;
    uint8_t starts[MIG_SLOTS_MAX]; /* ascending after mig_geometry_init() */
    uint8_t compute_count;
    struct mig_compute_profile compute[MIG_COMPUTE_PROFILES_MAX];
};

struct mig_geometry {
    uint8_t profile_count;
    /* Filled by mig_geometry_init(). */
    uint8_t slots;                           /* memory slots of the GPU */
    uint8_t slices;                          /* compute slices of the GPU */
    uint16_t engine_total[MIG_ENGINE_COUNT]; /* the largest row of the table */
    uint16_t start_mask[MIG_PROFILES_MAX];   /* bit s: the profile may start at s */
    uint16_t window_mask[MIG_PROFILES_MAX];  /* the profile's window at start 0 */
    struct mig_profile profiles[MIG_PROFILES_MAX];
};

/* The caller fills profile_count and profiles[]; this checks them and derives the rest.
 * -EINVAL names the row that lies (no name, duplicate id or name, placement out of range, zero
 * size, ...); the geometry is then not to be used.  A profile without a placement is legal: it can
 * never be cut. */
int mig_geometry_init(struct mig_geometry *geometry, struct error *err);

/* The slots that the profile covers at `start`. */
static inline uint16_t mig_window(const struct mig_geometry *geometry, int profile, int start)
{
    return (uint16_t)(geometry->window_mask[profile] << start);
}

/* Index of the profile, or MIG_PROFILE_NONE. */
int mig_profile_by_id(const struct mig_geometry *geometry, uint32_t id);
int mig_profile_by_name(const struct mig_geometry *geometry, const char *name);
/* Index in compute[] of the first compute instance with that many compute slices, or
 * MIG_PROFILE_NONE; with profile->slices it is the one that takes the whole slice. */
int mig_compute_by_slices(const struct mig_profile *profile, int slices);

/* What is taken on one GPU. */
struct mig_use {
    uint16_t mask;
    uint16_t starts; /* of those, where an instance begins; blocked slots are one each */
    uint16_t engines[MIG_ENGINE_COUNT];
    uint8_t instances;
};

/* A slice on one GPU. */
struct mig_slice {
    uint8_t profile, start;
};

/* Slots in a mask, or starts: bits.  Inline, since without a processor's own instruction (which a
 * Debian package may not take for granted) the compiler's is a call. */
static inline int mig_count_slots(uint16_t mask)
{
    unsigned m = mask;

    m -= m >> 1 & 0x5555;
    m = (m & 0x3333) + (m >> 2 & 0x3333);
    m = (m + (m >> 4)) & 0x0f0f;
    return (int)((m + (m >> 8)) & 31);
}

/* Bit s: mig_fits() at start s.  All starts of a profile in a few operations. */
uint16_t mig_free_starts(const struct mig_geometry *geometry, const struct mig_use *use,
                         int profile);
/* The slots that those placements would cover. */
uint16_t mig_free_slots(const struct mig_geometry *geometry, const struct mig_use *use,
                        int profile);
/* May the driver make this placement beside what is there: legal start, free slots, engines left?
 */
bool mig_fits(const struct mig_geometry *geometry, const struct mig_use *use, int profile,
              int start);
/* Adds or removes an instance.  Adding does not check engines, so that what the driver shows can
 * always be recorded. */
void mig_use_add(const struct mig_geometry *geometry, struct mig_use *use, int profile, int start);
void mig_use_remove(const struct mig_geometry *geometry, struct mig_use *use, int profile,
                    int start);
/* Takes slots without an instance (quarantine, something unknown). */
void mig_use_block(struct mig_use *use, uint16_t mask);

/* How many more of this profile alone fit (the driver's "remaining capacity"). */
int mig_remaining(const struct mig_geometry *geometry, const struct mig_use *use, int profile);
/* The most instances that the slots of an empty GPU take. */
int mig_max_instances(const struct mig_geometry *geometry);

struct mig_layout {
    struct mig_use use;
    uint8_t count;
    struct mig_slice slices[MIG_SLOTS_MAX]; /* ascending start */
};

/* Calls visit for every layout (set of placed instances, the empty one included) that can stand
 * beside `use` (NULL: an empty GPU); each once, in a fixed order.  Stops when visit returns
 * non-zero and returns that. */
int mig_layouts_visit(const struct mig_geometry *geometry, const struct mig_use *use,
                      int (*visit)(void *arg, const struct mig_layout *layout), void *arg);

/* What people write for a slice. */
enum mig_want_kind {
    MIG_WANT_PROFILE,   /* "2g.20gb", "1g.10gb+me": by name */
    MIG_WANT_SLICES,    /* "2g", "1g+me": that many compute slices of whatever model */
    MIG_WANT_RESOURCES, /* "memory=12GiB", "memory=12GiB,compute=2": the smallest that has it */
    MIG_WANT_GPU,       /* "gpu": the whole GPU; for the caller to handle */
};

struct mig_want {
    enum mig_want_kind kind;
    uint8_t compute_instance_slices; /* 1 of "1c.3g.40gb"; 0: the whole slice */
    uint8_t slices;                  /* SLICES: exactly; RESOURCES: at least */
    uint64_t memory_bytes;           /* RESOURCES: at least */
    char name[MIG_NAME_BYTES];       /* PROFILE: without the compute instance part */
    char suffix[MIG_NAME_BYTES];     /* SLICES: "+me", or empty */
};

/* -EINVAL shows the accepted forms. */
int mig_want_parse(const char *text, struct mig_want *ret, struct error *err);
/* The smallest profile that answers, and its compute-instance profile (an index into compute[];
 * MIG_PROFILE_NONE when the table lists none and the whole slice is wanted).
 * -ENOENT names what there is; -EINVAL for MIG_WANT_GPU. */
int mig_want_resolve(const struct mig_want *want, const struct mig_geometry *geometry,
                     int *ret_profile, int *ret_compute, struct error *err);
