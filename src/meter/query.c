/* Rows for people who ask: leases as they are, or sums by tenant, profile or day. */
#include "base/text.h"
#include "meter/internal.h"
#include <string.h>

#define HOUR_MS 3600000.0

struct group {
    struct meter_row row;
    struct meter_day_key key; /* what is not grouped by is 0 */
    UT_hash_handle hh;
};

struct asking {
    struct meter *m;
    const struct meter_query *q;
    int64_t first_day, last_day;
    struct group *groups;
};

static bool is_wanted(const struct meter_query *q, const struct meter_account *a,
                      const char *profile)
{
    return (!q->tenant || !strcmp(q->tenant, a->tenant)) &&
           (!q->profile || !strcmp(q->profile, profile));
}

static void price(const struct meter *m, struct meter_row *row)
{
    row->compute_slot_hours = (double)row->sums.compute_slot_ms / HOUR_MS;
    row->memory_gib_hours = (double)row->sums.memory_mib_ms / HOUR_MS / 1024;
    row->cost = meter_price(m, row->compute_slot_hours, row->memory_gib_hours);
}

/* --- by lease ------------------------------------------------------------------------------- */

static int by_number(struct meter_lease *a, struct meter_lease *b)
{
    return a->lease < b->lease ? -1 : a->lease > b->lease;
}

static void give_lease(struct asking *ask, const struct meter_lease *l,
                       void (*each)(const struct meter_row *row, void *arg), void *arg)
{
    const struct meter_query *q = ask->q;
    int64_t end = l->until_ms ? l->until_ms : q->now_ms;
    int64_t from = q->since_ms > l->since_ms ? q->since_ms : l->since_ms;
    int64_t to = q->until_ms && q->until_ms < end ? q->until_ms : end;
    bool is_inside = (!q->since_ms || end > q->since_ms || !l->until_ms) &&
                     (!q->until_ms || l->since_ms < q->until_ms);

    if (l->item.is_gone || !is_inside || (q->lease && q->lease != l->lease) ||
        !is_wanted(q, l->account, l->profile)) {
        return;
    }
    struct meter_row row = {.tenant = l->account->tenant, .profile = l->profile, .day = -1,
                            .lease = l->lease, .since_ms = l->since_ms, .until_ms = l->until_ms,
                            .load = l->load, .gpu = l->gpu, .stats = &l->stats, .hour = l->hour,
                            .sums = meter_sums_of(&l->stats)};
    struct meter_sums held = meter_held(&l->load, from, to);
    held.leases = 1;
    meter_sums_add(&row.sums, &held);
    if (!l->until_ms) {
        row.active_leases = 1;
        row.active = l->load;
    }
    price(ask->m, &row);
    each(&row, arg);
}

static void give_leases(struct asking *ask,
                        void (*each)(const struct meter_row *row, void *arg), void *arg)
{
    HASH_SORT(ask->m->running, by_number);
    HASH_SORT(ask->m->ended, by_number);
    const struct meter_lease *r = ask->m->running, *e = ask->m->ended;

    while (r || e) { /* both are in order */
        bool is_ended = e && (!r || e->lease < r->lease);
        const struct meter_lease *l = is_ended ? e : r;
        e = is_ended ? e->hh.next : e;
        r = is_ended ? r : r->hh.next;
        give_lease(ask, l, each, arg);
    }
}

/* --- by tenant, profile or day -------------------------------------------------------------- */

static struct group *group_of(struct asking *ask, const struct meter_account *a,
                              const char *profile, int64_t day)
{
    struct group *g = NULL;
    struct meter_day_key key;

    memset(&key, 0, sizeof(key));
    key.account = a;
    key.day = ask->q->by == METER_BY_DAY ? day : 0;
    if (ask->q->by == METER_BY_PROFILE) {
        memcpy(key.profile, profile, strnlen(profile, sizeof(key.profile) - 1));
    }
    HASH_FIND(hh, ask->groups, &key, sizeof(key), g);
    if (!g) {
        g = xcalloc(1, sizeof(*g));
        g->key = key;
        g->row.tenant = a->tenant;
        g->row.profile = key.profile[0] ? g->key.profile : NULL;
        g->row.day = ask->q->by == METER_BY_DAY ? day : -1;
        HASH_ADD(hh, ask->groups, key, sizeof(g->key), g);
    }
    return g;
}

static void add_open_day(const struct meter_lease *l, int64_t day, const struct meter_sums *sums,
                         void *arg)
{
    struct asking *ask = arg;

    if (day >= ask->first_day && day <= ask->last_day && day >= ask->m->oldest_day) {
        meter_sums_add(&group_of(ask, l->account, l->profile, day)->row.sums, sums);
    }
}

static void add_days(struct asking *ask)
{
    for (const struct meter_day *d = ask->m->days; d; d = d->hh.next) {
        if (!d->item.is_gone && d->key.day >= ask->first_day && d->key.day <= ask->last_day &&
            is_wanted(ask->q, d->key.account, d->key.profile)) {
            meter_sums_add(
                &group_of(ask, d->key.account, d->key.profile, d->key.day)->row.sums, &d->sums);
        }
    }
    for (const struct meter_lease *l = ask->m->running; l; l = l->hh.next) {
        if (is_wanted(ask->q, l->account, l->profile)) {
            meter_each_open_day(l, ask->q->now_ms, add_open_day, ask);
        }
    }
}

static void add_accounts(struct asking *ask)
{
    for (const struct meter_account *a = ask->m->accounts; a; a = a->hh.next) {
        if (is_wanted(ask->q, a, "")) {
            meter_sums_add(&group_of(ask, a, "", 0)->row.sums, &a->sums);
        }
    }
    for (const struct meter_lease *l = ask->m->running; l; l = l->hh.next) {
        if (is_wanted(ask->q, l->account, l->profile)) {
            struct meter_row *row = &group_of(ask, l->account, l->profile, 0)->row;
            struct meter_sums held = meter_held(&l->load, l->since_ms, ask->q->now_ms);
            struct meter_sums sampled = meter_sums_of(&l->stats);
            held.leases = 1;
            meter_sums_add(&row->sums, &held);
            meter_sums_add(&row->sums, &sampled);
        }
    }
}

/* What is held now; by day it stands with today. */
static void add_active(struct asking *ask)
{
    int64_t today = ask->q->now_ms / METER_DAY_MS;

    if (today < ask->first_day || today > ask->last_day) {
        return;
    }
    for (const struct meter_lease *l = ask->m->running; l; l = l->hh.next) {
        if (is_wanted(ask->q, l->account, l->profile)) {
            struct meter_row *row = &group_of(ask, l->account, l->profile, today)->row;
            row->active_leases++;
            row->active.compute_slots += l->load.compute_slots;
            row->active.memory_mib += l->load.memory_mib;
        }
    }
}

static int by_day_and_name(struct group *a, struct group *b)
{
    if (a->row.day != b->row.day) {
        return a->row.day < b->row.day ? -1 : 1;
    }
    int order = strcmp(a->row.tenant, b->row.tenant);
    return order ? order : strcmp(a->key.profile, b->key.profile);
}

static void give_groups(struct asking *ask,
                        void (*each)(const struct meter_row *row, void *arg), void *arg)
{
    struct group *head = TAKE_PTR(ask->groups), *g = NULL, *next = NULL;

    HASH_SORT(head, by_day_and_name);
    for (g = head; g; g = g->hh.next) {
        price(ask->m, &g->row);
        each(&g->row, arg);
    }
    HASH_ITER(hh, head, g, next)
    {
        HASH_DEL(head, g);
        free(g);
    }
}

void meter_query(struct meter *meter, const struct meter_query *query,
                 void (*each)(const struct meter_row *row, void *arg), void *arg)
{
    struct asking ask = {.m = meter, .q = query, .last_day = INT64_MAX};
    bool has_range = query->since_ms || query->until_ms;

    if (query->by == METER_BY_LEASE) {
        give_leases(&ask, each, arg);
        return;
    }
    if (query->since_ms > 0) {
        ask.first_day = query->since_ms / METER_DAY_MS;
    }
    if (query->until_ms > 0) {
        ask.last_day = (query->until_ms - 1) / METER_DAY_MS;
    }
    if (query->by == METER_BY_TENANT && !has_range && !query->profile) {
        add_accounts(&ask);
    } else {
        add_days(&ask);
    }
    add_active(&ask);
    give_groups(&ask, each, arg);
}
