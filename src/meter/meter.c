/* Accounts are kept as integers (slot-milliseconds, MiB-milliseconds), so that adding up for years
 * loses nothing; hours and prices are worked out when somebody asks. */
#include "meter/meter.h"
#include "base/text.h"
#include "base/tree.h"
#include <string.h>
#include <uthash.h>

#define TENANT_BYTES 64
#define HOUR_MS 3600000.0

struct account {
    char tenant[TENANT_BYTES];
    uint64_t leases, compute_slot_ms, memory_mib_ms; /* of leases that have ended */
    UT_hash_handle hh;
};

/* A lease that holds something. */
struct running {
    uint64_t lease;
    struct account *account;
    struct meter_load load;
    int64_t since_ms;
    UT_hash_handle hh;
};

struct meter {
    struct meter_rates rates;
    struct account *accounts;
    struct running *running;
};

struct meter *meter_new(const struct meter_rates *rates)
{
    struct meter *m = xcalloc(1, sizeof(*m));

    m->rates = *rates;
    return m;
}

void meter_free(struct meter *meter)
{
    struct account *a = NULL, *next_account = NULL;
    struct running *r = NULL, *next = NULL;

    if (!meter) {
        return;
    }
    HASH_ITER(hh, meter->running, r, next)
    {
        HASH_DEL(meter->running, r);
        free(r);
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

static struct account *account_of(struct meter *m, const char *tenant)
{
    struct account *a = NULL;

    HASH_FIND_STR(m->accounts, tenant, a);
    if (!a) {
        a = xcalloc(1, sizeof(*a));
        text_copy(a->tenant, sizeof(a->tenant), tenant);
        HASH_ADD_STR(m->accounts, tenant, a);
    }
    return a;
}

void meter_begin(struct meter *meter, uint64_t lease, const char *tenant,
                 const struct meter_load *load, int64_t since_ms)
{
    struct running *r = NULL;

    HASH_FIND(hh, meter->running, &lease, sizeof(lease), r);
    if (r) {
        return;
    }
    r = xcalloc(1, sizeof(*r));
    *r = (struct running){.lease = lease, .account = account_of(meter, tenant), .load = *load,
                          .since_ms = since_ms};
    HASH_ADD(hh, meter->running, lease, sizeof(r->lease), r);
}

/* A clock that was set back counts as no time. */
static uint64_t held_ms(const struct running *r, int64_t now_ms)
{
    return now_ms > r->since_ms ? (uint64_t)(now_ms - r->since_ms) : 0;
}

const char *meter_end(struct meter *meter, uint64_t lease, int64_t now_ms)
{
    struct running *r = NULL;

    HASH_FIND(hh, meter->running, &lease, sizeof(lease), r);
    if (!r) {
        return NULL;
    }
    struct account *a = r->account;
    a->leases++;
    a->compute_slot_ms += held_ms(r, now_ms) * r->load.compute_slots;
    a->memory_mib_ms += held_ms(r, now_ms) * r->load.memory_mib;
    HASH_DEL(meter->running, r);
    free(r);
    return a->tenant;
}

char *meter_record(const struct meter *meter, const char *tenant)
{
    const struct account *a = NULL;

    HASH_FIND_STR(meter->accounts, tenant, a);
    if (!a) {
        return NULL;
    }
    json_t *tree = json_pack("{s:I, s:I, s:I}", "leases", (json_int_t)a->leases,
                             "compute_slot_ms", (json_int_t)a->compute_slot_ms, "memory_mib_ms",
                             (json_int_t)a->memory_mib_ms);
    char *body = json_dumps(tree, JSON_COMPACT);
    json_decref(tree);
    return body;
}

int meter_load_record(struct meter *meter, const char *tenant, const char *body, size_t len,
                      struct error *err)
{
    CLEANUP(json_decrefp) json_t *tree = NULL;
    json_int_t leases = 0, compute = 0, memory = 0;
    int rc = tree_from_json(body, len, &tree, err);

    if (rc < 0) {
        return rc;
    }
    if (json_unpack(tree, "{s:I, s:I, s:I}", "leases", &leases, "compute_slot_ms", &compute,
                    "memory_mib_ms", &memory) < 0 ||
        leases < 0 || compute < 0 || memory < 0 || !*tenant || strlen(tenant) >= TENANT_BYTES) {
        return err_set(err, EINVAL, "the account of '%.40s' is damaged", tenant);
    }
    struct account *a = account_of(meter, tenant);
    a->leases = (uint64_t)leases;
    a->compute_slot_ms = (uint64_t)compute;
    a->memory_mib_ms = (uint64_t)memory;
    return 0;
}

static int by_name(struct account *a, struct account *b)
{
    return strcmp(a->tenant, b->tenant);
}

static struct meter_usage usage_of(const struct meter *m, const struct account *a, int64_t now_ms)
{
    struct meter_usage u = {.tenant = a->tenant, .leases = a->leases};
    double compute_ms = (double)a->compute_slot_ms, memory_ms = (double)a->memory_mib_ms;

    for (const struct running *r = m->running; r; r = r->hh.next) {
        if (r->account == a) {
            u.leases++;
            u.active_leases++;
            u.active.compute_slots += r->load.compute_slots;
            u.active.memory_mib += r->load.memory_mib;
            compute_ms += (double)(held_ms(r, now_ms) * r->load.compute_slots);
            memory_ms += (double)(held_ms(r, now_ms) * r->load.memory_mib);
        }
    }
    u.compute_slot_hours = compute_ms / HOUR_MS;
    u.memory_gib_hours = memory_ms / HOUR_MS / 1024;
    u.cost = u.compute_slot_hours * m->rates.compute_slot_hour +
             u.memory_gib_hours * m->rates.memory_gib_hour;
    return u;
}

void meter_each(struct meter *meter, int64_t now_ms,
                void (*each)(const struct meter_usage *usage, void *arg), void *arg)
{
    HASH_SORT(meter->accounts, by_name);
    for (const struct account *a = meter->accounts; a; a = a->hh.next) {
        struct meter_usage u = usage_of(meter, a, now_ms);
        each(&u, arg);
    }
}
