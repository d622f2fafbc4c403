/* Why no GPU here could ever hold a request, and what the administrator can do about it. */
#include "pool/internal.h"
#include "base/buf.h"
#include "base/text.h"
#include <limits.h>
#include <stdio.h>
#include <string.h>

/* Why it will not have slices unless its administrator does something; NULL if it may. */
static const char *never_cut_reason(const struct pool_gpu *gpu)
{
    bool has_mode = gpu->info.is_mig_enabled || gpu->info.is_mig_pending ||
                    (gpu->mig_policy == POOL_MIG_ON_DEMAND && gpu->info.is_resetless);

    if (!gpu->info.is_mig_capable) {
        return "it cannot do MIG";
    }
    if (!has_mode) {
        return gpu->mig_policy == POOL_MIG_KEEP
                   ? "its MIG mode is off, and mig_mode: keep keeps it so"
                   : "its MIG mode is off and needs the administrator";
    }
    if (!gpu->geometry) {
        return gpu->info.is_mig_enabled ? "it does not tell what it can be cut into"
                                        : "its MIG mode comes on with its next reset";
    }
    return NULL;
}

bool lease_is_possible_on(const struct pool_lease *lease, const struct pool_gpu *gpu,
                          const char **why)
{
    int profile = lease_profile_on(lease, gpu);
    bool is_whole = lease->want.kind == MIG_WANT_GPU;

    *why = NULL;
    if (!lease_allows_gpu(lease, gpu)) {
        *why = "it is another model";
    } else if (!gpu->is_managed) {
        *why = "it is not managed by tangram";
    } else if (is_whole) {
        *why = gpu->info.is_mig_enabled && profile < 0 ? "no profile takes all of it" : NULL;
    } else if (never_cut_reason(gpu)) {
        *why = never_cut_reason(gpu);
    } else if (profile < 0 || !gpu->geometry->profiles[profile].start_count) {
        *why = "it does not offer this profile";
    }
    return !*why;
}

unsigned lease_possible_count(const struct pool *pool, const struct pool_lease *lease)
{
    static const struct mig_use empty;
    unsigned total = 0;
    const char *why = NULL;

    for (unsigned i = 0; i < pool->gpu_count && total < lease->count; i++) {
        const struct pool_gpu *gpu = pool->gpus[i];
        unsigned most = lease->tenant->max_compute;
        if (!lease_is_possible_on(lease, gpu, &why) ||
            (most && lease_slots_on(pool, lease, gpu->class_id) > most)) {
            continue;
        }
        if (lease->want.kind == MIG_WANT_GPU) {
            total++;
            continue;
        }
        int p = lease_profile_on(lease, gpu);
        int ci = lease_ci_profile_on(lease, gpu, p);
        int each = ci >= 0 ? gpu->geometry->profiles[p].compute[ci].max_count : 1;
        total += (unsigned)(mig_remaining(gpu->geometry, &empty, p) * (each > 0 ? each : 1));
    }
    return total;
}

/* Compute slots that the whole lease takes at least. */
static unsigned least_slots(const struct pool *pool, const struct pool_lease *lease)
{
    unsigned least = UINT_MAX;

    for (unsigned i = 0; lease->want.kind == MIG_WANT_GPU && i < pool->gpu_count; i++) {
        unsigned slots = lease_slots_on(pool, lease, pool->gpus[i]->class_id);
        least = slots < least ? slots : least;
    }
    for (int c = 0; c < pool->class_count; c++) {
        unsigned slots = lease_slots_on(pool, lease, c);
        if (lease->ask.profile[c] >= 0 && slots < least) {
            least = slots;
        }
    }
    return least;
}

/* What the administrator can do about a GPU without MIG; NULL nothing. */
static const char *mode_todo(const struct pool_gpu *gpu)
{
    const struct mig_gpu_info *info = &gpu->info;

    if (!info->is_mig_capable || info->is_mig_enabled || !gpu->is_managed) {
        return NULL;
    }
    if (info->is_mig_pending) {
        return "--gpu-reset, or a reboot";
    }
    if (info->is_resetless) {
        return gpu->mig_policy == POOL_MIG_KEEP ? "-mig 1" : NULL;
    }
    return "-mig 1; if it stays pending, --gpu-reset or a reboot";
}

/* "GPU 0,3: ..." for all GPUs of which the same is to be said, from the first of them on. */
static void add_impossible(const struct pool *pool, const struct pool_lease *lease, unsigned first,
                           struct buf *out)
{
    const char *why = NULL, *other = NULL, *todo = mode_todo(pool->gpus[first]);
    CLEANUP(buf_done) struct buf list = BUF_INIT(64);

    (void)lease_is_possible_on(lease, pool->gpus[first], &why);
    for (unsigned i = 0; i < pool->gpu_count; i++) {
        const struct pool_gpu *gpu = pool->gpus[i];
        if (lease_is_possible_on(lease, gpu, &other) || other != why || mode_todo(gpu) != todo) {
            continue;
        }
        if (i < first) {
            return; /* has been said */
        }
        buf_addf(&list, "%s%u", i > first ? "," : "", gpu->info.index);
    }
    const char *indices = list.data ? list.data : "...";
    buf_addf(out, "%sGPU %s: %s", out->len ? "; " : "", indices, why);
    if (todo) {
        buf_addf(out, " (nvidia-smi -i %s %s)", indices, todo);
    }
}

static void list_impossible(const struct pool *pool, const struct pool_lease *lease, char *ret,
                            size_t size)
{
    CLEANUP(buf_done) struct buf out = BUF_INIT(4096);
    const char *why = NULL;

    for (unsigned i = 0; i < pool->gpu_count; i++) {
        if (!lease_is_possible_on(lease, pool->gpus[i], &why)) {
            add_impossible(pool, lease, i, &out);
        }
    }
    text_copy(ret, size, out.data ? out.data : "");
}

/* May it offer the profile, but does not tell before its MIG mode is on? */
static bool is_silent(const struct pool_lease *lease, const struct pool_gpu *gpu)
{
    return gpu->is_managed && gpu->info.is_mig_capable && !gpu->geometry &&
           lease_allows_gpu(lease, gpu);
}

static bool has_name(const struct buf *list, const char *name)
{
    size_t n = strlen(name);

    for (const char *p = list->len ? list->data : ""; *p; p += strcspn(p, ","), p += 2 * !!*p) {
        if (!strncmp(p, name, n) && (p[n] == ',' || !p[n])) {
            return true;
        }
    }
    return false;
}

/* One more for "a, b, c", once. */
static void add_name(struct buf *list, const char *name)
{
    if (!has_name(list, name)) {
        buf_addf(list, "%s%s", list->len ? ", " : "", name);
    }
}

/* What can be had instead: the models here, or the profiles of those that are allowed. */
static void list_instead(const struct pool *pool, const struct pool_lease *lease,
                         struct buf *models, struct buf *profiles)
{
    for (unsigned i = 0; i < pool->gpu_count; i++) {
        const struct pool_gpu *gpu = pool->gpus[i];
        bool is_asked = lease_allows_gpu(lease, gpu) && gpu->is_managed && gpu->geometry;
        add_name(models, gpu->info.name);
        for (int p = 0; is_asked && p < gpu->geometry->profile_count; p++) {
            const char *name = gpu->geometry->profiles[p].name;
            if (!strpbrk(name, "+-") || strpbrk(lease->profile, "+-")) {
                add_name(profiles, name); /* variants only to those who know of them */
            }
        }
    }
}

static bool has_silent_gpu(const struct pool *pool, const struct pool_lease *lease)
{
    for (unsigned i = 0; i < pool->gpu_count; i++) {
        if (is_silent(lease, pool->gpus[i])) {
            return true;
        }
    }
    return false;
}

/* Nothing here answers to what is wanted. */
static void explain_unknown(const struct pool *pool, const struct pool_lease *lease,
                            const struct error *err, char *ret, size_t size)
{
    CLEANUP(buf_done) struct buf out = BUF_INIT(4096), models = BUF_INIT(4096);
    CLEANUP(buf_done) struct buf profiles = BUF_INIT(4096);

    list_instead(pool, lease, &models, &profiles);
    if (lease->want.compute_instance_slices && profiles.len) {
        buf_adds(&out, err->msg); /* about compute instances */
    } else if (!pool->gpu_count) {
        buf_adds(&out, "there is no GPU here");
    } else if (profiles.len) {
        buf_addf(&out, "no GPU here offers %s; there is %s", lease->profile, profiles.data);
    } else if (lease->model && !has_silent_gpu(pool, lease)) {
        buf_addf(&out, "no GPU here whose name has '%s' offers %s; there is %s", lease->model,
                 lease->profile, models.data);
    } else if (!has_silent_gpu(pool, lease)) {
        buf_addf(&out, "no GPU here offers %s", lease->profile);
    }
    for (unsigned i = 0; i < pool->gpu_count; i++) {
        if (is_silent(lease, pool->gpus[i])) {
            add_impossible(pool, lease, i, &out);
        }
    }
    text_copy(ret, size, out.data ? out.data : "");
}

void lease_impossible_reason(struct pool *pool, struct pool_lease *lease, char *buf, size_t size)
{
    struct error err = {0};
    unsigned most = lease->tenant->max_compute, could = 0;

    buf[0] = '\0';
    if (lease_resolve(pool, lease, &err) < 0) {
        explain_unknown(pool, lease, &err, buf, size);
        return;
    }
    lease->compute_slots = least_slots(pool, lease);
    could = lease_possible_count(pool, lease);
    if (most && lease->compute_slots > most) {
        snprintf(buf, size, "it takes %u compute slots, and a tenant may have %u at most",
                 lease->compute_slots, most);
    } else if (could && could < lease->count) {
        snprintf(buf, size, "%u x %s are asked for, and the GPUs here can hold %u at most",
                 lease->count, lease->profile, could);
    } else if (!could && !pool->gpu_count) {
        text_copy(buf, size, "there is no GPU here");
    } else if (!could) {
        list_impossible(pool, lease, buf, size);
        if (!buf[0]) {
            text_copy(buf, size, "a tenant may not have as many compute slots");
        }
    }
}
