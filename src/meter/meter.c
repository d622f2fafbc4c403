/* The three ledgers and how a lease goes through them: while it runs it is only in `running`; at
 * its end, at midnight and at every settling its time up to then goes to the days; at its end all
 * of it goes to its tenant's account, and it lies in `ended` until the pool forgets it.  Questions
 * add what is still open. */
#include "meter/internal.h"
#include "base/text.h"
#include <string.h>

struct meter *meter_new(const struct meter_rates *rates, unsigned keep_days)
{
    struct meter *m = xcalloc(1, sizeof(*m));

    m->rates = *rates;
    m->keep_days = keep_days;
    TAILQ_INIT(&m->dirty);
    return m;
}

static void free_leases(struct meter_lease **head)
{
    struct meter_lease *l = NULL, *next = NULL;

    HASH_ITER(hh, *head, l, next)
    {
        HASH_DEL(*head, l);
        free(l->hour);
        free(l);
    }
}

void meter_free(struct meter *meter)
{
    struct meter_account *a = NULL, *next_account = NULL;
    struct meter_day *d = NULL, *next_day = NULL;

    if (!meter) {
        return;
    }
    free_leases(&meter->running);
    free_leases(&meter->ended);
    HASH_ITER(hh, meter->days, d, next_day)
    {
        HASH_DEL(meter->days, d);
        free(d);
    }
    HASH_ITER(hh, meter->accounts, a, next_account)
    {
        HASH_DEL(meter->accounts, a);
        free(a);
    }
    free(meter);
}

const struct meter_rates *meter_rates(const struct meter *meter)
{
    return &meter->rates;
}

double meter_price(const struct meter *meter, double compute_slot_hours, double memory_gib_hours)
{
    return compute_slot_hours * meter->rates.compute_slot_hour +
           memory_gib_hours * meter->rates.memory_gib_hour;
}

void meter_touch(struct meter *m, struct meter_item *item)
{
    if (!item->is_dirty) {
        item->is_dirty = true;
        TAILQ_INSERT_TAIL(&m->dirty, item, link);
    }
}

struct meter_account *meter_account_of(struct meter *m, const char *tenant)
{
    struct meter_account *a = NULL;

    HASH_FIND_STR(m->accounts, tenant, a);
    if (!a) {
        a = xcalloc(1, sizeof(*a));
        a->item.kind = METER_RECORD_ACCOUNT;
        text_copy(a->tenant, sizeof(a->tenant), tenant);
        HASH_ADD_STR(m->accounts, tenant, a);
    }
    return a;
}

/* --- sums ----------------------------------------------------------------------------------- */

void meter_sums_add(struct meter_sums *to, const struct meter_sums *s)
{
    to->leases += s->leases;
    to->compute_slot_ms += s->compute_slot_ms;
    to->memory_mib_ms += s->memory_mib_ms;
    to->covered_ms += s->covered_ms;
    to->idle_ms += s->idle_ms;
    to->sm_ms += s->sm_ms;
    to->sm_sum += s->sm_sum;
    to->sm_peak = s->sm_peak > to->sm_peak ? s->sm_peak : to->sm_peak;
    to->memory_peak = s->memory_peak > to->memory_peak ? s->memory_peak : to->memory_peak;
}

struct meter_sums meter_sums_of(const struct meter_stats *stats)
{
    double memory = meter_stats_memory_peak_percent(stats);

    return (struct meter_sums){
        .covered_ms = stats->covered_ms,
        .idle_ms = stats->idle_ms,
        .sm_ms = stats->sm_ms,
        .sm_sum = stats->sm_sum,
        .sm_peak = (uint32_t)(stats->sm_peak * 100.0f + 0.5f),
        .memory_peak = memory > 0 ? (uint32_t)(memory * 100 + 0.5) : 0,
    };
}

struct meter_sums meter_sums_minus(const struct meter_sums *now, const struct meter_sums *before)
{
    struct meter_sums s = *now;

    s.covered_ms -= before->covered_ms;
    s.idle_ms -= before->idle_ms;
    s.sm_ms -= before->sm_ms;
    s.sm_sum -= before->sm_sum;
    return s;
}

/* A clock that was set back counts as no time. */
struct meter_sums meter_held(const struct meter_load *load, int64_t from_ms, int64_t to_ms)
{
    uint64_t ms = to_ms > from_ms ? (uint64_t)(to_ms - from_ms) : 0;

    return (struct meter_sums){.compute_slot_ms = ms * load->compute_slots,
                               .memory_mib_ms = ms * load->memory_mib};
}

double meter_sums_sm_mean(const struct meter_sums *s)
{
    return s->sm_ms ? (double)s->sm_sum / (double)s->sm_ms / 100 : -1;
}

double meter_sums_idle(const struct meter_sums *s)
{
    return s->covered_ms ? 100.0 * (double)s->idle_ms / (double)s->covered_ms : -1;
}

/* --- what happens --------------------------------------------------------------------------- */

static struct meter_lease *find_running(const struct meter *m, uint64_t lease)
{
    struct meter_lease *l = NULL;

    HASH_FIND(hh, m->running, &lease, sizeof(lease), l);
    return l;
}

void meter_begin(struct meter *meter, uint64_t lease, const char *tenant, const char *profile,
                 const char *gpu, const struct meter_load *load, int64_t since_ms)
{
    struct meter_lease *l = find_running(meter, lease);

    if (l) {
        l->is_resumed = true;
        l->hour = l->hour ? l->hour : xcalloc(1, sizeof(*l->hour));
        return;
    }
    l = xcalloc(1, sizeof(*l));
    *l = (struct meter_lease){.item.kind = METER_RECORD_LEASE, .lease = lease, .load = *load,
                              .account = meter_account_of(meter, tenant), .since_ms = since_ms,
                              .settled_ms = since_ms, .is_resumed = true};
    text_copy(l->profile, sizeof(l->profile), profile);
    text_copy(l->gpu, sizeof(l->gpu), gpu);
    meter_stats_init(&l->stats, since_ms);
    l->hour = xcalloc(1, sizeof(*l->hour));
    HASH_ADD(hh, meter->running, lease, sizeof(l->lease), l);
}

void meter_add_sample(struct meter *meter, uint64_t lease, const struct meter_sample *sample)
{
    struct meter_lease *l = find_running(meter, lease);

    if (l) {
        meter_stats_add(&l->stats, sample);
        meter_hour_add(l->hour, sample);
    }
}

bool meter_end(struct meter *meter, uint64_t lease, int64_t now_ms)
{
    struct meter_lease *l = find_running(meter, lease);

    if (!l) {
        return false;
    }
    struct meter_sums held = meter_held(&l->load, l->since_ms, now_ms);
    struct meter_sums sampled = meter_sums_of(&l->stats);
    held.leases = 1;
    meter_sums_add(&l->account->sums, &held);
    meter_sums_add(&l->account->sums, &sampled);
    meter_touch(meter, &l->account->item);
    meter_days_post(meter, l, now_ms);
    l->until_ms = now_ms > l->since_ms ? now_ms : l->since_ms;
    free(TAKE_PTR(l->hour));
    HASH_DEL(meter->running, l);
    HASH_ADD(hh, meter->ended, lease, sizeof(l->lease), l);
    meter_touch(meter, &l->item);
    return true;
}

static void let_go(struct meter *m, struct meter_lease *l)
{
    l->item.is_gone = true;
    meter_touch(m, &l->item);
}

void meter_forget(struct meter *meter, uint64_t lease)
{
    struct meter_lease *l = NULL;

    HASH_FIND(hh, meter->ended, &lease, sizeof(lease), l);
    if (l) {
        let_go(meter, l);
    }
}

void meter_settle(struct meter *meter, int64_t now_ms)
{
    for (struct meter_lease *l = meter->running; l; l = l->hh.next) {
        bool is_new_day = l->settled_ms / METER_DAY_MS != now_ms / METER_DAY_MS;
        if (l->stats.samples != l->written_samples || is_new_day) {
            meter_days_post(meter, l, now_ms);
            l->written_samples = l->stats.samples;
            meter_touch(meter, &l->item);
        }
    }
    meter_days_drop_old(meter, now_ms);
}

void meter_shift_times(struct meter *meter, int64_t by_ms)
{
    for (struct meter_lease *l = meter->running; l; l = l->hh.next) {
        l->since_ms += by_ms;
        l->settled_ms += by_ms;
        l->stats.last_ms += by_ms;
        l->stats.busy_ms += by_ms;
        meter_touch(meter, &l->item);
    }
}

bool meter_is_running(const struct meter *meter)
{
    return meter->running != NULL;
}

void meter_prune(struct meter *meter, bool (*is_remembered)(uint64_t lease, void *arg), void *arg)
{
    struct meter_lease *l = NULL, *next = NULL;

    HASH_ITER(hh, meter->running, l, next)
    {
        if (!l->is_resumed) { /* it ended while its end could not be written: all that is known */
            meter_end(meter, l->lease, l->stats.last_ms);
        }
    }
    HASH_ITER(hh, meter->ended, l, next)
    {
        if (!l->item.is_gone && !is_remembered(l->lease, arg)) {
            let_go(meter, l);
        }
    }
}
