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

static void begin(struct daemon *d, const struct pool_lease *l)
{
    struct meter_load load = {0};

    for (unsigned i = 0; i < l->part_count; i++) {
        add_part(&l->part[i], &load);
    }
    meter_begin(d->meter, l->id, l->tenant->name, &load, l->granted_ms);
}

void account_resume(struct daemon *d)
{
    for (const struct pool_lease *l = pool_next_lease(d->pool, NULL); l;
         l = pool_next_lease(d->pool, l)) {
        if (l->state == POOL_LEASE_ACTIVE || l->state == POOL_LEASE_RELEASING) {
            begin(d, l);
        }
    }
}

static void put_account(struct daemon *d, const char *tenant, struct store_batch *batch)
{
    CLEANUP(freep) char *body = meter_record(d->meter, tenant);

    if (body) {
        store_batch_put(batch, DAEMON_RECORD_ACCOUNT, tenant, body, strlen(body));
    }
}

void account_note(struct daemon *d, const struct pool_action *a, struct store_batch *batch)
{
    const struct pool_lease *l = pool_find_lease(d->pool, a->lease);

    if (a->history == POOL_HIST_LEASE_GRANTED && l && l->part_count) {
        begin(d, l);
    } else if (a->history == POOL_HIST_LEASE_RELEASED || a->history == POOL_HIST_LEASE_EXPIRED ||
               a->history == POOL_HIST_LEASE_LOST) {
        const char *tenant = meter_end(d->meter, a->lease, daemon_now_ms(d));
        if (tenant) {
            put_account(d, tenant, batch);
        }
    }
}
