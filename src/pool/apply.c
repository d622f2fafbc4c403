/* apply, adopt and disown: what an operator wants of the cut itself.
 *
 * An apply is a difference.  For each GPU plan/ finds the layout with the wanted counts that keeps
 * the most; everything is checked on all GPUs before anything is touched, so a slice in use that
 * stands in the way is named and nothing has changed. */
#include "pool/internal.h"
#include "base/text.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define OPERATIONS_KEPT 100
#define CHANGES_PER_GPU (MIG_MAX_INSTANCES + MIG_SLOTS_MAX + 1)

const struct pool_change *pool_last_changes(const struct pool *pool, unsigned *ret_count)
{
    *ret_count = pool->change_count;
    return pool->changes;
}

const struct pool_explanation *pool_last_explanation(const struct pool *pool)
{
    return pool->explanation;
}

void operation_progress(struct pool *pool, uint64_t id, const char *failure)
{
    struct pool_operation *op = NULL;

    TAILQ_FOREACH(op, &pool->operations, link)
    {
        if (op->id == id) {
            break;
        }
    }
    if (!op || op->state != POOL_OP_RUNNING) {
        return;
    }
    op->done++;
    if (failure && !op->error[0]) {
        text_copy(op->error, sizeof(op->error), failure);
    }
    if (op->done >= op->total) {
        op->state = op->error[0] ? POOL_OP_FAILED : POOL_OP_DONE;
        op->ended_ms = pool->now_ms;
        pool_tell(pool, op->error[0] ? POOL_HIST_OPERATION_FAILED : POOL_HIST_OPERATION_DONE, NULL,
                  NULL, "op-%" PRIu64 " %s%s", id, op->error[0] ? "failed: " : "is done",
                  op->error);
        pool->out->action[pool->out->count - 1].operation = id;
    }
    pool_mark_operation(pool, op);
}

static struct pool_operation *operation_new(struct pool *pool, unsigned total)
{
    struct pool_operation *op = xcalloc(1, sizeof(*op));

    op->id = pool->next_operation++;
    op->total = total;
    op->created_ms = pool->now_ms;
    TAILQ_INSERT_TAIL(&pool->operations, op, link);
    pool_mark_operation(pool, op);
    if (++pool->operation_count > OPERATIONS_KEPT) {
        struct pool_operation *old = TAILQ_FIRST(&pool->operations);
        TAILQ_REMOVE(&pool->operations, old, link);
        pool->operation_count--;
        if (old->is_dirty) {
            TAILQ_REMOVE(&pool->dirty_operations, old, dirty_link);
        }
        if (old->is_recorded) {
            pool_mark_gone(pool, POOL_RECORD_OPERATION, old->id);
        }
        free(old);
    }
    return op;
}

/* --- one GPU's difference --------------------------------------------------------------------- */

/* Slices of one profile with the same compute instances.  To plan/ each kind is a profile of its
 * own: the first of a profile is that row of the table, others are copies of it at the end. */
struct kind {
    int profile, ci; /* ci: index in the profile's compute[] */
    unsigned cis;    /* compute instances in a slice */
    unsigned slices; /* wanted */
    uint8_t row;
};

struct gpu_diff {
    struct pool_gpu *gpu;
    const struct pool_target *target;
    bool changes_mode;
    struct pool_slice *current[MIG_MAX_INSTANCES];
    unsigned current_count;
    struct plan_diff diff; /* its profiles are rows */
    struct kind kind[MIG_PROFILES_MAX];
    unsigned kind_count;
};

/* How many compute instances of the wanted kind a slice of this entry has room for. */
static unsigned cis_per_slice(const struct pool_gpu *gpu, int profile, int ci_profile)
{
    const struct mig_profile *p = &gpu->geometry->profiles[profile];
    unsigned each = ci_profile >= 0 ? p->compute[ci_profile].slices : p->slices;

    return each && each < p->slices ? p->slices / each : 1;
}

/* The first of this profile, for NULL `slice`; else the one that has the same compute instances.
 * NULL none. */
static const struct kind *find_kind(const struct gpu_diff *d, int profile,
                                    const struct pool_slice *slice)
{
    for (unsigned i = 0; i < d->kind_count; i++) {
        const struct kind *k = &d->kind[i];
        bool is_it = k->profile == profile && (!slice || slice->ci_count == k->cis);
        for (unsigned c = 0; is_it && slice && c < slice->ci_count; c++) {
            is_it = slice->ci[c].profile == k->ci;
        }
        if (is_it) {
            return k;
        }
    }
    return NULL;
}

static const struct kind *kind_of_row(const struct gpu_diff *d, unsigned row)
{
    unsigned i = 0;

    while (d->kind[i].row != row) {
        i++;
    }
    return &d->kind[i];
}

/* False: there are too many kinds. */
static bool add_kind(struct gpu_diff *d, int profile, int ci, unsigned cis, unsigned slices)
{
    const struct kind *same = find_kind(d, profile, NULL);
    unsigned copies = 0;

    for (unsigned i = 0; i < d->kind_count; i++) {
        struct kind *k = &d->kind[i];
        if (k->profile == profile && k->ci == ci && k->cis == cis) {
            k->slices += slices;
            return true;
        }
        copies += k->row >= d->gpu->geometry->profile_count;
    }
    unsigned row = same ? d->gpu->geometry->profile_count + copies : (unsigned)profile;
    if (slices && (row >= MIG_PROFILES_MAX || d->kind_count == MIG_PROFILES_MAX)) {
        return false;
    }
    if (slices) {
        d->kind[d->kind_count++] = (struct kind){profile, ci, cis, slices, (uint8_t)row};
    }
    return true;
}

static bool is_pinned(const struct pool_slice *s)
{
    return !slice_is_spare(s);
}

/* Slices by kind: those that are full of compute instances, and one with the rest. */
static enum pool_answer count_wanted(struct gpu_diff *d, char *why, size_t size)
{
    unsigned total = 0;

    for (unsigned i = 0; i < d->target->want_count; i++) {
        int p = d->target->want[i].profile, ci = d->target->want[i].ci_profile;
        const struct mig_profile *row = &d->gpu->geometry->profiles[p];
        unsigned per = cis_per_slice(d->gpu, p, ci), count = d->target->want[i].count;
        total += count < MIG_SLOTS_MAX * MIG_MAX_COMPUTE ? (count + per - 1) / per : count;
        if (total > MIG_SLOTS_MAX) {
            snprintf(why, size, "GPU %u: %u x %s cannot fit", d->gpu->info.index,
                     d->target->want[i].count, row->name);
            return POOL_CAN_NEVER_FIT;
        }
        ci = ci >= 0 ? ci : mig_compute_by_slices(row, row->slices);
        if (!add_kind(d, p, ci, per, count / per) ||
            !add_kind(d, p, ci, count % per, count % per ? 1 : 0)) {
            snprintf(why, size, "GPU %u: more kinds of compute instances are wanted than can be "
                     "told apart", d->gpu->info.index);
            return POOL_BAD_REQUEST;
        }
    }
    return POOL_OK;
}

/* The table with a row for each kind, and how many of each row are wanted. */
static struct mig_geometry *kinds_as_profiles(const struct gpu_diff *d,
                                              uint8_t wanted[MIG_PROFILES_MAX])
{
    struct mig_geometry *g = xcalloc(1, sizeof(*g));

    *g = *d->gpu->geometry;
    memset(wanted, 0, MIG_PROFILES_MAX);
    for (unsigned i = 0; i < d->kind_count; i++) {
        const struct kind *k = &d->kind[i];
        wanted[k->row] = (uint8_t)k->slices;
        if (k->row >= d->gpu->geometry->profile_count) {
            g->profiles[k->row] = g->profiles[k->profile];
            g->start_mask[k->row] = g->start_mask[k->profile];
            g->window_mask[k->row] = g->window_mask[k->profile];
            g->profile_count = (uint8_t)(k->row + 1);
        }
    }
    return g;
}

static enum pool_answer check_mode(struct gpu_diff *d, char *why, size_t size)
{
    const struct mig_gpu_info *info = &d->gpu->info;
    bool wants = d->target->is_mig_enabled;

    d->changes_mode = wants != info->is_mig_enabled;
    if (d->gpu->lease && wants) {
        snprintf(why, size, "GPU %u is leased whole (l-%" PRIu64 ")", info->index, d->gpu->lease);
        return POOL_IN_USE;
    }
    if (!d->changes_mode) {
        return POOL_OK;
    }
    if (!info->is_mig_capable) {
        snprintf(why, size, "GPU %u (%s) cannot do MIG", info->index, info->name);
        return POOL_CAN_NEVER_FIT;
    }
    if (d->gpu->mig_policy != POOL_MIG_ON_DEMAND) {
        snprintf(why, size, "GPU %u: its MIG mode is %s and the configuration keeps it; set "
                 "mig_mode: on-demand for it, or switch it by hand", info->index,
                 info->is_mig_enabled ? "on" : "off");
        return POOL_NOT_ALLOWED;
    }
    if (!info->is_resetless) {
        snprintf(why, size, "GPU %u: this generation switches MIG mode only with a GPU reset: stop "
                 "its clients, then nvidia-smi -i %u -mig %d and, if it stays pending, "
                 "nvidia-smi --gpu-reset", info->index, info->index, wants);
        return POOL_NOT_ALLOWED;
    }
    return POOL_OK;
}

static void note_blockers(struct pool *pool, struct gpu_diff *d, uint16_t odd_in_use)
{
    for (unsigned i = 0; i < d->current_count; i++) {
        const struct pool_slice *s = d->current[i];
        if (d->diff.blocker >> i & 1 || odd_in_use >> i & 1) {
            explain_block(pool->explanation, d->gpu, s, slice_holder(pool, s),
                          s->state == POOL_SLICE_FOREIGN ? "not made by tangram (adopt it first)"
                                                         : "in use");
        }
    }
}

/* What the slice is to plan/; -1: it must go, because it is unknown, or not to be trusted, or has
 * other compute instances than any that is wanted of its profile. */
static int row_of(const struct gpu_diff *d, const struct pool_slice *s)
{
    const struct kind *kind = NULL;

    if (s->profile < 0 || s->state == POOL_SLICE_QUARANTINED) {
        return -1;
    }
    kind = find_kind(d, s->profile, s);
    if (kind) {
        return kind->row;
    }
    return find_kind(d, s->profile, NULL) ? -1 : s->profile;
}

static enum pool_answer diff_slices(struct pool *pool, struct gpu_diff *d, char *why, size_t size)
{
    struct plan_diff_slice current[MIG_MAX_INSTANCES];
    unsigned index[MIG_MAX_INSTANCES], count = 0;
    uint8_t wanted[MIG_PROFILES_MAX];
    CLEANUP(freep) struct mig_geometry *geometry = kinds_as_profiles(d, wanted);
    uint16_t odd_in_use = 0;
    struct error err = {0};
    struct plan_diff diff = {0};

    for (unsigned i = 0; i < d->gpu->slice_count; i++) {
        struct pool_slice *s = d->gpu->slices[i];
        unsigned at = d->current_count++;
        d->current[at] = s;
        int row = row_of(d, s);
        if (row < 0 && is_pinned(s)) {
            odd_in_use |= (uint16_t)(1u << at);
        } else if (row >= 0 && s->state != POOL_SLICE_DESTROYING) {
            current[count].slice = (struct mig_slice){(uint8_t)row, s->start};
            current[count].is_pinned = is_pinned(s);
            index[count++] = at;
        }
    }
    int rc = plan_layout_diff(geometry, current, count, wanted, &diff, &err);
    d->diff.create_count = diff.create_count;
    memcpy(d->diff.create, diff.create, sizeof(diff.create));
    for (unsigned i = 0; i < count; i++) {
        d->diff.keep |= (uint16_t)((diff.keep >> i & 1) << index[i]);
        d->diff.destroy |= (uint16_t)((diff.destroy >> i & 1) << index[i]);
        d->diff.blocker |= (uint16_t)((diff.blocker >> i & 1) << index[i]);
    }
    if (rc == -ENOSPC) {
        snprintf(why, size, "GPU %u: %.200s", d->gpu->info.index, err.msg);
        return POOL_CAN_NEVER_FIT;
    }
    if (rc < 0 || odd_in_use) {
        snprintf(why, size, "GPU %u: slices in use, or not made by tangram, stand in the way; "
                 "nothing was changed", d->gpu->info.index);
        note_blockers(pool, d, odd_in_use);
        return POOL_IN_USE;
    }
    return POOL_OK;
}

/* Can its layout be changed at all now? */
static enum pool_answer check_gpu(struct pool *pool, struct gpu_diff *d, char *why, size_t size)
{
    const struct pool_gpu *gpu = d->gpu;
    const char *unusable = NULL;

    if (!gpu->is_managed || gpu->health != POOL_HEALTH_OK || !gpu_is_read(gpu)) {
        gpu_is_usable(pool, gpu, &unusable);
        snprintf(why, size, "GPU %u: %s", gpu->info.index, unusable ? unusable : "not usable");
        return POOL_NOT_ALLOWED;
    }
    if (gpu->mode_job || gpu->has_mode_wish) {
        snprintf(why, size, "GPU %u: its MIG mode is being switched", gpu->info.index);
        return POOL_IN_USE;
    }
    if (gpu->slice_count > MIG_MAX_INSTANCES) {
        snprintf(why, size, "GPU %u is being cut anew", gpu->info.index);
        return POOL_IN_USE;
    }
    if (!d->target->is_mig_enabled && d->target->want_count) {
        snprintf(why, size, "GPU %u: slices are wanted with MIG off", gpu->info.index);
        return POOL_BAD_REQUEST;
    }
    return check_mode(d, why, size);
}

static enum pool_answer diff_gpu(struct pool *pool, struct gpu_diff *d, char *why, size_t size)
{
    enum pool_answer answer = check_gpu(pool, d, why, size);

    if (answer != POOL_OK) {
        return answer;
    }
    if (!d->gpu->geometry) {
        snprintf(why, size, "GPU %u: its profiles are not known while its MIG mode is off",
                 d->gpu->info.index);
        return d->target->want_count ? POOL_NOT_ALLOWED : POOL_OK;
    }
    answer = count_wanted(d, why, size);
    return answer == POOL_OK ? diff_slices(pool, d, why, size) : answer;
}

/* --- from difference to deeds ----------------------------------------------------------------- */

static struct pool_change *add_change(struct pool *pool, const struct gpu_diff *d, int kind)
{
    struct pool_change *c = &pool->changes[pool->change_count++];

    memset(c, 0, sizeof(*c));
    c->gpu = d->gpu->id;
    c->kind = kind;
    return c;
}

static void list_changes(struct pool *pool, const struct gpu_diff *d)
{
    if (d->changes_mode) {
        add_change(pool, d, POOL_CHANGE_MODE)->is_mig_enabled = d->target->is_mig_enabled;
    }
    for (unsigned i = 0; i < d->current_count; i++) {
        const struct pool_slice *s = d->current[i];
        struct pool_change *c = add_change(
            pool, d, d->diff.keep >> i & 1 ? POOL_CHANGE_KEEP : POOL_CHANGE_DESTROY);
        text_copy(c->profile_name, sizeof(c->profile_name), s->profile_name);
        c->start = s->start;
        c->size = s->size;
    }
    for (unsigned i = 0; i < d->diff.create_count; i++) {
        const struct kind *k = kind_of_row(d, d->diff.create[i].profile);
        const struct mig_profile *p = &d->gpu->geometry->profiles[k->profile];
        struct pool_change *c = add_change(pool, d, POOL_CHANGE_CREATE);
        text_copy(c->profile_name, sizeof(c->profile_name), p->name);
        c->start = d->diff.create[i].start;
        c->size = p->size;
    }
}

static unsigned count_deeds(const struct pool *pool)
{
    unsigned deeds = 0;

    for (unsigned i = 0; i < pool->change_count; i++) {
        deeds += pool->changes[i].kind != POOL_CHANGE_KEEP;
    }
    return deeds;
}

static void carry_out(struct pool *pool, struct gpu_diff *d, uint64_t operation)
{
    for (unsigned i = 0; i < d->current_count; i++) {
        struct pool_slice *s = d->current[i];
        if (d->diff.keep >> i & 1) {
            continue;
        }
        if (s->state == POOL_SLICE_IDLE) {
            slice_doom(pool, s, 0, operation);
        } else if (s->operation) {
            operation_progress(pool, operation, NULL); /* another apply sees to it already */
        } else {
            s->operation = operation; /* on its way out already */
            pool_mark_slice(pool, s);
        }
    }
    for (unsigned i = 0; i < d->diff.create_count; i++) {
        const struct kind *k = kind_of_row(d, d->diff.create[i].profile);
        struct pool_slice *s = slice_new(pool, d->gpu, k->profile, d->diff.create[i].start);
        if (!s) {
            operation_progress(pool, operation, "too many slices on one GPU");
            continue;
        }
        s->operation = operation;
        for (unsigned n = k->cis; n > 0; n--) {
            slice_add_ci(s, k->ci, 0);
        }
        slice_set_state(pool, s, POOL_SLICE_CREATING);
    }
    if (d->changes_mode) {
        gpu_ask_mode(pool, d->gpu, d->target->is_mig_enabled, operation);
    }
}

static void answer_apply(struct pool *pool, const struct pool_event *event, uint64_t operation)
{
    if (event->reply_to) {
        pool_reply(pool, event->reply_to, POOL_OK, 0, "%s", "");
        pool->out->action[pool->out->count - 1].operation = operation;
    }
}

/* Each GPU is there, and once only. */
static enum pool_answer find_target(const struct pool *pool, const struct pool_event *event,
                                    unsigned index, char *why, size_t size)
{
    unsigned gpu = event->targets[index].gpu;

    if (gpu >= pool->gpu_count) {
        snprintf(why, size, "there is no GPU %u", gpu);
        return POOL_NOT_FOUND;
    }
    for (unsigned i = 0; i < index; i++) {
        if (event->targets[i].gpu == gpu) {
            snprintf(why, size, "GPU %u is named twice", pool->gpus[gpu]->info.index);
            return POOL_BAD_REQUEST;
        }
    }
    return POOL_OK;
}

/* What is in use is looked for on all GPUs, so that all of it is named at once. */
static enum pool_answer diff_all(struct pool *pool, const struct pool_event *event,
                                 struct gpu_diff *diffs, char *why, size_t size)
{
    enum pool_answer all = POOL_OK;
    char aside[240];

    for (unsigned i = 0; i < event->target_count && (all == POOL_OK || all == POOL_IN_USE); i++) {
        diffs[i].target = &event->targets[i];
        enum pool_answer answer = find_target(pool, event, i, aside, sizeof(aside));
        if (answer == POOL_OK) {
            diffs[i].gpu = pool->gpus[event->targets[i].gpu];
            answer = diff_gpu(pool, &diffs[i], aside, sizeof(aside));
        }
        if (answer == POOL_OK) {
            list_changes(pool, &diffs[i]);
        } else if (all == POOL_OK || answer != POOL_IN_USE) {
            all = answer; /* what can never be done says more than what is in use today */
            text_copy(why, size, aside);
        }
    }
    return all;
}

void pool_on_apply(struct pool *pool, const struct pool_event *event)
{
    CLEANUP(freep) struct gpu_diff *diffs = xcalloc(event->target_count, sizeof(*diffs));
    enum pool_answer answer = POOL_OK;
    char why[240] = "";

    pool->change_count = 0;
    pool->changes = xreallocarray(pool->changes, event->target_count * CHANGES_PER_GPU + 1,
                                  sizeof(*pool->changes));
    memset(pool->explanation, 0, sizeof(*pool->explanation));
    if (event->actor.role < POOL_ROLE_OPERATOR) {
        answer = POOL_FORBIDDEN;
        snprintf(why, sizeof(why), "only an operator may apply a layout");
    }
    answer = answer == POOL_OK ? diff_all(pool, event, diffs, why, sizeof(why)) : answer;
    unsigned deeds = count_deeds(pool);
    if (answer != POOL_OK) {
        text_copy(pool->explanation->reason, sizeof(pool->explanation->reason), why);
        pool->change_count = 0;
        pool_reply(pool, event->reply_to, answer, 0, "%s", why);
        return;
    }
    if (event->is_dry_run || !deeds) {
        answer_apply(pool, event, 0);
        return;
    }
    struct pool_operation *op = operation_new(pool, deeds);
    for (unsigned i = 0; i < event->target_count; i++) {
        carry_out(pool, &diffs[i], op->id);
    }
    answer_apply(pool, event, op->id);
}

/* --- adopt and disown ------------------------------------------------------------------------- */

static struct pool_slice *slice_of_event(struct pool *pool, const struct pool_event *event)
{
    struct pool_gpu *gpu = event->gpu < pool->gpu_count ? pool->gpus[event->gpu] : NULL;

    for (unsigned i = 0; gpu && i < gpu->slice_count; i++) {
        if (gpu->slices[i]->start == event->start) {
            return gpu->slices[i];
        }
    }
    return NULL;
}

/* Is there, in the books, another slice on its slots?  Only one of them is real. */
static bool has_double(const struct pool_slice *s)
{
    for (unsigned i = 0; i < s->gpu->slice_count; i++) {
        const struct pool_slice *o = s->gpu->slices[i];
        if (o != s && slice_mask(o) & slice_mask(s)) {
            return true;
        }
    }
    return false;
}

/* It is ours already; who has it, or what it does. */
static void refuse_to_adopt(struct pool *pool, uint64_t reply_to, const struct pool_slice *s)
{
    const struct pool_lease *holder = slice_holder(pool, s);
    char label[96];

    slice_label(s, label);
    if (holder) {
        pool_reply(pool, reply_to, POOL_WRONG_OWNER, 0,
                   "%s is tangram's already, leased to %s as l-%" PRIu64, label,
                   holder->tenant->name, holder->id);
    } else {
        pool_reply(pool, reply_to, POOL_WRONG_OWNER, 0, "%s is tangram's already, and %s", label,
                   pool_slice_state_name(s->state));
    }
}

static void adopt(struct pool *pool, const struct pool_event *event, struct pool_slice *s)
{
    char label[96];

    if (s->state != POOL_SLICE_FOREIGN) {
        refuse_to_adopt(pool, event->reply_to, s);
    } else if (has_double(s)) {
        pool_reply(pool, event->reply_to, POOL_IN_USE, 0, "%s stands where one of tangram's is "
                   "thought to be; try again when that is sorted out", slice_label(s, label));
        gpu_ask_scan(pool, s->gpu);
    } else if (!s->gpu->is_managed || s->profile < 0) {
        pool_reply(pool, event->reply_to, POOL_NOT_ALLOWED, 0, "%s: %s", slice_label(s, label),
                   s->profile < 0 ? "its profile is unknown" : "tangram does not manage this GPU");
    } else {
        /* Who used it is unknown: it is made anew before anybody gets it (law 6). */
        text_copy(s->tenant, sizeof(s->tenant), "(adopted)");
        s->reason[0] = '\0';
        slice_set_state(pool, s, POOL_SLICE_IDLE);
        pool->wants_queue_pass = true;
        pool_tell(pool, POOL_HIST_SLICE_ADOPTED, s->gpu, NULL, "%s was adopted by %s",
                  slice_label(s, label), event->actor.tenant);
        pool_reply(pool, event->reply_to, POOL_OK, 0, "%s", "");
    }
}

static void disown(struct pool *pool, const struct pool_event *event, struct pool_slice *s)
{
    char label[96];

    if (s->state == POOL_SLICE_FOREIGN) {
        pool_reply(pool, event->reply_to, POOL_WRONG_OWNER, 0,
                   "%s is foreign already: tangram did not make it, or has let it go",
                   slice_label(s, label));
    } else if (s->state != POOL_SLICE_IDLE || s->job || s->operation) {
        bool is_cut = s->state == POOL_SLICE_IDLE; /* an apply puts compute instances into it */
        pool_reply(pool, event->reply_to, POOL_IN_USE, 0, "%s is %s", slice_label(s, label),
                   is_cut ? "still being cut" : pool_slice_state_name(s->state));
    } else {
        pool_mark_gone(pool, POOL_RECORD_SLICE, s->id);
        if (s->is_dirty) {
            TAILQ_REMOVE(&pool->dirty_slices, s, dirty_link);
            s->is_dirty = false;
        }
        s->is_recorded = false;
        s->tenant[0] = '\0';
        slice_set_state(pool, s, POOL_SLICE_FOREIGN);
        pool_tell(pool, POOL_HIST_SLICE_DISOWNED, s->gpu, NULL, "%s was let go by %s",
                  slice_label(s, label), event->actor.tenant);
        pool_reply(pool, event->reply_to, POOL_OK, 0, "%s", "");
    }
}

void pool_on_adopt(struct pool *pool, const struct pool_event *event)
{
    struct pool_slice *s = slice_of_event(pool, event);

    if (event->actor.role < POOL_ROLE_OPERATOR) {
        pool_reply(pool, event->reply_to, POOL_FORBIDDEN, 0,
                   "only an operator may adopt or disown slices");
    } else if (!s) {
        pool_reply(pool, event->reply_to, POOL_NOT_FOUND, 0, "no slice starts at slot %u there",
                   event->start);
    } else if (event->kind == POOL_EV_ADOPT) {
        adopt(pool, event, s);
    } else {
        disown(pool, event, s);
    }
}
