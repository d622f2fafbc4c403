#pragma once
#include "base/cleanup.h"
#include "base/error.h"
#include "meter/stats.h"
#include <stdbool.h>
#include <stdint.h>

/* What was used: how long each tenant's leases held how much, what that costs at the rates of the
 * configuration, and what samples tell of what was done with it.  Pure bookkeeping: the caller
 * brings the clock (milliseconds since 1970) and writes what meter_next_dirty() gives: what a lease
 * has used goes into the very batch that writes its end, so that a crash neither loses nor doubles
 * an hour.  Samples of leases that run are written now and then; a crash loses those since.
 *
 * Three ledgers: an account per tenant for ever; a sum per UTC day, tenant and profile as long as
 * is configured; each lease that runs, or has ended and is remembered.  One thread. */

struct meter;

#define METER_TENANT_BYTES 64
#define METER_PROFILE_BYTES 32
#define METER_GPU_BYTES 64
#define METER_DAY_MS INT64_C(86400000)

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

struct meter *meter_new(const struct meter_rates *rates, unsigned keep_days);
void meter_free(struct meter *meter);
DEFINE_FREEP(struct meter, meter_free)

const struct meter_rates *meter_rates(const struct meter *meter);
/* At those rates; 0 without. */
double meter_price(const struct meter *meter, double compute_slot_hours, double memory_gib_hours);

/* --- what happens --------------------------------------------------------------------------- */

/* The lease holds this from now on: slices of that profile, on that GPU (the first of them).  A
 * lease that is known already is left as it is; one whose record was read back goes
 * on from there. */
void meter_begin(struct meter *meter, uint64_t lease, const char *tenant, const char *profile,
                 const char *gpu, const struct meter_load *load, int64_t since_ms);
/* Of a slice of a lease that runs; of any other it is dropped. */
void meter_add_sample(struct meter *meter, uint64_t lease, const struct meter_sample *sample);
/* It holds nothing any more.  False when it never held anything. */
bool meter_end(struct meter *meter, uint64_t lease, int64_t now_ms);
/* The ended lease is remembered no longer. */
void meter_forget(struct meter *meter, uint64_t lease);
/* Brings the days up to now, drops those that are too old, and has the leases that were sampled
 * since the last time written. */
void meter_settle(struct meter *meter, int64_t now_ms);
bool meter_is_running(const struct meter *meter); /* is there a lease? */

/* --- what must survive ---------------------------------------------------------------------- */

enum meter_record_kind { METER_RECORD_ACCOUNT, METER_RECORD_LEASE, METER_RECORD_DAY };

struct meter_record {
    enum meter_record_kind kind;
    char id[128];
    char *body; /* JSON, owned by the taker; NULL: the record goes */
};

/* Takes one changed record; false when there is none left. */
bool meter_next_dirty(struct meter *meter, struct meter_record *ret);
/* -EINVAL when it is damaged; nothing has changed then. */
int meter_load_record(struct meter *meter, enum meter_record_kind kind, const char *id,
                      const char *body, size_t len, struct error *err);
/* The clock was set by so much since the records were written: leases that run go on as if it had
 * always been so. */
void meter_shift_times(struct meter *meter, int64_t by_ms);
/* After the records and the leases that run: leases that are neither running nor remembered go. */
void meter_prune(struct meter *meter, bool (*is_remembered)(uint64_t lease, void *arg), void *arg);

/* --- questions ------------------------------------------------------------------------------ */

/* Sums over any number of leases.  Integers, so that adding up for years loses nothing. */
struct meter_sums {
    uint64_t leases; /* granted in that time */
    uint64_t compute_slot_ms, memory_mib_ms;
    uint64_t covered_ms, idle_ms, sm_ms, sm_sum; /* as in struct meter_stats */
    uint32_t sm_peak, memory_peak; /* hundredths of a percent; of the slice's memory */
};

enum meter_by { METER_BY_TENANT, METER_BY_PROFILE, METER_BY_DAY, METER_BY_LEASE };

struct meter_query {
    enum meter_by by;
    int64_t since_ms, until_ms; /* 0: open.  Of leases exact, else the UTC days that it touches */
    const char *tenant, *profile; /* only these; NULL all */
    uint64_t lease;               /* BY_LEASE: only this one; 0 all */
    int64_t now_ms;
};

struct meter_row {
    const char *tenant, *profile; /* profile: NULL unless by profile or lease */
    int64_t day;                  /* days since 1970; -1 unless by day */
    uint64_t lease;               /* and what follows: 0 unless by lease */
    int64_t since_ms, until_ms;   /* until_ms 0: it runs */
    struct meter_load load;
    const char *gpu; /* UUID; "" unknown */
    const struct meter_stats *stats;
    const struct meter_hour *hour; /* NULL when it has ended */
    unsigned active_leases;   /* now */
    struct meter_load active; /* what they hold */
    struct meter_sums sums;
    double compute_slot_hours, memory_gib_hours, cost;
};

/* Borrowed until the callback returns.  In order of day, tenant, profile, lease.  Without a range
 * and a profile the rows by tenant are for ever; all else reaches as far back as days, or leases,
 * are kept. */
void meter_query(struct meter *meter, const struct meter_query *query,
                 void (*each)(const struct meter_row *row, void *arg), void *arg);

/* Percent; -1: not known. */
double meter_sums_sm_mean(const struct meter_sums *sums);
double meter_sums_idle(const struct meter_sums *sums);
