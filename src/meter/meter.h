#pragma once
#include "base/cleanup.h"
#include "base/error.h"
#include <stdbool.h>
#include <stdint.h>

/* What was used: how long each tenant's leases held how much, and what that costs at the rates of
 * the configuration.  Pure bookkeeping: the caller brings the clock (milliseconds since 1970), and
 * keeps what meter_record() gives together with the end of the lease, in one commit, so that a
 * crash neither loses nor doubles an hour.  One thread. */

struct meter;

/* Price of one hour of one compute slot, and of one GiB, held; 0 is free of charge. */
struct meter_rates {
    double compute_slot_hour, memory_gib_hour;
    char currency[8]; /* "" when no rates are set: then nothing has a price */
};

/* What one lease holds. */
struct meter_load {
    unsigned compute_slots; /* at least 1: a GPU without MIG counts as one */
    uint64_t memory_mib;
};

/* A tenant's account. */
struct meter_usage {
    const char *tenant;
    uint64_t leases;          /* granted ever */
    unsigned active_leases;   /* now */
    struct meter_load active; /* what they hold */
    double compute_slot_hours, memory_gib_hours; /* until `now` */
    double cost;              /* at today's rates; 0 without */
};

struct meter *meter_new(const struct meter_rates *rates);
void meter_free(struct meter *meter);
DEFINE_FREEP(struct meter, meter_free)

const struct meter_rates *meter_rates(const struct meter *meter);

/* The lease holds this from now on.  A lease that is known already is left as it is. */
void meter_begin(struct meter *meter, uint64_t lease, const char *tenant,
                 const struct meter_load *load, int64_t since_ms);
/* It holds nothing any more.  Its tenant (borrowed), whose record has changed; NULL when the lease
 * never held anything. */
const char *meter_end(struct meter *meter, uint64_t lease, int64_t now_ms);

/* What must survive of a tenant's account, as JSON, owned by the caller; NULL: no such tenant. */
char *meter_record(const struct meter *meter, const char *tenant);
/* -EINVAL when it is damaged; nothing has changed then. */
int meter_load_record(struct meter *meter, const char *tenant, const char *body, size_t len,
                      struct error *err);

/* Every tenant in order of name, with what runs now counted until now_ms. */
void meter_each(struct meter *meter, int64_t now_ms,
                void (*each)(const struct meter_usage *usage, void *arg), void *arg);
