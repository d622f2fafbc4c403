#pragma once
#include "meter/meter.h"
#include <jansson.h>
#include <sys/queue.h>
#include <uthash.h>

/* What the files of the room share. */

/* First in everything that has a record. */
struct meter_item {
    enum meter_record_kind kind;
    bool is_dirty;    /* is in the list */
    bool is_recorded; /* has a record */
    bool is_gone;     /* the record goes, then the item */
    TAILQ_ENTRY(meter_item) link;
};
TAILQ_HEAD(meter_items, meter_item);

struct meter_account {
    struct meter_item item;
    char tenant[METER_TENANT_BYTES];
    struct meter_sums sums; /* of leases that have ended */
    UT_hash_handle hh;
};

/* What a tenant used of one profile in one UTC day. */
struct meter_day_key {
    int64_t day;
    const struct meter_account *account;
    char profile[METER_PROFILE_BYTES];
};

struct meter_day {
    struct meter_item item;
    struct meter_day_key key;
    struct meter_sums sums;
    UT_hash_handle hh;
};

struct meter_lease {
    struct meter_item item;
    uint64_t lease;
    struct meter_account *account;
    char profile[METER_PROFILE_BYTES];
    char gpu[METER_GPU_BYTES];
    struct meter_load load;
    int64_t since_ms, until_ms; /* until_ms 0: it runs */
    int64_t settled_ms;         /* the days have it up to here */
    bool is_counted;            /* the days count it among their leases */
    struct meter_sums settled;  /* what the days have of its samples */
    uint32_t written_samples;   /* as of the last record */
    bool is_resumed;            /* it has begun, or ended, in this life of the daemon */
    struct meter_stats stats;
    struct meter_hour *hour; /* while it runs */
    UT_hash_handle hh;
};

struct meter {
    struct meter_rates rates;
    unsigned keep_days;
    int64_t oldest_day; /* nothing older is kept */
    struct meter_account *accounts;
    struct meter_day *days;
    struct meter_lease *running, *ended;
    struct meter_items dirty;
};

void meter_touch(struct meter *m, struct meter_item *item);
struct meter_account *meter_account_of(struct meter *m, const char *tenant);
void meter_sums_add(struct meter_sums *to, const struct meter_sums *sums);
/* What samples say, as sums. */
struct meter_sums meter_sums_of(const struct meter_stats *stats);
/* Of `now` what `before` does not have. */
struct meter_sums meter_sums_minus(const struct meter_sums *now, const struct meter_sums *before);
/* What the lease held between the two times. */
struct meter_sums meter_held(const struct meter_load *load, int64_t from_ms, int64_t to_ms);

/* days.c */
/* Calls `each` for every UTC day between settled_ms and now_ms with what the lease held in it; its
 * samples since the last time count for the last day. */
void meter_each_open_day(const struct meter_lease *l, int64_t now_ms,
                         void (*each)(const struct meter_lease *l, int64_t day,
                                      const struct meter_sums *sums, void *arg),
                         void *arg);
void meter_days_post(struct meter *m, struct meter_lease *l, int64_t now_ms);
void meter_days_drop_old(struct meter *m, int64_t now_ms);
struct meter_day *meter_day_of(struct meter *m, const struct meter_day_key *key);

