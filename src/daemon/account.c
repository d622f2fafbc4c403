/* What leases hold, told to the meter.  A lease's account is written in the very batch that writes
 * its end, so that no crash can count it twice or not at all. */
#include "daemon/daemon.h"
#include <string.h>

static void add_part(const struct pool_part *p, struct meter_load *load)
{
    const struct pool_slice *s = p->slice;
    const struct pool_gpu *gpu = p->gpu;

    if (!s) {
        load->compute_slots += gpu->geometry ? gpu->geometry->slices : 1;
        load->memory_mib += gpu->info.memory_mib;
    } else if (s->profile >= 0 && s->compute_slots) {
        /* Compute instances of one slice share its memory: each pays for its part. */
        unsigned own = s->ci[p->ci].compute_slots;
        load->compute_slots += own;
        load->memory_mib +=
            (uint64_t)gpu->geometry->profiles[s->profile].memory_mib * own / s->compute_slots;
    }
}

/* What all parts are; a lease over slices of several kinds is "mixed". */
static const char *profile_of(const struct pool_lease *l)
{
    const char *name = NULL;

    for (unsigned i = 0; i < l->part_count; i++) {
        const struct pool_part *p = &l->part[i];
        const char *own = !p->slice                    ? "gpu"
                          : p->ci < p->slice->ci_count ? p->slice->ci[p->ci].name
                                                       : p->slice->profile_name;
        if (name && strcmp(name, own) != 0) {
            return "mixed";
        }
        name = own;
    }
    return name ? name : "mixed";
}

static void begin(struct daemon *d, const struct pool_lease *l)
{
    struct meter_load load = {0};

    for (unsigned i = 0; i < l->part_count; i++) {
        add_part(&l->part[i], &load);
    }
    meter_begin(d->meter, l->id, l->tenant->name, profile_of(l),
                l->part_count ? l->part[0].gpu->info.uuid : "", &load, l->granted_ms);
    sampling_wake(d);
}

static bool is_remembered(uint64_t lease, void *arg)
{
    const struct daemon *d = arg;

    return pool_find_lease(d->pool, lease) != NULL;
}

void account_resume(struct daemon *d)
{
    for (const struct pool_lease *l = pool_next_lease(d->pool, NULL); l;
         l = pool_next_lease(d->pool, l)) {
        if (l->state == POOL_LEASE_ACTIVE || l->state == POOL_LEASE_RELEASING) {
            begin(d, l);
        }
    }
    meter_prune(d->meter, is_remembered, d);
}

void account_collect(struct daemon *d, struct store_batch *batch)
{
    static const int kinds[] = {
        [METER_RECORD_ACCOUNT] = DAEMON_RECORD_ACCOUNT,
        [METER_RECORD_LEASE] = DAEMON_RECORD_USAGE,
        [METER_RECORD_DAY] = DAEMON_RECORD_DAY,
    };
    struct meter_record r;

    while (meter_next_dirty(d->meter, &r)) {
        if (r.body) {
            store_batch_put(batch, kinds[r.kind], r.id, r.body, strlen(r.body));
        } else {
            store_batch_delete(batch, kinds[r.kind], r.id);
        }
        free(r.body);
    }
}

void account_note(struct daemon *d, const struct pool_action *a)
{
    const struct pool_lease *l = pool_find_lease(d->pool, a->lease);

    if (a->history == POOL_HIST_LEASE_GRANTED && l && l->part_count) {
        begin(d, l);
    } else if (a->history == POOL_HIST_LEASE_RELEASED || a->history == POOL_HIST_LEASE_EXPIRED ||
               a->history == POOL_HIST_LEASE_LOST) {
        meter_end(d->meter, a->lease, daemon_now_ms(d));
    }
}
