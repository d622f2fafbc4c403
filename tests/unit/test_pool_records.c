/* Journals that earlier versions have left (tests/data/records/, one file for each form of the
 * records): today's pool makes of them what was meant.  Each tells the same story; what stands on
 * the GPUs is rebuilt from it. */
#include "../pool_world.h"
#include "base/tree.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define FOLDER TANGRAM_SOURCE_DIR "/tests/data/records/"

static const char *text_of(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static int64_t int_of(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

/* Puts what a slice's record says onto the GPU. */
static void build(struct world *w, const json_t *body)
{
    struct world_gpu *g = &w->gpu[strtoul(text_of(body, "gpu") + strlen("GPU-"), NULL, 10)];
    struct mig_instance *gi = &g->gi[g->gi_count++];
    const json_t *ci = NULL;
    size_t i = 0;

    *gi = (struct mig_instance){.gi_id = (uint32_t)int_of(body, "gi_id"),
                                .profile_id = (uint32_t)int_of(body, "profile_id"),
                                .start = (uint8_t)int_of(body, "start"),
                                .size = (uint8_t)int_of(body, "size"), .has_processes = true};
    json_array_foreach(json_object_get(body, "cis"), i, ci)
    {
        struct mig_compute *c = &gi->ci[gi->ci_count++];
        *c = (struct mig_compute){.id = (uint32_t)int_of(ci, "id"),
                                  .size = (uint8_t)int_of(ci, "compute_slots")};
        text_copy(c->mig_uuid, sizeof(c->mig_uuid), text_of(ci, "mig_uuid"));
    }
}

/* META, then SLICE, then the rest, as the pool wants it. */
static void load(struct world *w, const json_t *rows)
{
    for (int kind = POOL_RECORD_META; kind <= POOL_RECORD_OPERATION; kind++) {
        static const int order[] = {0, POOL_RECORD_META, POOL_RECORD_SLICE, POOL_RECORD_LEASE,
                                    POOL_RECORD_OPERATION};
        const json_t *row = NULL;
        size_t i = 0;
        json_array_foreach(rows, i, row)
        {
            const json_t *body = json_array_get(row, 2);
            uint64_t id = (uint64_t)json_integer_value(json_array_get(row, 1));
            struct error err = {0};
            if (json_integer_value(json_array_get(row, 0)) != order[kind]) {
                continue;
            }
            if (order[kind] == POOL_RECORD_SLICE) {
                build(w, body);
            }
            if (order[kind] == POOL_RECORD_LEASE && int_of(body, "granted_ms") > w->now_ms) {
                w->now_ms = int_of(body, "granted_ms");
            }
            CLEANUP(freep) char *text = json_dumps(body, 0);
            if (pool_load_record(w->pool, (enum pool_record_kind)order[kind], id, text, &err) < 0) {
                fail_msg("%s", err.msg);
            }
        }
    }
}

static void start_from(struct world *w, const char *name)
{
    CLEANUP(json_decrefp) json_t *rows = NULL;
    CLEANUP(freep) char *path = xasprintf(FOLDER "%s", name);
    CLEANUP(freep) char *text = NULL;
    struct pool_settings settings;
    struct error err = {0};
    size_t len = 0;

    if (tree_read_file(path, 1 << 20, &text, &len, &err) < 0 ||
        tree_from_json(text, len, &rows, &err) < 0) {
        fail_msg("%s: %s", name, err.msg);
    }
    pool_settings_default(&settings);
    *w = (struct world){0};
    world_add_gpu(w, "H100-SXM5-80GB", true);
    world_add_gpu(w, "H100-SXM5-80GB", true);
    world_boot(w, &settings);
    load(w, rows);
    world_start(w);
    world_settle(w);
}

static const struct pool_lease *lease_in(const struct world *w, uint64_t id,
                                         enum pool_lease_state state, unsigned parts)
{
    const struct pool_lease *l = pool_find_lease(w->pool, id);

    assert_non_null(l);
    assert_int_equal(l->state, state);
    assert_int_equal(l->part_count, parts);
    assert_string_equal(l->tenant->name, "root");
    return l;
}

static void records_mean_what_they_meant(void **state)
{
    struct world w;

    start_from(&w, *state);
    const struct pool_lease *named = lease_in(&w, 1, POOL_LEASE_ACTIVE, 1);
    assert_string_equal(named->name, "a");
    assert_non_null(strstr(named->labels, "\"y\""));
    assert_string_equal(named->idempotency_key, "k1");
    assert_string_equal(named->part[0].slice->profile_name, "1g.10gb");
    const struct pool_lease *limited = lease_in(&w, 2, POOL_LEASE_ACTIVE, 1);
    assert_int_equal(limited->ttl_ms, 3600000);
    assert_true(limited->expires_ms > w.now_ms && limited->expires_ms <= w.now_ms + 3600000);
    const struct pool_lease *movable = lease_in(&w, 3, POOL_LEASE_ACTIVE, 1);
    assert_true(movable->is_movable);
    assert_int_equal(movable->priority, 3);
    const struct pool_lease *pair = lease_in(&w, 4, POOL_LEASE_ACTIVE, 2);
    assert_ptr_not_equal(pair->part[0].slice, pair->part[1].slice);
    const struct pool_lease *shared = lease_in(&w, 5, POOL_LEASE_ACTIVE, 2);
    assert_ptr_equal(shared->part[0].slice, shared->part[1].slice);
    assert_int_not_equal(shared->part[0].ci, shared->part[1].ci);
    const struct pool_lease *waiting = lease_in(&w, 6, POOL_LEASE_QUEUED, 0);
    assert_string_equal(waiting->name, "waits");
    assert_int_equal(pool_queue_position(w.pool, waiting), 1);
    assert_int_equal(pool_find_lease(w.pool, 7)->state, POOL_LEASE_RELEASED);
    assert_int_equal(named->tenant->compute_slots, 1 + 3 + 2 + 2 + 2);
    assert_int_equal(named->tenant->queued, 1);
    /* Nothing was foreign or missing, and numbers go on. */
    assert_int_equal(w.history[POOL_HIST_SLICE_FOREIGN], 0);
    assert_int_equal(w.history[POOL_HIST_SLICE_VANISHED], 0);
    assert_int_equal(w.history[POOL_HIST_LEASE_LOST], 0);
    assert_int_equal(world_ask(&w, "root", "1g.10gb", (struct pool_request){0}), 8);
    assert_int_equal(world_release(&w, "root", 2), POOL_OK);
    world_settle(&w);
    assert_int_equal(pool_find_lease(w.pool, 2)->state, POOL_LEASE_RELEASED);
    world_done(&w);
}

int main(void)
{
    static char before_moves[] = "before-moves.json", with_moves[] = "with-moves.json";
    const struct CMUnitTest tests[] = {
        {"before_moves", records_mean_what_they_meant, NULL, NULL, before_moves},
        {"with_moves", records_mean_what_they_meant, NULL, NULL, with_moves},
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
