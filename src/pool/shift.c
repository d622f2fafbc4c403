/* Room for one request by moving leases away (docs/planner.md).
 *
 * plan/ says which; every move of theirs begins as soon as its place is free (move.c), and the
 * windows that the request needs, one for each slice, are kept for it against everybody who is not
 * before it in the queue, those that are free already too, until it has all of them.  When a move
 * comes to nothing (refused, no answer, the driver fails) the rest is called off, too: another set
 * may be found in the next pass, without the lease that rests now.  What has moved
 * already stays moved.
 *
 * No state lasts without a bound: a holder has so long to answer and to leave, a driver's call ends
 * or its GPU is given up, and a GPU that cannot be read is waited for BLIND_MS. */
#include "pool/internal.h"
#include "base/text.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SEEKERS_MAX 4      /* requests that look for moves in one pass: each looks at every GPU */
#define SHIFT_PAUSE_MS 5000 /* after one that came to nothing */
#define BLIND_MS 60000     /* a GPU that cannot be read is waited for no longer */

/* --- what is kept ----------------------------------------------------------------------------- */

static void add_window(struct plan_exclusion *list, unsigned *count, const struct pool_gpu *gpu,
                       int profile, unsigned start)
{
    uint16_t mask = mig_window(gpu->geometry, profile, start);

    for (unsigned i = 0; i < *count; i++) {
        if (list[i].gpu_id == gpu->id) {
            list[i].mask |= mask;
            return;
        }
    }
    list[(*count)++] = (struct plan_exclusion){.gpu_id = gpu->id, .mask = mask};
}

/* Where those who stop are to go after it. */
static void add_stops(const struct pool_shift *s, struct plan_exclusion *list, unsigned *count)
{
    for (unsigned i = 0; i < s->count; i++) {
        if (s->move[i].is_stop) {
            add_window(list, count, s->move[i].gpu, s->move[i].profile, s->move[i].start);
        }
    }
}

/* The request's windows, and those where moves are still to go. */
static void add_shift(const struct pool_shift *s, struct plan_exclusion *list, unsigned *count)
{
    for (unsigned i = 0; i < s->window_count; i++) {
        add_window(list, count, s->window[i].gpu, s->window[i].profile, s->window[i].start);
    }
    add_stops(s, list, count);
    for (unsigned i = 0; i < s->count; i++) {
        if (!s->move[i].is_stop && !s->move[i].is_begun && !s->move[i].is_done) {
            add_window(list, count, s->move[i].gpu, s->move[i].profile, s->move[i].start);
        }
    }
}

void moves_bind(struct pool *pool, struct pool_lease *lease)
{
    unsigned count = (unsigned)lease->ask.excluded_count;

    if (!pool->shift_count) {
        return;
    }
    if (count) {
        memcpy(pool->bound, lease->ask.excluded, count * sizeof(pool->bound[0]));
    }
    for (unsigned i = 0; i < pool->shift_count; i++) {
        if (pool->shifts[i] == lease) {
            add_stops(lease->shift, pool->bound, &count);
        } else if (lease_is_before(pool->shifts[i], lease)) {
            add_shift(pool->shifts[i]->shift, pool->bound, &count);
        }
    }
    lease->ask.excluded = pool->bound;
    lease->ask.excluded_count = count;
}

bool shift_holds_up(const struct pool *pool, const struct pool_lease *lease)
{
    const struct pool_lease *request = lease->stopped_for
                                           ? pool_find_lease(pool, lease->stopped_for) : NULL;

    return request && request->shift;
}

/* --- its end ---------------------------------------------------------------------------------- */

void shift_end(struct pool *pool, struct pool_lease *lease, const char *why)
{
    struct pool_shift *shift = lease->shift;
    unsigned at = 0;

    if (!shift) {
        return;
    }
    lease->shift = NULL; /* first: giving up a move ends its shift */
    while (pool->shifts[at] != lease) {
        at++;
    }
    pool->shifts[at] = pool->shifts[--pool->shift_count];
    lease->shift_rest_ms = pool->now_ms + SHIFT_PAUSE_MS;
    for (unsigned i = 0; i < shift->count; i++) {
        struct pool_lease *l = pool_lease_get(pool, shift->move[i].lease);
        bool is_open = l && l->move.request == lease->id &&
                       (l->move.phase == POOL_MOVE_MAKING || l->move.phase == POOL_MOVE_ASKED);
        if (is_open) {
            move_call_off(pool, l, why);
        }
    }
    free(shift);
    pool_mark_lease(pool, lease);
    pool->wants_queue_pass = pool->wants_next_pass = true; /* what was kept may be had */
}

void shift_check_use(struct pool *pool, struct pool_lease *lease)
{
    for (unsigned i = 0; lease->shift && i < lease->shift->count; i++) {
        if (!lease->shift->move[i].is_done) {
            return;
        }
    }
    shift_end(pool, lease, "the room that was made is of no use");
}

/* --- its course ------------------------------------------------------------------------------- */

/* May something still be cut there?  What is not known yet, or rests, is waited for. */
static bool is_open(const struct pool_gpu *gpu)
{
    return gpu->is_managed && gpu->health == POOL_HEALTH_OK && !gpu->lease &&
           (!gpu_is_read(gpu) || gpu->info.is_mig_enabled);
}

/* Is the slice to be left by a move that is not done yet? */
static bool is_source(const struct pool *pool, const struct pool_shift *shift,
                      const struct pool_slice *s)
{
    const struct pool_lease *holder = slice_holder(pool, s);

    for (unsigned i = 0; holder && i < shift->count; i++) {
        const struct pool_shift_move *m = &shift->move[i];
        bool is_its = m->lease == holder->id && m->part < holder->part_count &&
                      (holder->part[m->part].slice == s || holder->move.slice == s);
        bool is_target = m->gpu == s->gpu && m->start == s->start && m->profile == s->profile;
        if (is_its && !m->is_done && !is_target) {
            return true;
        }
    }
    return false;
}

/* What stays on the GPU when all moves are done. */
static struct mig_use use_after(const struct pool *pool, const struct pool_shift *shift,
                                const struct pool_gpu *gpu)
{
    struct mig_use use = {0};

    for (unsigned i = 0; i < gpu->slice_count; i++) {
        const struct pool_slice *s = gpu->slices[i];
        if (!is_source(pool, shift, s) && s->state != POOL_SLICE_DESTROYING && !slice_is_spare(s)) {
            slice_add_to_use(s, &use);
        }
    }
    return use;
}

/* Can all of the request's windows on the GPU still come free, side by side? */
static bool is_attainable_on(const struct pool *pool, const struct pool_shift *shift,
                             const struct pool_gpu *gpu)
{
    if (!is_open(gpu) || !gpu_is_read(gpu)) {
        return is_open(gpu);
    }
    struct mig_use use = use_after(pool, shift, gpu);
    for (unsigned i = 0; i < shift->window_count; i++) {
        const struct pool_shift_window *w = &shift->window[i];
        if (w->gpu != gpu) {
            continue;
        }
        if (!mig_fits(gpu->geometry, &use, w->profile, w->start)) {
            return false;
        }
        mig_use_add(gpu->geometry, &use, w->profile, w->start);
    }
    return true;
}

static bool is_attainable(const struct pool *pool, const struct pool_shift *shift)
{
    for (unsigned i = 0; i < shift->window_count; i++) {
        if (!is_attainable_on(pool, shift, shift->window[i].gpu)) {
            return false;
        }
    }
    return true;
}

bool move_begin(struct pool *pool, const struct pool_lease *request, struct pool_lease *mover,
                unsigned part, struct pool_gpu *gpu, struct mig_slice to)
{
    struct pool_slice *s = lease_put(pool, mover, gpu, to.profile, to.start);

    if (!s) {
        return false;
    }
    mover->move = (struct pool_move){.phase = POOL_MOVE_MAKING, .part = part, .slice = s,
                                     .request = request ? request->id : 0};
    mover->move_count++;
    pool_mark_lease(pool, mover);
    for (unsigned i = 0; i < mover->part_count; i++) {
        gpu_changed(pool, mover->part[i].gpu); /* none of them may be asked for now */
    }
    if (s->state == POOL_SLICE_LEASED) {
        move_on_made(pool, mover, s);
    }
    return true;
}

enum start_result { START_DONE, START_LATER, START_NEVER };

static enum start_result try_begin(struct pool *pool, struct pool_lease *request,
                                   struct pool_shift_move *m)
{
    struct pool_lease *mover = pool_lease_get(pool, m->lease);

    if (mover && mover->state == POOL_LEASE_RELEASING) {
        return START_DONE; /* it makes room by itself */
    }
    if (mover && mover->move.phase != POOL_MOVE_NONE && mover->move.request == request->id) {
        return START_LATER; /* another part of it is under way */
    }
    if (!mover || !move_is_possible(pool, mover) || m->part >= mover->part_count ||
        !mover->part[m->part].slice || !is_open(m->gpu)) {
        return START_NEVER;
    }
    if (!gpu_is_usable(pool, m->gpu, NULL)) {
        return START_DONE; /* soon */
    }
    if (m->is_stop) {
        m->is_begun = true;
        move_begin_stop(pool, request, mover);
        return START_DONE;
    }
    struct mig_use use = gpu_use_of_staying(m->gpu, NULL);
    if (!mig_fits(m->gpu->geometry, &use, m->profile, m->start)) {
        return START_LATER; /* one before it is still there */
    }
    m->is_begun = move_begin(pool, request, mover, m->part, m->gpu,
                             (struct mig_slice){m->profile, m->start});
    return m->is_begun ? START_DONE : START_NEVER;
}

/* One that has begun ends the shift by itself when it comes to nothing, unless its
 * record was lost. */
static enum start_result is_under_way(struct pool *pool, const struct pool_lease *request,
                                      const struct pool_shift_move *m)
{
    const struct pool_lease *mover = pool_lease_get(pool, m->lease);
    bool is_moving = mover && mover->move.phase != POOL_MOVE_NONE &&
                     mover->move.request == request->id && mover->move.part == m->part;

    return is_moving || (mover && mover->state == POOL_LEASE_RELEASING) ? START_DONE : START_NEVER;
}

/* Begins what can begin; false when nothing can come of the rest. */
static bool go_on(struct pool *pool, struct pool_lease *request)
{
    bool is_later = false, is_moving = false;

    for (unsigned i = 0; request->shift && i < request->shift->count; i++) {
        struct pool_shift_move *m = &request->shift->move[i];
        if (m->is_done) {
            continue;
        }
        enum start_result r = m->is_begun ? is_under_way(pool, request, m)
                                          : try_begin(pool, request, m);
        if (r == START_NEVER) {
            return false;
        }
        is_later = is_later || r == START_LATER;
        is_moving = is_moving || r == START_DONE;
    }
    return is_moving || !is_later;
}

/* A GPU that it needs and that cannot be read, for too long now; NULL: none. */
static const struct pool_gpu *find_blind(const struct pool *pool, struct pool_shift *shift)
{
    const struct pool_gpu *blind = NULL;

    for (unsigned i = 0; i < shift->window_count && !blind; i++) {
        blind = gpu_is_read(shift->window[i].gpu) ? NULL : shift->window[i].gpu;
    }
    for (unsigned i = 0; i < shift->count && !blind; i++) {
        const struct pool_shift_move *m = &shift->move[i];
        blind = m->is_done || gpu_is_read(m->gpu) ? NULL : m->gpu;
    }
    if (!blind) {
        shift->blind_until_ms = 0;
    } else if (!shift->blind_until_ms) {
        shift->blind_until_ms = pool->now_ms + BLIND_MS;
    }
    return blind && shift->blind_until_ms <= pool->now_ms ? blind : NULL;
}

static void say_blind(const struct pool_gpu *gpu, char *buf, size_t size)
{
    snprintf(buf, size, "GPU %u is needed for it: %.110s", gpu->info.index,
             gpu->read_problem[0] ? gpu->read_problem : "it is still being read");
}

void moves_pass(struct pool *pool)
{
    pool->seekers = 0;
    for (unsigned i = 0; i < pool->shift_count;) {
        struct pool_lease *request = pool->shifts[i];
        unsigned before = pool->shift_count;
        const struct pool_gpu *blind = find_blind(pool, request->shift);
        if (blind) {
            char why[160];
            say_blind(blind, why, sizeof(why));
            shift_end(pool, request, why);
        } else if (!is_attainable(pool, request->shift)) {
            shift_end(pool, request, "what it was to make room for cannot come there any more");
        } else if (!go_on(pool, request)) {
            shift_end(pool, request, "the moves that it was part of cannot be finished");
        }
        i = pool->shift_count == before ? i + 1 : i;
    }
}

static bool is_known_to(const struct pool_lease *request, const struct pool_lease *mover)
{
    for (unsigned i = 0; request && request->shift && i < request->shift->count; i++) {
        const struct pool_shift_move *m = &request->shift->move[i];
        if (m->lease == mover->id && m->part == mover->move.part) {
            return true;
        }
    }
    return false;
}

void moves_tie(struct pool *pool)
{
    struct pool_lease *l = NULL, *next = NULL;

    for (l = pool->leases; l; l = next) {
        next = l->hh.next;
        bool is_open_move = l->move.phase == POOL_MOVE_MAKING || l->move.phase == POOL_MOVE_ASKED;
        const struct pool_lease *request =
            l->move.request ? pool_lease_get(pool, l->move.request) : NULL;
        if (is_open_move && !l->move.request) {
            pool->consolidating = l->id;
        }
        if (is_open_move && l->move.request && !is_known_to(request, l)) {
            move_call_off(pool, l, "the record of the request was damaged");
        }
    }
}

/* --- its beginning ---------------------------------------------------------------------------- */

struct pool_lease *move_lease_at(struct pool *pool, const struct pool_gpu *gpu,
                                 struct mig_slice at, unsigned *ret_part)
{
    for (unsigned i = 0; i < gpu->slice_count; i++) {
        const struct pool_slice *s = gpu->slices[i];
        struct pool_lease *l = s->start == at.start && s->profile == at.profile && s->ci_count
                                   ? pool_lease_get(pool, s->ci[0].lease) : NULL;
        for (unsigned k = 0; l && k < l->part_count; k++) {
            if (l->part[k].slice == s && move_is_possible(pool, l)) {
                *ret_part = k;
                return l;
            }
        }
    }
    return NULL;
}

bool shift_from_plan(struct pool *pool, const struct plan_set_moves *found,
                     struct pool_shift *ret)
{
    *ret = (struct pool_shift){.window_count = found->spot_count, .count = found->moves.count};
    for (unsigned i = 0; i < found->spot_count; i++) {
        const struct plan_spot *spot = &found->spots[i];
        ret->window[i] = (struct pool_shift_window){.gpu = pool->gpus[spot->gpu_id],
                                                    .profile = spot->slice.profile,
                                                    .start = spot->slice.start};
    }
    for (unsigned i = 0; i < found->moves.count; i++) {
        const struct plan_move *m = &found->moves.moves[i];
        unsigned part = 0;
        const struct pool_lease *l = move_lease_at(pool, pool->gpus[m->from_gpu], m->from, &part);
        if (!l || (m->stops && l->count > 1)) { /* who stops has nothing at all for a while */
            return false;
        }
        ret->move[i] = (struct pool_shift_move){.lease = l->id, .part = part,
                                                .gpu = pool->gpus[m->to_gpu],
                                                .profile = m->to.profile, .start = m->to.start,
                                                .is_stop = m->stops};
    }
    return true;
}

void moves_seek(struct pool *pool, struct pool_lease *lease, const struct hold *hold)
{
    consolidation_yield(pool);
    if (!lease_may_seek(pool, lease) || lease->shift || lease->must_not_wait ||
        lease->shift_rest_ms > pool->now_ms || lease->stopped_for ||
        pool->shift_count == SHIFTS_MAX || pool->seekers++ >= SEEKERS_MAX) {
        return;
    }
    CLEANUP(freep) struct plan_set_moves *found = xcalloc(1, sizeof(*found));
    CLEANUP(freep) struct pool_shift *shift = xcalloc(1, sizeof(*shift));
    if (!lease_find_moves(pool, lease, hold, found) || !shift_from_plan(pool, found, shift)) {
        return;
    }
    lease->shift = TAKE_PTR(shift);
    pool->shifts[pool->shift_count++] = lease;
    pool_mark_lease(pool, lease);
    if (!go_on(pool, lease)) {
        shift_end(pool, lease, "the moves cannot be begun");
    }
}

static uint16_t slots_of_idle(const struct pool_gpu *gpu, const struct plan *plan, uint16_t bits)
{
    struct plan_gpu view;
    uint16_t slots = 0;

    plan_get_gpu(plan, gpu->id, &view);
    for (unsigned i = 0; i < view.idle_count; i++) {
        slots |= bits >> i & 1
                     ? mig_window(gpu->geometry, view.idle[i].profile, view.idle[i].start) : 0;
    }
    return slots;
}

/* Making one takes so long, and first destroying what is in its way. */
static int64_t driver_us(const struct pool_gpu *gpu, uint16_t destroys)
{
    return gpu->create_us + (destroys ? gpu->destroy_us : 0);
}

/* What would be found for one that does not wait yet. */
static bool find_for_new(struct pool *pool, struct pool_lease *lease, struct plan_set_moves *found,
                         struct pool_shift *shift)
{
    const struct pool_lease *head = queue_head(pool);
    bool is_first = !head || lease_is_before(lease, head);

    return lease_may_seek(pool, lease) && (is_first || pool->settings.backfill_depth) &&
           lease_find_moves(pool, lease, is_first ? NULL : &pool->hold, found) &&
           shift_from_plan(pool, found, shift);
}

unsigned shift_would_ask(struct pool *pool, struct pool_lease *lease)
{
    CLEANUP(freep) struct plan_set_moves *found = xcalloc(1, sizeof(*found));
    CLEANUP(freep) struct pool_shift *shift = xcalloc(1, sizeof(*shift));

    return find_for_new(pool, lease, found, shift) ? shift->count : 0;
}

static void preview_room(struct pool *pool, const struct plan_set_moves *found,
                         const struct pool_shift *shift, struct pool_preview *ret)
{
    for (unsigned i = 0; i < shift->window_count; i++) {
        const struct pool_shift_window *w = &shift->window[i];
        const struct mig_profile *p = &w->gpu->geometry->profiles[w->profile];
        struct pool_preview_step *room = &ret->room[ret->room_count++];
        *room = (struct pool_preview_step){
            .gpu = w->gpu, .start = w->start, .size = p->size,
            .destroys = slots_of_idle(w->gpu, pool->plan, found->spots[i].destroy)};
        text_copy(room->profile_name, sizeof(room->profile_name), p->name);
        ret->moves_us += driver_us(w->gpu, room->destroys);
    }
}

void shift_preview(struct pool *pool, struct pool_lease *lease, struct pool_preview *ret)
{
    CLEANUP(freep) struct plan_set_moves *found = xcalloc(1, sizeof(*found));
    CLEANUP(freep) struct pool_shift *shift = xcalloc(1, sizeof(*shift));

    if (!find_for_new(pool, lease, found, shift)) {
        return;
    }
    for (unsigned i = 0; i < shift->count; i++) {
        const struct pool_shift_move *m = &shift->move[i];
        const struct pool_lease *l = pool_find_lease(pool, m->lease);
        const struct mig_profile *p = &m->gpu->geometry->profiles[m->profile];
        struct pool_preview_move *to = &ret->move[ret->move_count++];
        *to = (struct pool_preview_move){
            .lease = l, .from = l->part[m->part].slice, .gpu = m->gpu, .start = m->start,
            .size = p->size, .is_stop = m->is_stop,
            .destroys = slots_of_idle(m->gpu, pool->plan, found->moves.moves[i].destroy)};
        text_copy(to->profile_name, sizeof(to->profile_name), p->name);
        ret->moves_us += driver_us(m->gpu, to->destroys) + to->from->gpu->destroy_us;
    }
    preview_room(pool, found, shift, ret);
}

/* --- what it waits for ------------------------------------------------------------------------ */

static void name_mover(const struct pool *pool, const struct pool_shift_move *m, char *buf,
                       size_t size)
{
    const struct pool_lease *l = pool_find_lease(pool, m->lease);
    char when[32];

    if (!l) {
        snprintf(buf, size, "l-%" PRIu64 " (gone)", m->lease);
    } else if (!m->is_begun) {
        snprintf(buf, size, "l-%" PRIu64 " (%.30s; after the others)", l->id, l->tenant->name);
    } else if (l->move.phase == POOL_MOVE_ASKED) {
        snprintf(buf, size, "l-%" PRIu64 " (%.30s; asked, answers until %s)", l->id,
                 l->tenant->name, text_format_time_ms(l->move.due_ms, when));
    } else {
        snprintf(buf, size, "l-%" PRIu64 " (%.30s; %s)", l->id, l->tenant->name,
                 l->move.is_stop ? "has stopped"
                 : l->move.phase == POOL_MOVE_MAKING ? "its new slice is being made"
                                                   : "leaves its old slice");
    }
}

/* "GPU 1", or "GPUs 0, 1 and 3": each once, in order. */
static void name_gpus(const struct pool_shift *shift, char *buf, size_t size)
{
    unsigned index[POOL_MAX_COUNT], count = 0;
    size_t at = 0;

    for (unsigned i = 0; i < shift->window_count; i++) {
        unsigned one = shift->window[i].gpu->info.index, k = 0;
        while (k < count && index[k] < one) {
            k++;
        }
        if (k < count && index[k] == one) {
            continue;
        }
        memmove(&index[k + 1], &index[k], (count++ - k) * sizeof(index[0]));
        index[k] = one;
    }
    at = (size_t)snprintf(buf, size, count > 1 ? "GPUs" : "GPU");
    for (unsigned k = 0; k < count && at + 16 < size; k++) {
        const char *before = !k ? " " : k + 1 < count ? ", " : " and ";
        at += (size_t)snprintf(buf + at, size - at, "%s%u", before, index[k]);
    }
}

void shift_explain(const struct pool *pool, const struct pool_lease *lease,
                   struct pool_explanation *ret)
{
    const struct pool_shift *shift = lease->shift;
    char who[120], why[120], where[64];
    unsigned left_out = 0, named = 0;

    name_gpus(shift, where, sizeof(where));
    size_t at = (size_t)snprintf(ret->reason, sizeof(ret->reason),
                                 "room is made for it on %s by moving ", where);
    for (unsigned i = 0; i < shift->count; i++) {
        const struct pool_shift_move *m = &shift->move[i];
        const struct pool_lease *l = pool_find_lease(pool, m->lease);
        if (m->is_done) {
            continue;
        }
        name_mover(pool, m, who, sizeof(who));
        if (at + strlen(who) + 16 < sizeof(ret->reason)) {
            at += (size_t)snprintf(ret->reason + at, sizeof(ret->reason) - at, "%s%s",
                                   named++ ? ", " : "", who);
        } else {
            left_out++;
        }
        if (l && m->part < l->part_count && l->part[m->part].slice) {
            move_explain(pool, l, why, sizeof(why));
            unsigned before = ret->block_count;
            explain_block(ret, l->part[m->part].gpu, l->part[m->part].slice, l,
                          *why ? why : "to be moved");
            if (ret->block_count > before) {
                ret->block[before].until_ms = l->move.due_ms;
            }
        }
    }
    if (left_out) {
        snprintf(ret->reason + at, sizeof(ret->reason) - at, " and %u more", left_out);
    } else if (!named) {
        snprintf(ret->reason, sizeof(ret->reason), "room was made for it on %s; it is being cut",
                 where);
    }
    snprintf(ret->help, sizeof(ret->help), "the confirmation of the holders who are asked to move");
}
