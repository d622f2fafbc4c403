/* What was used by UTC day, tenant and profile.  A lease that runs over midnight counts for each
 * day what it held in it. */
#include "meter/internal.h"
#include <string.h>

void meter_each_open_day(const struct meter_lease *l, int64_t now_ms,
                         void (*each)(const struct meter_lease *l, int64_t day,
                                      const struct meter_sums *sums, void *arg),
                         void *arg)
{
    struct meter_sums sampled = meter_sums_of(&l->stats);
    struct meter_sums fresh = meter_sums_minus(&sampled, &l->settled);
    int64_t from = l->settled_ms, end = now_ms > from ? now_ms : from;
    bool is_first = !l->is_counted;

    for (bool is_last = false; !is_last; is_first = false) {
        int64_t day = from / METER_DAY_MS, midnight = (day + 1) * METER_DAY_MS;
        is_last = end <= midnight;
        struct meter_sums sums = meter_held(&l->load, from, is_last ? end : midnight);
        sums.leases = is_first;
        if (is_last) {
            meter_sums_add(&sums, &fresh);
        }
        each(l, day, &sums, arg);
        from = midnight;
    }
}

struct meter_day *meter_day_of(struct meter *m, const struct meter_day_key *key)
{
    struct meter_day *d = NULL;

    HASH_FIND(hh, m->days, key, sizeof(*key), d);
    if (!d) {
        d = xcalloc(1, sizeof(*d));
        d->item.kind = METER_RECORD_DAY;
        d->key = *key;
        HASH_ADD(hh, m->days, key, sizeof(d->key), d);
    }
    return d;
}

static void post(const struct meter_lease *l, int64_t day, const struct meter_sums *sums, void *arg)
{
    struct meter *m = arg;
    struct meter_day_key key; /* hashed as bytes: what lies between and behind must be 0 */

    if (day < m->oldest_day) {
        return;
    }
    memset(&key, 0, sizeof(key));
    key.day = day;
    key.account = l->account;
    memcpy(key.profile, l->profile, strnlen(l->profile, sizeof(key.profile) - 1));
    struct meter_day *d = meter_day_of(m, &key);
    meter_sums_add(&d->sums, sums);
    meter_touch(m, &d->item);
}

void meter_days_post(struct meter *m, struct meter_lease *l, int64_t now_ms)
{
    meter_days_drop_old(m, now_ms); /* first, so that none is made that would be too old */
    meter_each_open_day(l, now_ms, post, m);
    l->settled = meter_sums_of(&l->stats);
    l->settled_ms = now_ms > l->settled_ms ? now_ms : l->settled_ms;
    l->is_counted = true;
}

void meter_days_drop_old(struct meter *m, int64_t now_ms)
{
    int64_t oldest = now_ms / METER_DAY_MS - m->keep_days;

    if (oldest <= m->oldest_day) {
        return;
    }
    m->oldest_day = oldest;
    for (struct meter_day *d = m->days; d; d = d->hh.next) {
        if (d->key.day < oldest) {
            d->item.is_gone = true;
            meter_touch(m, &d->item);
        }
    }
}
