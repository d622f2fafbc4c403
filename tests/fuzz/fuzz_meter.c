/* Records of the meter: never a crash, and what is accepted is written and read back as it was.
 * The first byte chooses the kind. */
#include "fuzz.h"
#include "meter/meter.h"
#include <stdlib.h>
#include <string.h>

static const char *const ids[] = {"vision", "00000000000000000007", "00020779/1g.10gb/vision"};
static const struct meter_rates rates = {1, 2, "EUR"};

static void look(const struct meter_row *row, void *arg)
{
    (void)arg;
    meter_sums_sm_mean(&row->sums);
    if (row->stats &&
        (meter_stats_sm_p95(row->stats) > 43e6 || meter_stats_idle_for_ms(row->stats) < 0)) {
        abort();
    }
}

static bool is_nobody(uint64_t lease, void *arg)
{
    (void)lease;
    (void)arg;
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum meter_record_kind kind = size ? (enum meter_record_kind)(data[0] % 3) : 0;
    CLEANUP(meter_freep) struct meter *m = meter_new(&rates, 100), *again = meter_new(&rates, 100);
    struct meter_load load = {1, 1};
    struct meter_record r;
    struct error err = {0};

    if (!size ||
        meter_load_record(m, kind, ids[kind], (const char *)data + 1, size - 1, &err) < 0) {
        return 0;
    }
    for (enum meter_by by = METER_BY_TENANT; by <= METER_BY_LEASE; by++) {
        meter_query(m, &(struct meter_query){.by = by, .now_ms = INT64_C(1795300000000)}, look,
                    NULL);
    }
    meter_begin(m, 7, "vision", "1g.10gb", "GPU-1", &load, INT64_C(1795300000000));
    meter_settle(m, INT64_C(1795300000000));
    meter_end(m, 7, INT64_C(1795300000001));
    while (meter_next_dirty(m, &r)) {
        if (r.body && meter_load_record(again, r.kind, r.id, r.body, strlen(r.body), &err) < 0) {
            abort();
        }
        free(r.body);
    }
    meter_prune(m, is_nobody, NULL);
    while (meter_next_dirty(m, &r)) {
        free(r.body);
    }
    return 0;
}
