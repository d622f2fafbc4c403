/* Batches: changes that become durable together. */
#include "store/batch.h"
#include <assert.h>
#include <string.h>

struct store_batch *store_batch_new(void)
{
    struct store_batch *batch = xcalloc(1, sizeof(*batch));

    STAILQ_INIT(&batch->changes);
    return batch;
}

void store_batch_free(struct store_batch *batch)
{
    if (!batch) {
        return;
    }
    while (!STAILQ_EMPTY(&batch->changes)) {
        struct change *change = STAILQ_FIRST(&batch->changes);
        STAILQ_REMOVE_HEAD(&batch->changes, next);
        free(change);
    }
    free(batch);
}

/* One allocation holds the change, its id and its body. */
static struct change *change_add(struct store_batch *batch, const char *id, const void *body,
                                 size_t len)
{
    size_t id_size = strlen(id) + 1;
    struct change *change = xcalloc(1, sizeof(*change) + id_size + len + 1);

    memcpy(change->text, id, id_size);
    if (len) {
        memcpy(change->text + id_size, body, len);
    }
    change->body = change->text + id_size;
    change->len = len;
    STAILQ_INSERT_TAIL(&batch->changes, change, next);
    return change;
}

void store_batch_put(struct store_batch *batch, int kind, const char *id, const void *body,
                     size_t len)
{
    assert(kind >= 0 && kind <= 999 && *id && strlen(id) <= 255);
    struct change *change = change_add(batch, id, body, len);
    change->type = CHANGE_PUT;
    change->kind = kind;
}

void store_batch_delete(struct store_batch *batch, int kind, const char *id)
{
    struct change *change = change_add(batch, id, NULL, 0);

    change->type = CHANGE_DELETE;
    change->kind = kind;
}

void store_batch_event(struct store_batch *batch, int64_t seq, int64_t time_ms, const void *body,
                       size_t len)
{
    struct change *change = change_add(batch, "", body, len);

    change->type = CHANGE_EVENT;
    change->seq = seq;
    change->time_ms = time_ms;
}

bool store_batch_is_empty(const struct store_batch *batch)
{
    return STAILQ_EMPTY(&batch->changes);
}
