/* The queue, and what stands in the way of those who wait. */
#include "api/call.h"
#include "base/text.h"
#include <string.h>

/* Explaining costs a look at every GPU, so it is done once for all that wait alike, and for so many
 * of those kinds.  Behind them only what an earlier attempt has left is said. */
#define KINDS_MAX 256

struct kind {
    const struct pool_lease *lease;
    char reason[240];
};

struct kinds {
    unsigned count;
    struct kind kind[KINDS_MAX];
    struct pool_forecast forecast;
};

void api_add_blocking(struct json_out *w, const char *name, const struct pool_explanation *why)
{
    json_out_array(w, name);
    for (unsigned i = 0; i < why->block_count; i++) {
        const struct pool_block *b = &why->block[i];
        const struct pool_slice *s = b->slice;
        json_out_object(w, NULL);
        json_out_int(w, "gpu_index", b->gpu->info.index);
        json_out_str(w, "gpu_uuid", b->gpu->info.uuid);
        json_out_text(w, "profile", s ? s->profile_name : NULL);
        if (s) {
            api_add_placement(w, "placement", s->start, s->size);
        } else {
            json_out_null(w, "placement");
        }
        json_out_text(w, "state", s ? pool_slice_state_name(s->state) : NULL);
        json_out_id(w, "lease", "l", b->lease ? b->lease->id : 0);
        json_out_text(w, "tenant", b->lease ? b->lease->tenant->name : NULL);
        json_out_time(w, "until", b->until_ms);
        json_out_int(w, "processes", s ? s->processes : b->gpu->processes);
        json_out_str(w, "why", b->why);
        json_out_end_object(w);
    }
    json_out_end_array(w);
}

char *api_blocking_text(const struct pool_explanation *why)
{
    struct buf b = BUF_INIT(256 * 1024);
    struct json_out w = {.b = &b};

    api_add_blocking(&w, NULL, why);
    return buf_take(&b);
}

/* NULL: there are too many different ones before it. */
static const struct kind *kind_of(struct api_call *call, struct kinds *kinds,
                                  const struct pool_lease *l)
{
    const struct pool *pool = call->api->host.pool;
    struct pool_explanation why = {0};

    for (unsigned i = kinds->count; i-- > 0;) {
        if (pool_waits_alike(pool, kinds->kind[i].lease, l)) {
            return &kinds->kind[i];
        }
    }
    if (kinds->count == KINDS_MAX) {
        return NULL;
    }
    pool_explain_briefly(pool, l, api_now_ms(call->api), &why);
    struct kind *k = &kinds->kind[kinds->count++];
    k->lease = l;
    text_copy(k->reason, sizeof(k->reason), why.reason);
    return k;
}

static void add_entry(struct json_out *w, struct api_call *call, struct kinds *kinds,
                      const struct pool_lease *l, unsigned position)
{
    const struct kind *k = kind_of(call, kinds, l);

    json_out_object(w, NULL);
    json_out_int(w, "position", position);
    json_out_id(w, "id", "l", l->id);
    json_out_str(w, "profile", l->profile);
    json_out_int(w, "count", l->count);
    json_out_str(w, "tenant", l->tenant->name);
    json_out_text(w, "name", api_sees_whole(call, l) ? l->name : NULL);
    json_out_int(w, "priority", l->priority);
    json_out_time(w, "created_at", l->created_ms);
    json_out_text(w, "reason", k && k->reason[0] ? k->reason : l->reason);
    json_out_time(w, "expected_start", pool_forecast_of(&kinds->forecast, l));
    json_out_end_object(w);
}

void api_get_queue(struct api_call *call)
{
    const struct pool *pool = call->api->host.pool;
    struct json_out w = api_begin(call->api);
    CLEANUP(freep) struct kinds *kinds = xcalloc(1, sizeof(*kinds));
    unsigned position = 0;

    pool_forecast(pool, &kinds->forecast);
    json_out_object(&w, NULL);
    json_out_array(&w, "queue");
    for (const struct pool_lease *l = pool_next_queued(pool, NULL); l;
         l = pool_next_queued(pool, l)) {
        add_entry(&w, call, kinds, l, ++position);
    }
    json_out_end_array(&w);
    json_out_end_object(&w);
    api_reply(call, 200);
}
