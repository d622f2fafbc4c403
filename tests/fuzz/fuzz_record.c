/* The pool's own records as a damaged journal might give them back: [[kind, id, body], ...].  Each
 * is taken or refused with a message; the pool starts with whatever was taken. */
#include "base/tree.h"
#include "fuzz.h"
#include "pool/pool.h"
#include "replay/models.h"
#include <stdlib.h>
#include <string.h>

static struct pool *make_pool(void)
{
    static struct mig_geometry geometry;
    struct pool_settings settings;
    struct mig_gpu_info info = {.uuid = "GPU-0", .name = "NVIDIA H100 80GB HBM3",
                                .is_healthy = true, .is_mig_capable = true, .is_resetless = true,
                                .has_geometry = true, .is_mig_enabled = true,
                                .is_mig_pending = true};
    struct error err = {0};
    unsigned id = 0;

    pool_settings_default(&settings);
    struct pool *pool = pool_new(&settings);
    if (!geometry.profile_count && (replay_model_geometry("H100-SXM5-80GB", &geometry, &err) < 0 ||
                                    mig_geometry_init(&geometry, &err) < 0)) {
        abort();
    }
    if (pool_add_gpu(pool, &info, &geometry, true, POOL_MIG_ON_DEMAND, &id, &err) < 0) {
        abort();
    }
    return pool;
}

/* In the order that pool_load_record() asks for. */
static void load(struct pool *pool, const json_t *rows, int from, int to)
{
    const json_t *row = NULL;
    size_t i = 0;

    json_array_foreach(rows, i, row)
    {
        int kind = (int)json_integer_value(json_array_get(row, 0));
        uint64_t id = (uint64_t)json_integer_value(json_array_get(row, 1));
        CLEANUP(freep) char *body = json_dumps(json_array_get(row, 2), JSON_ENCODE_ANY);
        struct error err = {0};
        if (kind < from || kind > to || !body) {
            continue;
        }
        if (pool_load_record(pool, (enum pool_record_kind)kind, id, body, &err) < 0 &&
            !err.msg[0]) {
            abort();
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(json_decrefp) json_t *rows = NULL;
    CLEANUP(pool_freep) struct pool *pool = NULL;
    struct pool_actions actions = {0};
    struct pool_record record = {0};

    if (tree_from_json((const char *)data, size, &rows, NULL) < 0) {
        return 0;
    }
    pool = make_pool();
    load(pool, rows, POOL_RECORD_META, POOL_RECORD_META);
    load(pool, rows, POOL_RECORD_SLICE, POOL_RECORD_SLICE);
    load(pool, rows, POOL_RECORD_LEASE, POOL_RECORD_LEASE);
    load(pool, rows, POOL_RECORD_OPERATION, POOL_RECORD_OPERATION);
    pool_start(pool, INT64_C(1800000000000), &actions);
    while (pool_next_dirty(pool, &record)) {
        free(record.body);
    }
    pool_actions_done(&actions);
    return 0;
}
