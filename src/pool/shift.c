/* Room for one request by moving leases away (docs/planner.md).
 *
 * plan/ says which; every move begins as soon as its place is free (move.c), and the window that the
 * moves leave is kept for the request, against everybody who is not before it in the queue, until it
 * has it.  When a move comes to nothing (refused, no answer, the driver fails) the rest is called off,
 * too: another set may be found in the next pass, without the lease that rests now.  What has moved
 * already stays moved. */
#include "pool/internal.h"
#include "base/text.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SEEKERS_MAX 4      /* requests that look for moves in one pass: each looks at every GPU */
#define SHIFT_PAUSE_MS 5000 /* after one that came to nothing */

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

/* The request's window, and those where moves are still to go. */
static void add_shift(const struct pool_shift *s, struct plan_exclusion *list, unsigned *count)
{
    add_window(list, count, s->gpu, s->profile, s->start);
    for (unsigned i = 0; i < s->count; i++) {
        if (s->move[i].is_stop || (!s->move[i].is_begun && !s->move[i].is_done)) {
            add_window(list, count, s->move[i].gpu, s->move[i].profile, s->move[i].start);
        }
    }
}

/* Whoever is before it in the queue, or comes in before it, need not wait for it. */
static bool is_before(const struct pool_lease *a, const struct pool_lease *b)
{
    return a->queue_key > b->queue_key || (a->queue_key == b->queue_key && a->id < b->id);
}

void moves_bind(struct pool *pool, struct pool_lease *lease)
{
    unsigned count = (unsigned)lease->ask.excluded_count;

    if (!pool->shift_count || (pool->shift_count == 1 && pool->shifts[0] == lease)) {
        return;
    }
    if (count) {
        memcpy(pool->bound, lease->ask.excluded, count * sizeof(pool->bound[0]));
    }
    for (unsigned i = 0; i < pool->shift_count; i++) {
        if (is_before(pool->shifts[i], lease)) {
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
    pool->wants_queue_pass = true; /* what was kept may be had */
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

static const struct pool_shift_move *mover_of(const struct pool_shift *shift,
                                              const struct pool_lease *lease)
{
    for (unsigned i = 0; lease && i < shift->count; i++) {
        if (shift->move[i].lease == lease->id) {
            return &shift->move[i];
        }
    }
    return NULL;
}

/* May something still be cut there?  What is not known yet, or rests, is waited for. */
static bool is_open(const struct pool_gpu *gpu)
{
    bool is_known = gpu->is_scanned && !gpu->wants_scan;

    return gpu->is_managed && gpu->health == POOL_HEALTH_OK && !gpu->lease &&
           (!is_known || gpu->info.is_mig_enabled);
}

/* Can the request's window still come free? */
static bool is_attainable(const struct pool *pool, const struct pool_shift *shift)
{
    struct mig_use use = {0};

    if (!shift->gpu->is_scanned || shift->gpu->wants_scan) {
        return is_open(shift->gpu);
    }
    for (unsigned i = 0; i < shift->gpu->slice_count; i++) {
        const struct pool_slice *s = shift->gpu->slices[i];
        const struct pool_lease *holder = slice_holder(pool, s);
        const struct pool_shift_move *m = mover_of(shift, holder);
        bool is_source = m && !m->is_done && !(m->gpu == shift->gpu && m->start == s->start &&
                                               m->profile == s->profile);
        if (!is_source && s->state != POOL_SLICE_DESTROYING && !slice_is_spare(s)) {
            slice_add_to_use(s, &use);
        }
    }
    return is_open(shift->gpu) &&
           mig_fits(shift->gpu->geometry, &use, shift->profile, shift->start);
}

bool move_begin(struct pool *pool, const struct pool_lease *request, struct pool_lease *mover,
                struct pool_gpu *gpu, int profile, unsigned start)
{
    struct pool_slice *s = lease_put(pool, mover, gpu, profile, start);

    if (!s) {
        return false;
    }
    mover->move = (struct pool_move){.phase = POOL_MOVE_MAKING, .slice = s,
                                     .request = request ? request->id : 0};
    pool_mark_lease(pool, mover);
    gpu_changed(pool, mover->part[0].gpu);
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
    if (!mover || !move_is_possible(pool, mover) || !is_open(m->gpu)) {
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
    m->is_begun = move_begin(pool, request, mover, m->gpu, m->profile, m->start);
    return m->is_begun ? START_DONE : START_NEVER;
}

/* One that has begun ends the shift by itself when it comes to nothing, unless its record was lost. */
static enum start_result is_under_way(struct pool *pool, const struct pool_lease *request,
                                      const struct pool_shift_move *m)
{
    const struct pool_lease *mover = pool_lease_get(pool, m->lease);
    bool is_moving = mover && mover->move.phase != POOL_MOVE_NONE &&
                     mover->move.request == request->id;

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

void moves_pass(struct pool *pool)
{
    pool->seekers = 0;
    for (unsigned i = 0; i < pool->shift_count;) {
        struct pool_lease *request = pool->shifts[i];
        unsigned before = pool->shift_count;
        if (!is_attainable(pool, request->shift)) {
            shift_end(pool, request, "what it was to make room for cannot come there any more");
        } else if (!go_on(pool, request)) {
            shift_end(pool, request, "the moves that it was part of cannot be finished");
        }
        i = pool->shift_count == before ? i + 1 : i;
    }
}

void moves_tie(struct pool *pool)
{
    struct pool_lease *l = NULL, *next = NULL;

    for (l = pool->leases; l; l = next) {
        next = l->hh.next;
        bool is_open_move = l->move.phase == POOL_MOVE_MAKING || l->move.phase == POOL_MOVE_ASKED;
        const struct pool_lease *request =
            l->move.request ? pool_lease_get(pool, l->move.request) : NULL;
        bool is_known = request && request->shift && mover_of(request->shift, l);
        if (is_open_move && !l->move.request) {
            pool->consolidating = l->id;
        }
        if (is_open_move && l->move.request && !is_known) {
            move_call_off(pool, l, "the record of the request was damaged");
        }
    }
}

/* --- its beginning ---------------------------------------------------------------------------- */

struct pool_lease *move_lease_at(struct pool *pool, const struct pool_gpu *gpu, struct mig_slice at)
{
    for (unsigned i = 0; i < gpu->slice_count; i++) {
        const struct pool_slice *s = gpu->slices[i];
        struct pool_lease *l = s->start == at.start && s->profile == at.profile && s->ci_count
                                   ? pool_lease_get(pool, s->ci[0].lease) : NULL;
        if (l && l->part_count && l->part[0].slice == s && move_is_possible(pool, l)) {
            return l;
        }
    }
    return NULL;
}

bool shift_from_plan(struct pool *pool, const struct plan_moves *found,
                     struct pool_shift *ret)
{
    *ret = (struct pool_shift){.gpu = pool->gpus[found->spot.gpu_id],
                               .profile = found->spot.slice.profile,
                               .start = found->spot.slice.start, .count = found->count};
    for (unsigned i = 0; i < found->count; i++) {
        const struct plan_move *m = &found->moves[i];
        const struct pool_lease *l = move_lease_at(pool, pool->gpus[m->from_gpu], m->from);
        if (!l) {
            return false;
        }
        ret->move[i] = (struct pool_shift_move){.lease = l->id, .gpu = pool->gpus[m->to_gpu],
                                                .profile = m->to.profile, .start = m->to.start,
                                                .is_stop = m->stops};
    }
    return true;
}

void moves_seek(struct pool *pool, struct pool_lease *lease, const struct hold *hold)
{
    struct plan_moves found;
    struct pool_shift shift;

    consolidation_yield(pool);
    if (!pool->settings.max_moves || lease->shift || lease->count != 1 || lease->must_not_wait ||
        lease->shift_rest_ms > pool->now_ms || lease->stopped_for || pool->shift_count == SHIFTS_MAX ||
        pool->seekers++ >= SEEKERS_MAX || !lease_find_moves(pool, lease, hold, &found) ||
        !shift_from_plan(pool, &found, &shift)) {
        return;
    }
    lease->shift = xcalloc(1, sizeof(*lease->shift));
    *lease->shift = shift;
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

void shift_preview(struct pool *pool, struct pool_lease *lease, struct pool_preview *ret)
{
    const struct pool_lease *head = queue_head(pool);
    bool is_first = !head || is_before(lease, head);
    struct plan_moves found;
    struct pool_shift shift;

    if (!pool->settings.max_moves || lease->count != 1 ||
        (!is_first && !pool->settings.backfill_depth) ||
        !lease_find_moves(pool, lease, is_first ? NULL : &pool->hold, &found) ||
        !shift_from_plan(pool, &found, &shift)) {
        return;
    }
    for (unsigned i = 0; i < shift.count; i++) {
        const struct pool_shift_move *m = &shift.move[i];
        const struct pool_lease *l = pool_find_lease(pool, m->lease);
        const struct mig_profile *p = &m->gpu->geometry->profiles[m->profile];
        struct pool_preview_move *to = &ret->move[ret->move_count++];
        *to = (struct pool_preview_move){
            .lease = l, .gpu = m->gpu, .start = m->start, .size = p->size, .is_stop = m->is_stop,
            .destroys = slots_of_idle(m->gpu, pool->plan, found.moves[i].destroy)};
        text_copy(to->profile_name, sizeof(to->profile_name), p->name);
        ret->moves_us += driver_us(m->gpu, to->destroys) + l->part[0].gpu->destroy_us;
    }
    const struct mig_profile *p = &shift.gpu->geometry->profiles[shift.profile];
    ret->room = (struct pool_preview_step){
        .gpu = shift.gpu, .start = shift.start, .size = p->size,
        .destroys = slots_of_idle(shift.gpu, pool->plan, found.spot.destroy)};
    text_copy(ret->room.profile_name, sizeof(ret->room.profile_name), p->name);
    ret->moves_us += driver_us(shift.gpu, ret->room.destroys);
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

void shift_explain(const struct pool *pool, const struct pool_lease *lease,
                   struct pool_explanation *ret)
{
    const struct pool_shift *shift = lease->shift;
    char who[120], why[120];
    size_t at = (size_t)snprintf(ret->reason, sizeof(ret->reason),
                                 "room is made for it on GPU %u by moving ",
                                 shift->gpu->info.index);
    unsigned left_out = 0, named = 0;

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
        if (l && l->part_count && l->part[0].slice) {
            move_explain(pool, l, why, sizeof(why));
            unsigned before = ret->block_count;
            explain_block(ret, l->part[0].gpu, l->part[0].slice, l, *why ? why : "to be moved");
            if (ret->block_count > before) {
                ret->block[before].until_ms = l->move.due_ms;
            }
        }
    }
    if (left_out) {
        snprintf(ret->reason + at, sizeof(ret->reason) - at, " and %u more", left_out);
    } else if (!named) {
        snprintf(ret->reason, sizeof(ret->reason), "room was made for it on GPU %u; it is being cut",
                 shift->gpu->info.index);
    }
    snprintf(ret->help, sizeof(ret->help), "the confirmation of the holders who are asked to move");
}
