/* The ledgers as records of the journal, and back.
 *
 * An account as it was written before there were samples has three members; what else is not there
 * counts as 0.  Records are trusted to be ours, not to be whole: each number is checked. */
#include "base/text.h"
#include "base/tree.h"
#include "meter/internal.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MOST INT64_C(9007199254740991)

/* --- writing -------------------------------------------------------------------------------- */

static void put(json_t *tree, const char *name, uint64_t value)
{
    json_object_set_new(tree, name, json_integer((json_int_t)(value < MOST ? value : MOST)));
}

/* A clock that was set far back may leave times before 1970. */
static uint64_t when(int64_t ms)
{
    return ms > 0 ? (uint64_t)ms : 0;
}

static void put_sums(json_t *tree, const struct meter_sums *s)
{
    put(tree, "leases", s->leases);
    put(tree, "compute_slot_ms", s->compute_slot_ms);
    put(tree, "memory_mib_ms", s->memory_mib_ms);
    if (s->covered_ms) {
        put(tree, "covered_ms", s->covered_ms);
        put(tree, "idle_ms", s->idle_ms);
        put(tree, "sm_ms", s->sm_ms);
        put(tree, "sm_sum", s->sm_sum);
        put(tree, "sm_peak", s->sm_peak);
        put(tree, "memory_peak", s->memory_peak);
    }
}

static json_t *stats_tree(const struct meter_stats *s)
{
    json_t *tree = json_object(), *tenths = json_array();

    put(tree, "samples", s->samples);
    put(tree, "last_ms", when(s->last_ms));
    put(tree, "busy_ms", when(s->busy_ms));
    put(tree, "covered_ms", s->covered_ms);
    put(tree, "idle_ms", s->idle_ms);
    put(tree, "memory_samples", s->memory_samples);
    put(tree, "memory_sum_mib", s->memory_sum_mib);
    put(tree, "memory_peak_mib", s->memory_peak_mib);
    put(tree, "memory_total_mib", s->memory_total_mib);
    put(tree, "can_sm", s->can_sm);
    if (s->sm_ms) {
        put(tree, "sm_ms", s->sm_ms);
        put(tree, "sm_sum", s->sm_sum);
        put(tree, "sm_peak", (uint64_t)(s->sm_peak * 100.0f + 0.5f));
        for (unsigned i = 0; i < METER_SM_BUCKETS; i++) {
            json_array_append_new(tenths, json_integer(s->sm_tenths[i]));
        }
        json_object_set(tree, "sm_tenths", tenths);
    }
    json_decref(tenths);
    return tree;
}

static json_t *lease_tree(const struct meter_lease *l)
{
    json_t *tree = json_pack("{s:s, s:s, s:s}", "tenant", l->account->tenant, "profile", l->profile,
                             "gpu", l->gpu);

    put(tree, "compute_slots", l->load.compute_slots);
    put(tree, "memory_mib", l->load.memory_mib);
    put(tree, "since_ms", when(l->since_ms));
    put(tree, "until_ms", when(l->until_ms));
    put(tree, "settled_ms", when(l->settled_ms));
    put(tree, "is_counted", l->is_counted);
    json_object_set_new(tree, "stats", stats_tree(&l->stats));
    return tree;
}

static json_t *day_tree(const struct meter_day *d)
{
    json_t *tree = json_pack("{s:I, s:s, s:s}", "day", (json_int_t)d->key.day, "tenant",
                             d->key.account->tenant, "profile", d->key.profile);

    put_sums(tree, &d->sums);
    return tree;
}

static json_t *item_tree(const struct meter_item *item, struct meter_record *ret)
{
    const struct meter_account *a = (const struct meter_account *)item;
    const struct meter_day *d = (const struct meter_day *)item;
    const struct meter_lease *l = (const struct meter_lease *)item;
    json_t *tree = NULL;

    switch (item->kind) {
    case METER_RECORD_ACCOUNT:
        text_copy(ret->id, sizeof(ret->id), a->tenant);
        tree = json_object();
        put_sums(tree, &a->sums);
        break;
    case METER_RECORD_LEASE:
        snprintf(ret->id, sizeof(ret->id), "%020" PRIu64, l->lease);
        tree = item->is_gone ? NULL : lease_tree(l);
        break;
    case METER_RECORD_DAY:
        snprintf(ret->id, sizeof(ret->id), "%08" PRId64 "/%s/%s", d->key.day, d->key.profile,
                 d->key.account->tenant);
        tree = item->is_gone ? NULL : day_tree(d);
        break;
    }
    return tree;
}

static void item_free(struct meter *m, struct meter_item *item)
{
    if (item->kind == METER_RECORD_DAY) {
        struct meter_day *d = (struct meter_day *)item;
        HASH_DEL(m->days, d);
        free(d);
    } else if (item->kind == METER_RECORD_LEASE) {
        struct meter_lease *l = (struct meter_lease *)item;
        HASH_DEL(m->ended, l);
        free(l->hour);
        free(l);
    }
}

bool meter_next_dirty(struct meter *meter, struct meter_record *ret)
{
    struct meter_item *item = NULL;

    while ((item = TAILQ_FIRST(&meter->dirty))) {
        TAILQ_REMOVE(&meter->dirty, item, link);
        item->is_dirty = false;
        bool is_news = !item->is_gone || item->is_recorded;
        *ret = (struct meter_record){.kind = item->kind};
        json_t *tree = item_tree(item, ret);
        ret->body = tree ? json_dumps(tree, JSON_COMPACT) : NULL;
        json_decref(tree);
        item->is_recorded = true;
        if (item->is_gone) {
            item_free(meter, item);
        }
        if (is_news) {
            return true;
        }
    }
    return false;
}

/* --- reading -------------------------------------------------------------------------------- */

/* A number of 0 and more; when it is not there `otherwise`, -1: it must be. */
static bool get(const json_t *tree, const char *name, int64_t otherwise, uint64_t *ret)
{
    const json_t *v = json_object_get(tree, name);
    int64_t n = v ? (json_is_integer(v) ? json_integer_value(v) : -1) : otherwise;

    if (n < 0 || n > MOST) {
        return false;
    }
    *ret = (uint64_t)n;
    return true;
}

static bool get_u32(const json_t *tree, const char *name, uint32_t *ret)
{
    uint64_t n = 0;

    if (!get(tree, name, 0, &n) || n > UINT32_MAX) {
        return false;
    }
    *ret = (uint32_t)n;
    return true;
}

static bool get_ms(const json_t *tree, const char *name, int64_t *ret)
{
    uint64_t n = 0;

    if (!get(tree, name, 0, &n)) {
        return false;
    }
    *ret = (int64_t)n;
    return true;
}

static bool get_sums(const json_t *tree, struct meter_sums *s)
{
    return get(tree, "leases", -1, &s->leases) &&
           get(tree, "compute_slot_ms", -1, &s->compute_slot_ms) &&
           get(tree, "memory_mib_ms", -1, &s->memory_mib_ms) &&
           get(tree, "covered_ms", 0, &s->covered_ms) && get(tree, "idle_ms", 0, &s->idle_ms) &&
           get(tree, "sm_ms", 0, &s->sm_ms) && get(tree, "sm_sum", 0, &s->sm_sum) &&
           get_u32(tree, "sm_peak", &s->sm_peak) && get_u32(tree, "memory_peak", &s->memory_peak);
}

static bool get_tenths(const json_t *tree, struct meter_stats *s)
{
    const json_t *list = json_object_get(tree, "sm_tenths");

    for (size_t i = 0; i < json_array_size(list) && i < METER_SM_BUCKETS; i++) {
        json_int_t n = json_integer_value(json_array_get(list, i));
        if (n < 0 || n > UINT32_MAX) {
            return false;
        }
        s->sm_tenths[i] = (uint32_t)n;
    }
    return true;
}

static bool get_stats(const json_t *tree, struct meter_stats *s)
{
    uint32_t sm_peak = 0, can_sm = 0;
    bool is_good = get_u32(tree, "samples", &s->samples) && get_ms(tree, "last_ms", &s->last_ms) &&
                   get_ms(tree, "busy_ms", &s->busy_ms) &&
                   get(tree, "covered_ms", 0, &s->covered_ms) &&
                   get(tree, "idle_ms", 0, &s->idle_ms) &&
                   get_u32(tree, "memory_samples", &s->memory_samples) &&
                   get(tree, "memory_sum_mib", 0, &s->memory_sum_mib) &&
                   get(tree, "memory_peak_mib", 0, &s->memory_peak_mib) &&
                   get(tree, "memory_total_mib", 0, &s->memory_total_mib) &&
                   get(tree, "sm_ms", 0, &s->sm_ms) && get(tree, "sm_sum", 0, &s->sm_sum) &&
                   get_u32(tree, "sm_peak", &sm_peak) && get_u32(tree, "can_sm", &can_sm) &&
                   get_tenths(tree, s);

    s->sm_peak = (float)sm_peak / 100.0f;
    s->can_sm = can_sm;
    return is_good;
}

/* A name that fits. */
static const char *get_name(const json_t *tree, const char *name, size_t size)
{
    const char *s = json_string_value(json_object_get(tree, name));

    return s && *s && strlen(s) < size ? s : NULL;
}

static bool load_account(struct meter *m, const char *tenant, const json_t *tree)
{
    struct meter_sums sums = {0};

    if (!get_sums(tree, &sums) || !*tenant || strlen(tenant) >= METER_TENANT_BYTES) {
        return false;
    }
    struct meter_account *a = meter_account_of(m, tenant);
    a->sums = sums;
    a->item.is_recorded = true;
    return true;
}

static bool load_day(struct meter *m, const json_t *tree)
{
    const char *tenant = get_name(tree, "tenant", METER_TENANT_BYTES);
    const char *profile = get_name(tree, "profile", METER_PROFILE_BYTES);
    struct meter_sums sums = {0};
    struct meter_day_key key;
    uint64_t day = 0;

    if (!tenant || !profile || !get(tree, "day", -1, &day) || !get_sums(tree, &sums)) {
        return false;
    }
    memset(&key, 0, sizeof(key));
    key.day = (int64_t)day;
    key.account = meter_account_of(m, tenant);
    memcpy(key.profile, profile, strlen(profile));
    struct meter_day *d = meter_day_of(m, &key);
    d->sums = sums;
    d->item.is_recorded = true;
    return true;
}

static bool load_lease(struct meter *m, const char *id, const json_t *tree)
{
    const char *tenant = get_name(tree, "tenant", METER_TENANT_BYTES);
    const char *profile = get_name(tree, "profile", METER_PROFILE_BYTES);
    struct meter_lease l = {.item = {.kind = METER_RECORD_LEASE, .is_recorded = true}};
    uint32_t is_counted = 0;
    int64_t number = 0;

    if (!tenant || !profile || text_parse_int(id, "", 1, INT64_MAX, &number, NULL) < 0 ||
        !get_u32(tree, "compute_slots", &l.load.compute_slots) ||
        !get(tree, "memory_mib", -1, &l.load.memory_mib) ||
        !get_ms(tree, "since_ms", &l.since_ms) || !get_ms(tree, "until_ms", &l.until_ms) ||
        !get_ms(tree, "settled_ms", &l.settled_ms) || !get_u32(tree, "is_counted", &is_counted) ||
        !get_stats(json_object_get(tree, "stats"), &l.stats)) {
        return false;
    }
    l.lease = (uint64_t)number;
    l.account = meter_account_of(m, tenant);
    l.is_counted = is_counted;
    l.settled = meter_sums_of(&l.stats);
    l.written_samples = l.stats.samples;
    l.is_resumed = l.until_ms;
    text_copy(l.profile, sizeof(l.profile), profile);
    text_copy(l.gpu, sizeof(l.gpu), json_string_value(json_object_get(tree, "gpu")));
    struct meter_lease *own = xcalloc(1, sizeof(*own));
    *own = l;
    if (l.until_ms) {
        HASH_ADD(hh, m->ended, lease, sizeof(own->lease), own);
    } else {
        HASH_ADD(hh, m->running, lease, sizeof(own->lease), own);
    }
    return true;
}

int meter_load_record(struct meter *meter, enum meter_record_kind kind, const char *id,
                      const char *body, size_t len, struct error *err)
{
    static const char *const names[] = {"account of", "usage of lease", "usage of day"};
    CLEANUP(json_decrefp) json_t *tree = NULL;
    int rc = tree_from_json(body, len, &tree, err);

    if (rc < 0) {
        return err_wrap(err, "the %s '%.60s'", names[kind], id);
    }
    bool is_good = kind == METER_RECORD_ACCOUNT ? load_account(meter, id, tree)
                   : kind == METER_RECORD_DAY   ? load_day(meter, tree)
                                                : load_lease(meter, id, tree);
    return is_good ? 0 : err_set(err, EINVAL, "the %s '%.60s' is damaged", names[kind], id);
}
