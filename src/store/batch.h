#pragma once
#include "store/store.h"
#include <sys/queue.h>

/* Inside of src/store/ only. */

enum change_type { CHANGE_PUT, CHANGE_DELETE, CHANGE_EVENT };

struct change {
    STAILQ_ENTRY(change) next;
    enum change_type type;
    int kind;
    int64_t seq, time_ms;
    char *body; /* points into text */
    size_t len;
    char text[]; /* id, NUL, body, NUL */
};

struct store_batch {
    STAILQ_ENTRY(store_batch) next;
    STAILQ_HEAD(, change) changes;
    uint64_t number;
};
STAILQ_HEAD(batch_queue, store_batch);
