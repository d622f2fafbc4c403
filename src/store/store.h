#pragma once
#include "base/cleanup.h"
#include "base/error.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What must survive: records (a kind, an id, a body) and an append-only history of events with a
 * cap, in one SQLite file.  Holds no policy: kinds and bodies mean something to the caller only.
 *
 * Threads: everything here is called from one thread (the loop).  Writing happens on a worker of
 * the store's own; nothing but store_open() and store_close() waits for the disk, and
 * store_events() reads from the page cache.
 *
 * The promise: a batch is durable, whole, once store_committed() has reached its number.  Batches
 * become durable in the order of their numbers; none is dropped while the process lives. */

struct store;
struct store_batch;

struct store_settings {
    const char *dir;        /* made (0700) if missing */
    unsigned events_max;    /* history kept, 0: 10000 */
    unsigned copy_delay_ms; /* second copy follows the commits by this much, 0: 1000 */
    const char *vfs;        /* SQLite VFS, NULL: the default; tests make the disk fail with it */
};

/* What opening found and did, for the log, the events and `doctor`: one sentence per line. */
#define STORE_REPORT_LINES 16
struct store_report {
    bool is_new;     /* nothing was there before */
    bool is_damaged; /* something was repaired, lost or taken from the second copy */
    unsigned count;
    char lines[STORE_REPORT_LINES][240];
};

/* Opens or makes the journal.  A damaged file is moved aside as tangram.db.damaged-TIME (never
 * deleted), what is readable of it and of the second copy is put together, and *ret_report says so.
 * -EBUSY: another process has it (the message names its pid); -ENOTSUP: written by a newer tangram;
 * -ENOSPC, -EROFS, -EACCES, -EIO: as they say, with what to do. ret_report may be NULL. */
int store_open(const struct store_settings *settings, struct store **ret,
               struct store_report *ret_report, struct error *err);
/* Flushes what is queued, at most timeout_ms long, and frees the store in any case.
 * -ETIMEDOUT or the disk's error if batches were left unwritten; the message says how many. */
int store_close(struct store *store, unsigned timeout_ms, struct error *err);

/* Every record once, ordered by kind, then id.  Only before the first store_submit().
 * A negative answer of `each` ends the walk and is returned. */
int store_load(struct store *store,
               int (*each)(int kind, const char *id, const char *body, size_t len, void *userdata),
               void *userdata, struct error *err);

/* A batch becomes durable as a whole.  Bodies are copied and need not be terminated (they are
 * handed back terminated). Kinds are 0..999, ids 1..255 bytes. */
struct store_batch *store_batch_new(void);
void store_batch_free(struct store_batch *batch);
DEFINE_FREEP(struct store_batch, store_batch_free)
void store_batch_put(struct store_batch *batch, int kind, const char *id, const void *body,
                     size_t len);
/* Deleting what is not there is fine. */
void store_batch_delete(struct store_batch *batch, int kind, const char *id);
/* seq: greater than that of every event before (see store_last_event()). */
void store_batch_event(struct store_batch *batch, int64_t seq, int64_t time_ms, const void *body,
                       size_t len);
bool store_batch_is_empty(const struct store_batch *batch);

/* A batch is likely to come within some microseconds: wakes the worker already, which takes as long
 * as to make a batch.  Does no harm when none comes. */
void store_expect(struct store *store);
/* Takes the batch over, never blocks; answers its number (1, 2, 3, ...). */
uint64_t store_submit(struct store *store, struct store_batch *batch);

/* An eventfd, readable when store_committed() or store_failure() has changed; owned by the store.
 * store_committed() empties it. */
int store_fd(const struct store *store);
/* All batches up to this number are on disk; 0 at first. */
uint64_t store_committed(struct store *store);
/* Is the disk refusing right now?  Then what is queued is tried again, with back-off up to 5 s, in
 * the same order, until it works.  ret (may be NULL) says why. */
bool store_failure(struct store *store, struct error *ret);

/* Greatest seq of the history as it was when the store was opened, 0 when it is empty. */
int64_t store_last_event(const struct store *store);
/* Committed events after `after_seq`, oldest first, at most `max` (and at most 1000, and 1 MiB of
 * bodies); returns how many were handed to `each`, or -errno. */
int store_events(struct store *store, int64_t after_seq, unsigned max,
                 void (*each)(int64_t seq, int64_t time_ms, const char *body, size_t len,
                              void *userdata),
                 void *userdata, struct error *err);
