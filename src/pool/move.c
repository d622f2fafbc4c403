/* One lease goes to another slice, or one part of a lease of several.
 *
 *     MAKING ─▶ ASKED ─┬─ confirmed ─▶ LEAVING the old slice ─▶ done
 *        │        │    └─ refused ───▶ LEAVING the new slice ─▶ the lease has what it had
 *        └────────┴────── called off, no answer in time, the driver fails: the same
 *
 * Make before break: the new slice is there, and recorded, before anybody is asked.  Its compute
 * instance names the lease from the first moment, so that nothing that the pool does with slices
 * can touch it; but the lease's part stays the old one until its holder has confirmed, and is the
 * new one from then on, in one step (law 2).  The slice that is left is looked at for processes
 * like one that is given back, and is idle when none runs any more (law 1): a holder who confirms
 * and goes on computing keeps both; after the time for an answer both count on its tenant, and the
 * request that room was made for looks elsewhere.
 *
 * Everything is in the lease's record, so a crash between any two steps changes nothing: MAKING is
 * made again (or found, and destroyed: then the move is called off), ASKED still waits for the
 * answer, LEAVING looks again. */
#include "pool/internal.h"
#include "base/text.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define RECHECK_MS 1000
#define RECHECK_SHIFT_MOST 6 /* 64 s between two looks of which the driver knows nothing */
/* Whose holder was asked in vain has this part of the pause at first, then twice as much each time,
 * up to all of it. */
#define VAIN_PART 32

const char *pool_move_phase_name(enum pool_move_phase phase)
{
    static const char *const names[POOL_MOVE_PHASE_COUNT] = {"none", "making", "asked", "leaving"};

    return names[phase];
}

const char *pool_move_name(const struct pool_lease *lease, char buf[static POOL_MOVE_NAME_SIZE])
{
    buf[0] = '\0';
    if (lease->move_count) {
        snprintf(buf, POOL_MOVE_NAME_SIZE, "l-%" PRIu64 ".%u", lease->id, lease->move_count);
    }
    return buf;
}

/* Which of the slice's compute instances names the lease. */
static unsigned ci_of(const struct pool_slice *s, uint64_t lease)
{
    unsigned c = 0;

    while (c + 1 < s->ci_count && s->ci[c].lease != lease) {
        c++;
    }
    return c;
}

bool move_is_possible(const struct pool *pool, const struct pool_lease *lease)
{
    return lease->is_movable && lease->state == POOL_LEASE_ACTIVE &&
           lease->part_count == lease->count && !lease->want.compute_instance_slices &&
           lease->move.phase == POOL_MOVE_NONE && lease->move_rest_ms <= pool->now_ms;
}

static const char *uuid_of(const struct pool_slice *s, uint64_t lease)
{
    return s->ci_count ? s->ci[ci_of(s, lease)].mig_uuid : "";
}

/* An event that names both slices. */
static void tell(struct pool *pool, enum pool_history what, const struct pool_lease *lease,
                 const struct pool_slice *from, const struct pool_slice *to, const char *text)
{
    pool_tell(pool, what, to->gpu, lease, "%s", text);
    struct pool_action *a = &pool->out->action[pool->out->count - 1];
    text_copy(a->old_uuid, sizeof(a->old_uuid), uuid_of(from, lease->id));
    if (from != to) { /* who has to stop is not told of another */
        text_copy(a->new_uuid, sizeof(a->new_uuid), uuid_of(to, lease->id));
    }
    pool_move_name(lease, a->move);
}

/* What is let go must have no process on it. */
static void look_for_processes(struct pool *pool, struct pool_lease *lease)
{
    const struct pool_slice *s = lease->move.slice;
    struct pool_job *job = pool_emit_job(pool, POOL_JOB_CHECK, s->gpu);

    lease->move.check_job = job->id;
    job->lease = lease->id;
    job->slice = s->id;
    job->profile_id = s->profile_id;
    job->start = s->start;
    job->size = s->size;
    text_copy(job->mig_uuid, sizeof(job->mig_uuid), uuid_of(s, lease->id));
}

static void leave(struct pool *pool, struct pool_lease *lease)
{
    lease->move.phase = POOL_MOVE_LEAVING;
    lease->move.due_ms = pool->now_ms + pool->settings.move_answer_ms;
    pool_mark_lease(pool, lease);
    look_for_processes(pool, lease);
}

/* Nobody makes room for the request with this lease any more, or it has been made. */
static void note_outcome(struct pool *pool, const struct pool_lease *lease,
                         const struct pool_move *move, bool is_done, const char *why)
{
    struct pool_lease *for_whom = move->request ? pool_lease_get(pool, move->request) : NULL;
    struct pool_shift *shift = for_whom ? for_whom->shift : NULL;
    unsigned at = 0;

    pool->wants_queue_pass = true;
    while (shift && at < shift->count &&
           !(shift->move[at].lease == lease->id && shift->move[at].part == move->part)) {
        at++;
    }
    if (!shift || at == shift->count) {
        return;
    }
    if (is_done) {
        shift->move[at].is_done = true;
        pool_mark_lease(pool, for_whom);
    } else {
        shift_end(pool, for_whom, why);
    }
}

/* What may be asked of it has changed. */
static void parts_changed(struct pool *pool, const struct pool_lease *lease)
{
    for (unsigned i = 0; i < lease->part_count; i++) {
        gpu_changed(pool, lease->part[i].gpu);
    }
}

/* The move ends, and the second slice is nobody's. */
static void finish(struct pool *pool, struct pool_lease *lease)
{
    struct pool_slice *s = lease->move.slice;

    lease->tenant->compute_slots -= lease->move.extra_slots;
    lease_drop_slice(pool, lease, s, ci_of(s, lease->id));
    lease->move = (struct pool_move){0};
    pool_mark_lease(pool, lease);
    pool->wants_queue_pass = pool->wants_next_pass = true;
    parts_changed(pool, lease); /* it may be asked again */
}

/* Nothing was asked, as it were. */
static void forget(struct pool *pool, struct pool_lease *lease)
{
    lease->move = (struct pool_move){0};
    pool_mark_lease(pool, lease);
    parts_changed(pool, lease);
}

/* Nothing runs on its only slice, or the slice is gone. */
static void stop(struct pool *pool, struct pool_lease *lease, bool is_missing)
{
    struct pool_slice *s = lease->move.slice;
    uint64_t request = lease->move.request;
    char text[120];

    snprintf(text, sizeof(text), "l-%" PRIu64 " (%.40s) has stopped and gets a slice anew",
             lease->id, lease->tenant->name);
    tell(pool, POOL_HIST_LEASE_STOPPED, lease, s, s, text);
    lease->vain_asks = 0;
    lease_stop(pool, lease, request);
    if (is_missing) {
        if (s->state == POOL_SLICE_IDLE) {
            slice_doom(pool, s, 0, 0);
        }
        gpu_ask_scan(pool, s->gpu);
    }
}

/* It is not asked again for so long. */
static void rest_for(struct pool *pool, struct pool_lease *lease, int64_t ms)
{
    lease->move_rest_ms = pool->now_ms + ms;
    if (ms) {
        pool_add_timer(pool, lease->move_rest_ms, TIMER_GPU, lease->part[0].gpu->id);
    }
    pool_mark_lease(pool, lease);
}

/* Its holder has said no, one way or the other. */
static void rest(struct pool *pool, struct pool_lease *lease)
{
    rest_for(pool, lease, pool->settings.move_pause_ms);
}

/* It was asked, and it came to nothing through no fault of its holder: who asks and cancels again
 * and again must not be able to pester it.  A pause after such a rest, and all is forgotten. */
static void rest_after_vain(struct pool *pool, struct pool_lease *lease)
{
    int64_t pause = pool->settings.move_pause_ms;

    if (lease->move_rest_ms + pause <= pool->now_ms) {
        lease->vain_asks = 0;
    }
    int64_t ms = pause / VAIN_PART;
    for (unsigned i = 0; i < lease->vain_asks && ms < pause; i++) {
        ms *= 2;
    }
    lease->vain_asks++;
    rest_for(pool, lease, ms < pause ? ms : pause);
}

/* The holder keeps what it has. */
void move_call_off(struct pool *pool, struct pool_lease *lease, const char *why)
{
    struct pool_move was = lease->move;
    char text[200];

    if (was.phase == POOL_MOVE_ASKED && was.request && lease->move_rest_ms <= pool->now_ms) {
        rest_after_vain(pool, lease);
    }
    snprintf(text, sizeof(text), "l-%" PRIu64 " stays where it is: %.150s", lease->id, why);
    tell(pool, POOL_HIST_LEASE_MOVE_CANCELLED, lease, move_part(lease)->slice, was.slice, text);
    if (was.is_stop) {
        forget(pool, lease);
    } else if (was.phase == POOL_MOVE_ASKED) {
        leave(pool, lease); /* it may have begun to use the new one */
    } else {
        finish(pool, lease);
    }
    note_outcome(pool, lease, &was, false, why);
}

/* Whether processes run on what is let go cannot be found out.  That is not the holder's fault, and
 * whoever waits for it need not wait for the driver to mend, either. */
static void stay_unseen(struct pool *pool, struct pool_lease *lease, const char *message)
{
    char why[160];

    snprintf(why, sizeof(why), "whether processes still run on the slice cannot be seen: %.100s",
             message);
    if (lease->move.is_stop) { /* it has only this one, and it would be the same next time */
        rest(pool, lease);
        move_call_off(pool, lease, why);
    } else {
        note_outcome(pool, lease, &lease->move, false, why);
    }
}

/* Who still has processes on what is let go has two slices, which count; and whoever waits for it
 * is not kept from looking elsewhere. */
static void overstay(struct pool *pool, struct pool_lease *lease)
{
    struct pool_move *m = &lease->move;

    if (m->is_stop) { /* it has only this one, and has not stopped */
        rest(pool, lease);
        move_call_off(pool, lease, "a process still runs on its slice");
        return;
    }
    m->extra_slots = m->slice->ci[ci_of(m->slice, lease->id)].compute_slots;
    lease->tenant->compute_slots += m->extra_slots;
    pool_mark_lease(pool, lease);
    note_outcome(pool, lease, m, false, "a holder who was to leave has not done so");
}

bool move_give_up(struct pool *pool, struct pool_lease *lease, const struct pool_slice *slice,
                  const char *why)
{
    struct pool_move was = lease->move;
    char text[200];

    if (was.phase == POOL_MOVE_NONE || was.slice != slice) {
        return false;
    }
    if (was.is_stop) { /* its only one: lost, unless it has stopped already */
        bool has_stopped = was.phase == POOL_MOVE_LEAVING;
        if (has_stopped) {
            stop(pool, lease, false);
        }
        return has_stopped;
    }
    text_copy(text, sizeof(text), why);
    if (was.phase == POOL_MOVE_LEAVING) {
        finish(pool, lease); /* it is gone: nothing runs on it */
        if (was.is_confirmed) {
            note_outcome(pool, lease, &was, true, "");
        }
        lease_end_if_checked(pool, lease);
    } else {
        lease->move.phase = POOL_MOVE_MAKING; /* there is nothing to look at */
        move_call_off(pool, lease, text);
    }
    return true;
}

void moves_leave_gpu(struct pool *pool, struct pool_gpu *gpu, const char *why)
{
    for (unsigned i = 0; i < gpu->slice_count;) {
        struct pool_slice *s = gpu->slices[i];
        unsigned before = gpu->slice_count;
        for (unsigned c = 0; c < s->ci_count; c++) {
            struct pool_lease *l = s->ci[c].lease ? pool_lease_get(pool, s->ci[c].lease) : NULL;
            bool is_new = l && l->move.slice == s && (l->move.phase == POOL_MOVE_MAKING ||
                                                      l->move.phase == POOL_MOVE_ASKED);
            if (is_new) {
                move_call_off(pool, l, why);
                break;
            }
        }
        i = gpu->slice_count == before ? i + 1 : i;
    }
}

void move_on_made(struct pool *pool, struct pool_lease *lease, struct pool_slice *slice)
{
    char text[240], when[32];

    if (lease->move.phase != POOL_MOVE_MAKING || lease->move.slice != slice) {
        return;
    }
    text_copy(slice->tenant, sizeof(slice->tenant), lease->tenant->name);
    slice->lease = 0;
    pool_mark_slice(pool, slice);
    lease->move.phase = POOL_MOVE_ASKED;
    lease->move.due_ms = pool->now_ms + pool->settings.move_answer_ms;
    lease_arm_timer(pool, lease, lease->move.due_ms);
    pool_mark_lease(pool, lease);
    snprintf(text, sizeof(text), "l-%" PRIu64 " (%.40s) is asked to move to %.60s until %s",
             lease->id, lease->tenant->name, uuid_of(slice, lease->id),
             text_format_time_ms(lease->move.due_ms, when));
    tell(pool, POOL_HIST_LEASE_MOVE_ASKED, lease, move_part(lease)->slice, slice, text);
}

void move_begin_stop(struct pool *pool, const struct pool_lease *request, struct pool_lease *mover)
{
    struct pool_slice *s = mover->part[0].slice;
    char text[240], when[32];

    mover->move = (struct pool_move){.phase = POOL_MOVE_ASKED, .slice = s, .is_stop = true,
                                     .request = request->id,
                                     .due_ms = pool->now_ms + pool->settings.move_answer_ms};
    mover->move_count++;
    lease_arm_timer(pool, mover, mover->move.due_ms);
    pool_mark_lease(pool, mover);
    gpu_changed(pool, s->gpu);
    snprintf(text, sizeof(text), "l-%" PRIu64 " (%.40s) is asked to stop until %s, so that it gets "
             "another slice", mover->id, mover->tenant->name,
             text_format_time_ms(mover->move.due_ms, when));
    tell(pool, POOL_HIST_LEASE_MOVE_ASKED, mover, s, s, text);
}

/* From here on it has the new slice. */
static void confirm(struct pool *pool, struct pool_lease *lease)
{
    struct pool_part *part = &lease->part[lease->move.part];
    struct pool_slice *from = part->slice, *to = lease->move.slice;
    char text[200], label[96];

    snprintf(text, sizeof(text), "l-%" PRIu64 " (%.40s) has moved to %s", lease->id,
             lease->tenant->name, slice_label(to, label));
    tell(pool, POOL_HIST_LEASE_MOVED, lease, from, to, text);
    *part = (struct pool_part){.gpu = to->gpu, .slice = to, .ci = ci_of(to, lease->id)};
    lease->move.slice = from;
    lease->move.is_confirmed = true;
    lease->vain_asks = 0;
    lease->ahead_of = 0;
    gpu_changed(pool, from->gpu);
    gpu_changed(pool, to->gpu);
    leave(pool, lease);
}

/* Does the answer name what is asked now, if it names something? */
static bool is_meant(const struct pool_lease *lease, const struct pool_event *event)
{
    char name[POOL_MOVE_NAME_SIZE];

    return (!event->text || !strcmp(event->text, uuid_of(lease->move.slice, lease->id))) &&
           (!event->move || !strcmp(event->move, pool_move_name(lease, name)));
}

void move_on_answer(struct pool *pool, const struct pool_event *event)
{
    struct pool_lease *lease = lease_of_event(pool, event);

    if (!lease) {
        return;
    }
    if (lease->move.phase != POOL_MOVE_ASKED) {
        pool_reply(pool, event->reply_to, POOL_NO_MOVE, lease->id,
                   "l-%" PRIu64 " is not asked to move%s", lease->id,
                   lease->is_movable ? " now" : ": it is not movable");
        return;
    }
    if (!is_meant(lease, event)) {
        char name[POOL_MOVE_NAME_SIZE];
        pool_reply(pool, event->reply_to, POOL_NO_MOVE, lease->id,
                   lease->move.is_stop ? "l-%" PRIu64 " is asked to stop on %s (%s), not %.80s"
                                       : "l-%" PRIu64 " is asked to move to %s (%s), not %.80s",
                   lease->id, uuid_of(lease->move.slice, lease->id), pool_move_name(lease, name),
                   event->move ? event->move : event->text);
        return;
    }
    if (event->is_confirmed && lease->move.is_stop) {
        lease->move.is_confirmed = true;
        leave(pool, lease);
    } else if (event->is_confirmed) {
        confirm(pool, lease);
    } else {
        rest(pool, lease);
        move_call_off(pool, lease, "its holder refused");
    }
    pool_reply(pool, event->reply_to, POOL_OK, event->lease, "%s", "");
}

/* It may not be let go yet. */
static void look_again(struct pool *pool, struct pool_lease *lease,
                       const struct pool_job_result *result)
{
    struct pool_move *m = &lease->move;
    bool is_due = m->due_ms <= pool->now_ms;

    m->unseen = result->code ? m->unseen + (m->unseen < RECHECK_SHIFT_MOST) : 0;
    m->retry_at_ms = pool->now_ms + ((int64_t)RECHECK_MS << m->unseen);
    if (!is_due && m->due_ms < m->retry_at_ms) {
        m->retry_at_ms = m->due_ms;
    }
    lease_arm_timer(pool, lease, m->retry_at_ms);
    if (is_due && result->code) {
        stay_unseen(pool, lease, result->message);
    } else if (is_due && !m->extra_slots) {
        overstay(pool, lease);
    }
}

void move_on_check(struct pool *pool, struct pool_lease *lease,
                   const struct pool_job_result *result)
{
    struct pool_move *m = &lease->move;
    bool is_missing = result->code == -ENOENT || result->code == -ESTALE;
    bool is_gone = is_missing || result->code == -ENODEV;

    m->check_job = 0;
    if (m->phase != POOL_MOVE_LEAVING) {
        return;
    }
    if (result->code == 0) {
        m->slice->processes = result->processes;
    }
    if (!is_gone && (result->code || result->processes)) {
        look_again(pool, lease, result);
        return;
    }
    if (m->is_stop) {
        stop(pool, lease, is_missing);
        return;
    }
    struct pool_move was = *m;
    struct pool_slice *s = was.slice;
    finish(pool, lease);
    if (is_missing) { /* it must not go to the next one who asks */
        if (s->state == POOL_SLICE_IDLE) {
            slice_doom(pool, s, 0, 0);
        }
        gpu_ask_scan(pool, s->gpu);
    }
    if (was.is_confirmed) {
        note_outcome(pool, lease, &was, true, "");
    }
    lease_end_if_checked(pool, lease);
}

void move_on_timer(struct pool *pool, struct pool_lease *lease)
{
    struct pool_move *m = &lease->move;

    if (m->phase == POOL_MOVE_ASKED && m->due_ms > pool->now_ms) {
        lease_arm_timer(pool, lease, m->due_ms);
    } else if (m->phase == POOL_MOVE_ASKED) {
        rest(pool, lease);
        move_call_off(pool, lease, "its holder did not answer in time");
    } else if (m->phase == POOL_MOVE_LEAVING && !m->check_job && m->retry_at_ms > pool->now_ms) {
        lease_arm_timer(pool, lease, m->retry_at_ms);
    } else if (m->phase == POOL_MOVE_LEAVING && !m->check_job) {
        look_for_processes(pool, lease);
    }
}

void move_on_release(struct pool *pool, struct pool_lease *lease)
{
    if (lease->move.is_stop) {
        forget(pool, lease); /* its slice is looked at anyway */
    } else if (lease->move.phase == POOL_MOVE_MAKING || lease->move.phase == POOL_MOVE_ASKED) {
        bool was_asked = lease->move.phase == POOL_MOVE_ASKED;
        char text[120];
        snprintf(text, sizeof(text), "l-%" PRIu64 " need not move: it is being given back",
                 lease->id);
        tell(pool, POOL_HIST_LEASE_MOVE_CANCELLED, lease, move_part(lease)->slice,
             lease->move.slice, text);
        if (was_asked) {
            leave(pool, lease);
        } else {
            finish(pool, lease);
        }
    }
}

void move_drop(struct pool *pool, struct pool_lease *lease)
{
    struct pool_move m = lease->move;

    for (unsigned i = 0; i < pool->shift_count; i++) {
        struct pool_shift *shift = pool->shifts[i]->shift;
        for (unsigned k = 0; k < shift->count; k++) {
            if (shift->move[k].lease == lease->id && !shift->move[k].is_done) {
                shift->move[k].is_done = true; /* its place is free, which is what was wanted */
                pool_mark_lease(pool, pool->shifts[i]);
            }
        }
    }
    if (m.phase == POOL_MOVE_NONE) {
        return;
    }
    lease->move = (struct pool_move){0};
    lease->tenant->compute_slots -= m.extra_slots;
    if (m.is_stop) {
        return;
    }
    lease_drop_slice(pool, lease, m.slice, ci_of(m.slice, lease->id));
    if (m.phase != POOL_MOVE_MAKING && m.slice->gpu->health == POOL_HEALTH_OK) {
        gpu_ask_scan(pool, m.slice->gpu); /* is there a process on it? */
    }
}

void move_resume(struct pool *pool, struct pool_lease *lease)
{
    struct pool_move *m = &lease->move;

    if (m->phase == POOL_MOVE_ASKED) {
        lease_arm_timer(pool, lease, m->due_ms);
    } else if (m->phase == POOL_MOVE_LEAVING) {
        look_for_processes(pool, lease);
    }
    if (lease->move_rest_ms > pool->now_ms && lease->part_count) {
        pool_add_timer(pool, lease->move_rest_ms, TIMER_GPU, lease->part[0].gpu->id);
    }
}

void move_explain(const struct pool *pool, const struct pool_lease *lease, char *buf, size_t size)
{
    const struct pool_move *m = &lease->move;
    const struct pool_lease *request = m->request ? pool_find_lease(pool, m->request) : NULL;
    char label[96], when[32], whom[96] = "";

    if (request) {
        snprintf(whom, sizeof(whom), ", which makes room for l-%" PRIu64 " (%.40s)", request->id,
                 request->tenant->name);
    }
    if (m->is_stop) {
        snprintf(buf, size, "%s %s%s", m->phase == POOL_MOVE_ASKED
                                           ? "asked to stop, and to get another slice, until"
                                           : "has stopped, and is looked at for processes",
                 m->phase == POOL_MOVE_ASKED ? text_format_time_ms(m->due_ms, when) : "", whom);
    } else if (m->phase == POOL_MOVE_MAKING) {
        snprintf(buf, size, "%s is being made for it to move to%s", slice_label(m->slice, label),
                 whom);
    } else if (m->phase == POOL_MOVE_ASKED) {
        snprintf(buf, size, "asked to move to %s until %s%s", slice_label(m->slice, label),
                 text_format_time_ms(m->due_ms, when), whom);
    } else if (m->phase == POOL_MOVE_LEAVING && m->slice->processes) {
        snprintf(buf, size, "%s; %u process(es) still run on %s%s",
                 m->is_confirmed ? "has moved" : "does not move", m->slice->processes,
                 slice_label(m->slice, label), m->extra_slots ? ", which counts, too" : "");
    } else if (m->phase == POOL_MOVE_LEAVING) {
        snprintf(buf, size, "%s; %s is looked at for processes",
                 m->is_confirmed ? "has moved" : "does not move", slice_label(m->slice, label));
    } else {
        buf[0] = '\0';
    }
}
