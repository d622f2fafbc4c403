/* Windows of memory slots must not overlap, and the media engines of all instances together must
 * not exceed those of the whole GPU; that is all that limits GPU instances (docs/simulator.md has
 * the sources).  Compute instances are windows of compute slices inside one GPU instance. */
#include "sim/slice.h"
#include "sim/uuid.h"
#include <string.h>

static uint32_t window(int start, int size)
{
    return ((1U << size) - 1U) << start;
}

unsigned int slice_gi_id(const struct sim_model *model, bool is_flipped, int start, int size)
{
    int physical = start;
    if (is_flipped && size < model->slots) {
        physical = (start + model->slots / 2) % model->slots;
    }
    /* Ids count windows from the largest to the smallest: whole 0, halves 1-2, quarters 3-6. */
    return (unsigned int)(model->slots / size - 1 + physical / size);
}

unsigned int slice_engine(const struct sim_model *model, bool is_flipped, const struct sim_gi *gi,
                          const struct sim_ci *ci)
{
    int start = gi->start;
    if (is_flipped && gi->size < model->slots) {
        start = (start + model->slots / 2) % model->slots;
    }
    const struct sim_gi_profile *whole = sim_model_whole(model);
    int slots_per_slice = model->slots / (whole->slices + (whole->slices & 1));
    return (unsigned int)(start / slots_per_slice) + ci->start;
}

static uint32_t gi_mask(const struct sim_state *state)
{
    uint32_t mask = 0;
    for (int i = 0; i < SIM_MAX_GI; i++) {
        if (state->gis[i].is_used) {
            mask |= window(state->gis[i].start, state->gis[i].size);
        }
    }
    return mask;
}

static int times_in(int budget, int used, int each)
{
    return each > 0 ? (budget - used) / each : SIM_MAX_GI;
}

static int min(int a, int b)
{
    return a < b ? a : b;
}

/* How many more instances the engine counts allow, whatever the placements say. */
static int engine_room(const struct sim_model *model, const struct sim_state *state,
                       const struct sim_gi_profile *want)
{
    const struct sim_gi_profile *whole = sim_model_whole(model);
    int dec = 0, enc = 0, jpeg = 0, ofa = 0, same = 0;
    for (int i = 0; i < SIM_MAX_GI; i++) {
        if (state->gis[i].is_used) {
            const struct sim_gi_profile *p = &model->gis[state->gis[i].profile];
            dec += p->decoders;
            enc += p->encoders;
            jpeg += p->jpegs;
            ofa += p->ofas;
            same += p == want;
        }
    }
    int room = min(times_in(whole->decoders, dec, want->decoders),
                   times_in(whole->encoders, enc, want->encoders));
    room = min(room, min(times_in(whole->jpegs, jpeg, want->jpegs),
                         times_in(whole->ofas, ofa, want->ofas)));
    room = min(room, want->count - same);
    return room > 0 ? room : 0;
}

/* The most disjoint windows among starts (ascending greedy is exact for equal sizes). */
static int free_windows(const int *starts, int count, int size, uint32_t mask)
{
    int found = 0;
    for (int at = 0; at < 32 - size; at++) {
        for (int i = 0; i < count; i++) {
            if (starts[i] == at && !(mask & window(at, size))) {
                mask |= window(at, size);
                found++;
            }
        }
    }
    return found;
}

unsigned int slice_gi_room(const struct sim_model *model, const struct sim_state *state,
                           int profile)
{
    const struct sim_gi_profile *p = &model->gis[profile];
    return (unsigned int)min(free_windows(p->starts, p->start_count, p->size, gi_mask(state)),
                             engine_room(model, state, p));
}

static uint32_t ci_mask(const struct sim_gi *gi)
{
    uint32_t mask = 0;
    for (int i = 0; i < SIM_MAX_CI; i++) {
        if (gi->cis[i].is_used) {
            mask |= window(gi->cis[i].start, gi->cis[i].size);
        }
    }
    return mask;
}

unsigned int slice_ci_room(const struct sim_gi_profile *profile, const struct sim_gi *gi, int ci)
{
    const struct sim_ci_profile *p = &profile->cis[ci];
    return (unsigned int)free_windows(p->starts, p->start_count, p->size, ci_mask(gi));
}

/* Picks the window: the one asked for, or the first free one in `order`. */
static enum nvml_return pick(const int *order, int count, int size, uint32_t mask, int start,
                             int *ret_start)
{
    bool is_legal = start == SLICE_ANYWHERE;
    for (int i = 0; i < count; i++) {
        if (start != SLICE_ANYWHERE && order[i] != start) {
            continue;
        }
        is_legal = true;
        if (!(mask & window(order[i], size))) {
            *ret_start = order[i];
            return NVML_SUCCESS;
        }
    }
    return is_legal ? NVML_ERROR_INSUFFICIENT_RESOURCES : NVML_ERROR_INVALID_ARGUMENT;
}

enum nvml_return slice_gi_create(const struct sim_model *model, bool is_flipped,
                                 struct sim_state *state, int profile, int start,
                                 unsigned int *ret_id)
{
    const struct sim_gi_profile *p = &model->gis[profile];
    int at = 0;
    enum nvml_return rc = pick(p->order, p->start_count, p->size, gi_mask(state), start, &at);
    if (rc == NVML_SUCCESS && engine_room(model, state, p) == 0) {
        rc = NVML_ERROR_INSUFFICIENT_RESOURCES;
    }
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    unsigned int id = slice_gi_id(model, is_flipped, at, p->size);
    struct sim_gi *gi = &state->gis[id];
    *gi = (struct sim_gi){.is_used = true,
                          .profile = (uint8_t)profile,
                          .start = (uint8_t)at,
                          .size = (uint8_t)p->size,
                          .serial = ++state->next_serial};
    *ret_id = id;
    return NVML_SUCCESS;
}

enum nvml_return slice_ci_create(const struct sim_gi_profile *profile, struct sim_state *state,
                                 unsigned int gi, int ci, int start, unsigned int *ret_id)
{
    const struct sim_ci_profile *p = &profile->cis[ci];
    struct sim_gi *g = &state->gis[gi];
    int at = 0;
    enum nvml_return rc = pick(p->starts, p->start_count, p->size, ci_mask(g), start, &at);
    if (rc != NVML_SUCCESS) {
        return rc;
    }
    for (unsigned int id = 0; id < SIM_MAX_CI; id++) {
        if (!g->cis[id].is_used) {
            g->cis[id] = (struct sim_ci){.is_used = true,
                                         .profile = (uint8_t)ci,
                                         .start = (uint8_t)at,
                                         .size = (uint8_t)p->size,
                                         .serial = ++state->next_serial};
            *ret_id = id;
            return NVML_SUCCESS;
        }
    }
    return NVML_ERROR_INSUFFICIENT_RESOURCES;
}

unsigned int slice_gi_count(const struct sim_state *state)
{
    unsigned int n = 0;
    for (int i = 0; i < SIM_MAX_GI; i++) {
        n += state->gis[i].is_used;
    }
    return n;
}

unsigned int slice_ci_count(const struct sim_gi *gi)
{
    unsigned int n = 0;
    for (int i = 0; i < SIM_MAX_CI; i++) {
        n += gi->cis[i].is_used;
    }
    return n;
}

bool slice_by_index(const struct sim_state *state, unsigned int index, unsigned int *ret_gi,
                    unsigned int *ret_ci)
{
    unsigned int at = 0;
    for (unsigned int gi = 0; gi < SIM_MAX_GI; gi++) {
        for (unsigned int ci = 0; state->gis[gi].is_used && ci < SIM_MAX_CI; ci++) {
            if (state->gis[gi].cis[ci].is_used && at++ == index) {
                *ret_gi = gi;
                *ret_ci = ci;
                return true;
            }
        }
    }
    return false;
}

unsigned int slice_index(const struct sim_state *state, unsigned int gi, unsigned int ci)
{
    unsigned int at = 0;
    for (unsigned int i = 0; i < gi; i++) {
        at += state->gis[i].is_used ? slice_ci_count(&state->gis[i]) : 0;
    }
    for (unsigned int k = 0; k < ci; k++) {
        at += state->gis[gi].cis[k].is_used;
    }
    return at;
}

void slice_uuid(const struct sim_model *model, const struct sim_gpu *gpu,
                const struct sim_state *state, unsigned int gi, unsigned int ci, char *ret)
{
    const struct sim_gi *g = &state->gis[gi];
    sim_uuid_mig(model, gpu->pdi, gi, slice_engine(model, gpu->is_flipped, g, &g->cis[ci]), ret);
}
