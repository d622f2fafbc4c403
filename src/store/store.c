/* The journal's worker and its queue.
 *
 * All writing is on one thread.  What is queued while a transaction is being written goes into the
 * next one, whole batches in order, so under load many batches share one fdatasync.  A transaction
 * that fails is rolled back and its batches go back to the head of the queue: nothing overtakes.
 *
 * SQLite runs in WAL mode with synchronous=FULL: a commit is one write to the end of the log and
 * one fdatasync.  Moving the log into the file (a checkpoint, two fsyncs) and refreshing the second
 * copy are left for quiet moments.  One client that never pauses leaves none, so between two
 * commits a checkpoint is made each CHECKPOINT_PAGES (far apart, that it stays out of the 99th
 * percentile of a lease); under unbroken load the log may grow to CHECKPOINT_FORCED_PAGES.  The log
 * is written over from its beginning after a checkpoint.  Before it has grown so far, each commit
 * would change the file's length, and its fdatasync wait for the file system's own journal, which
 * takes twice as long; so in the first quiet moment its file is filled with zeros up to where the
 * next checkpoint comes.  What the next commit writes over is read into the system's cache ahead of
 * it: it may have been dropped there since, and the commit would wait for the disk once for each of
 * its pages.
 *
 * Shared between the threads, under `lock`: queue, is_expecting, submitted, committed, failure,
 * is_closing.
 * Owned by the worker once it runs: db, purge_revision and everything it reaches. */
#include "base/clock.h"
#include "base/log.h"
#include "base/path.h"
#include "base/text.h"
#include "base/thread.h"
#include "store/batch.h"
#include "store/internal.h"
#include <assert.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#define CHECKPOINT_QUIET_PAGES 64
#define CHECKPOINT_PAGES 8192
#define CHECKPOINT_FORCED_PAGES 16384
/* So many pages of 4 KiB and their frames' heads, and the transaction that goes beyond. */
#define LOG_BYTES ((int64_t)(CHECKPOINT_PAGES + 64) * (4096 + 24))
#define EXPECT_NS ((int64_t)100000)
#define BACKOFF_FIRST_MS 20
#define BACKOFF_LAST_MS 5000
#define DISK_PATIENCE_MS 2000
#define WORKER_STACK_BYTES ((size_t)256 * 1024)
/* The copy comes at latest after this many delays, however busy the journal is. */
#define COPY_DELAYS_MAX 10
#define EVENTS_AT_ONCE_MAX 1000
#define EVENTS_AT_ONCE_BYTES ((size_t)1024 * 1024)

struct store {
    char *dir;
    unsigned events_max, copy_delay_ms;
    int lock_fd, wake_fd;
    int64_t last_event;
    sqlite3 *reader;
    sqlite3_stmt *read_events;

    pthread_mutex_t lock;
    pthread_cond_t changed; /* queue or is_closing */
    pthread_cond_t done;    /* is_done */
    struct batch_queue queue;
    bool is_expecting;
    atomic_bool has_batch; /* read without the lock, as a hint */
    uint64_t submitted, committed;
    struct error failure;
    bool is_closing, is_done;
    int64_t close_by_ms;

    pthread_t worker;
    struct db db;
    int log_fd; /* only to read ahead; -1: that is left out */
    int wal_pages;
    bool is_log_filled; /* up to LOG_BYTES, or that cannot be done */
    int64_t purge_revision; /* deleted records up to here are in the second copy as deleted */
    int64_t copied_revision;
    int64_t copy_due_ms, copy_latest_ms; /* 0: the copy is up to date */
};

static void signal_loop(struct store *store)
{
    uint64_t one = 1;

    if (write(store->wake_fd, &one, sizeof(one)) < 0) {
        return; /* it is readable already */
    }
}

static int apply(struct store *store, const struct change *change, int64_t revision)
{
    if (change->type == CHANGE_EVENT) {
        struct store_event event = {.seq = change->seq,
                                    .time_ms = change->time_ms,
                                    .body = change->body,
                                    .len = change->len};
        return db_add_event(&store->db, &event, store->events_max);
    }
    struct store_row row = {.kind = change->kind,
                            .is_deleted = change->type == CHANGE_DELETE,
                            .id = (char *)(uintptr_t)change->text,
                            .body = change->body,
                            .len = change->len,
                            .revision = revision};
    return db_put(&store->db, &row);
}

/* One transaction; SQLite's code. */
static int write_batches(struct store *store, const struct batch_queue *batches)
{
    const struct store_batch *batch;
    const struct change *change;
    int code = db_step(&store->db, DB_BEGIN);

    if (code == SQLITE_OK && store->purge_revision) {
        code = db_drop_dead(&store->db, store->purge_revision);
    }
    STAILQ_FOREACH(batch, batches, next)
    {
        STAILQ_FOREACH(change, &batch->changes, next)
        {
            if (code == SQLITE_OK) {
                code = apply(store, change, store->db.sums.revision + 1);
            }
        }
    }
    if (code == SQLITE_OK) {
        code = db_write_sums(&store->db);
    }
    if (code == SQLITE_OK) {
        code = db_step(&store->db, DB_COMMIT);
    }
    return code;
}

static int commit_batches(struct store *store, const struct batch_queue *batches, struct error *err)
{
    struct store_sums before = store->db.sums;
    int code = write_batches(store, batches), r;

    if (code == SQLITE_OK) {
        store->purge_revision = 0;
        store->copy_due_ms = clock_mono_ms() + store->copy_delay_ms;
        if (!store->copy_latest_ms) {
            store->copy_latest_ms =
                store->copy_due_ms + (int64_t)store->copy_delay_ms * COPY_DELAYS_MAX;
        }
        return 0;
    }
    r = db_fail(store->db.sql, code, err, "cannot write the journal");
    if (!sqlite3_get_autocommit(store->db.sql)) {
        db_step(&store->db, DB_ROLLBACK);
    }
    store->db.sums = before;
    return r;
}

static int on_wal(void *cls, sqlite3 *sql, const char *name, int pages)
{
    struct store *store = cls;

    (void)sql;
    (void)name;
    store->wal_pages = pages;
    return SQLITE_OK;
}

static void checkpoint(struct store *store)
{
    int in_log = 0, moved = 0;
    int code =
        sqlite3_wal_checkpoint_v2(store->db.sql, NULL, SQLITE_CHECKPOINT_PASSIVE, &in_log, &moved);

    if (code != SQLITE_OK) {
        log_warn("store: cannot move the log into the journal: %s", sqlite3_errstr(code));
    }
    /* What could not be moved is tried again after the next commits. */
    store->wal_pages = 0;
}

static void refresh_copy(struct store *store)
{
    struct error err = {0};

    store->copy_due_ms = store->copy_latest_ms = 0;
    if (copy_write(store->dir, store->db.sql, &store->db.sums, &err) < 0) {
        log_warn("store: second copy not refreshed: %s", err.msg);
        store->copy_due_ms = clock_mono_ms() + BACKOFF_LAST_MS;
        return;
    }
    store->purge_revision = store->copied_revision = store->db.sums.revision;
}

static bool has_work(struct store *store)
{
    pthread_mutex_lock(&store->lock);
    bool has = !STAILQ_EMPTY(&store->queue) || store->is_closing;
    pthread_mutex_unlock(&store->lock);
    return has;
}

/* In steps, so that a commit that comes meanwhile waits for one step at most. */
static void fill_log(struct store *store)
{
    CLEANUP(freep) char *path = xasprintf("%s/" STORE_FILE "-wal", store->dir);
    struct error err = {0};

    while (!store->is_log_filled && !has_work(store)) {
        if (wal_fill(path, LOG_BYTES, &store->is_log_filled, &err) < 0) {
            log_warn("store: the log is not filled in advance, commits take longer: %s", err.msg);
            store->is_log_filled = true;
        }
    }
}

static void do_quiet_work(struct store *store)
{
    if (store->wal_pages >= CHECKPOINT_QUIET_PAGES) {
        checkpoint(store);
    }
    refresh_copy(store);
    fill_log(store);
}

/* After a commit: what cannot wait for a quiet moment. */
static void do_due_work(struct store *store, bool is_quiet)
{
    wal_read_ahead(store->log_fd, store->wal_pages);
    if (store->wal_pages >= CHECKPOINT_FORCED_PAGES ||
        (is_quiet && store->wal_pages >= CHECKPOINT_PAGES)) {
        checkpoint(store);
    }
    if (store->copy_latest_ms && clock_mono_ms() >= store->copy_latest_ms) {
        refresh_copy(store);
    }
}

/* Waits for a change, until the time (0: without end); false when the time has come. */
static bool wait_until(struct store *store, int64_t until_ms)
{
    struct timespec when = {.tv_sec = until_ms / 1000, .tv_nsec = until_ms % 1000 * 1000000};

    if (!until_ms) {
        pthread_cond_wait(&store->changed, &store->lock);
        return true;
    }
    return pthread_cond_timedwait(&store->changed, &store->lock, &when) != ETIMEDOUT;
}

/* With the lock, which is given up meanwhile: stays awake for the batch that is announced. */
static void worker_expect(struct store *store)
{
    int64_t until_ns = clock_mono_ns() + EXPECT_NS;

    store->is_expecting = false;
    pthread_mutex_unlock(&store->lock);
    wal_read_ahead(store->log_fd, store->wal_pages);
    while (!atomic_load_explicit(&store->has_batch, memory_order_relaxed) &&
           clock_mono_ns() < until_ns) {
    }
    pthread_mutex_lock(&store->lock);
}

/* With the lock: nothing is queued; waits, or uses the quiet. */
static void worker_idle(struct store *store)
{
    int64_t due_ms = store->copy_due_ms;

    if (store->is_expecting) {
        worker_expect(store);
    } else if (due_ms && clock_mono_ms() >= due_ms) {
        pthread_mutex_unlock(&store->lock);
        do_quiet_work(store);
        pthread_mutex_lock(&store->lock);
    } else {
        wait_until(store, due_ms);
    }
}

/* With the lock: after a failure; false when closing and out of time. */
static bool worker_back_off(struct store *store, int64_t *backoff_ms)
{
    int64_t until_ms;

    *backoff_ms = *backoff_ms ? *backoff_ms * 2 : BACKOFF_FIRST_MS;
    *backoff_ms = *backoff_ms > BACKOFF_LAST_MS ? BACKOFF_LAST_MS : *backoff_ms;
    if (store->is_closing) {
        *backoff_ms = BACKOFF_FIRST_MS;
    }
    until_ms = clock_mono_ms() + *backoff_ms;
    while (clock_mono_ms() < until_ms) {
        bool was_closing = store->is_closing;
        wait_until(store, until_ms);
        if (store->is_closing && !was_closing) {
            break;
        }
    }
    return !store->is_closing || clock_mono_ms() < store->close_by_ms;
}

/* With the lock, which is given up meanwhile: writes all that is queued, once. */
static bool worker_commit(struct store *store)
{
    struct batch_queue batches = STAILQ_HEAD_INITIALIZER(batches);
    struct error err = {0};
    struct store_batch *batch;
    uint64_t last;
    int r;

    STAILQ_CONCAT(&batches, &store->queue);
    store->is_expecting = false;
    atomic_store_explicit(&store->has_batch, false, memory_order_relaxed);
    last = store->submitted;
    pthread_mutex_unlock(&store->lock);
    r = commit_batches(store, &batches, &err);
    pthread_mutex_lock(&store->lock);
    if (r < 0) {
        STAILQ_CONCAT(&batches, &store->queue);
        STAILQ_CONCAT(&store->queue, &batches);
        store->failure = err;
        signal_loop(store);
        return false;
    }
    store->committed = last;
    store->failure = (struct error){0};
    pthread_mutex_unlock(&store->lock);
    signal_loop(store);
    while ((batch = STAILQ_FIRST(&batches))) {
        STAILQ_REMOVE_HEAD(&batches, next);
        store_batch_free(batch);
    }
    pthread_mutex_lock(&store->lock);
    return true;
}

static void *worker_main(void *cls)
{
    struct store *store = cls;
    int64_t backoff_ms = 0;

    pthread_mutex_lock(&store->lock);
    for (;;) {
        if (STAILQ_EMPTY(&store->queue)) {
            if (store->is_closing) {
                break;
            }
            worker_idle(store);
        } else if (worker_commit(store)) {
            bool is_quiet = STAILQ_EMPTY(&store->queue);
            backoff_ms = 0;
            pthread_mutex_unlock(&store->lock);
            do_due_work(store, is_quiet);
            pthread_mutex_lock(&store->lock);
        } else if (!worker_back_off(store, &backoff_ms)) {
            break;
        }
    }
    pthread_mutex_unlock(&store->lock);
    if (store->db.sums.revision != store->copied_revision) {
        refresh_copy(store);
    }
    db_done(&store->db);
    pthread_mutex_lock(&store->lock);
    store->is_done = true;
    pthread_cond_signal(&store->done);
    pthread_mutex_unlock(&store->lock);
    return NULL;
}

/* One process per state directory. */
static int take_lock(struct store *store, struct error *err)
{
    CLEANUP(freep) char *path = xasprintf("%s/tangram.lock", store->dir);
    char text[32] = "";
    int64_t pid = 0;
    int len, rc = path_make_parents(store->dir, err);

    if (rc < 0) {
        return rc;
    }
    if (mkdir(store->dir, 0700) < 0 && errno != EEXIST) {
        return err_set(err, errno, "cannot make the state directory %s: %s", store->dir,
                       strerror(errno));
    }
    store->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (store->lock_fd < 0) {
        return err_set(err, errno, "cannot open %s: %s", path, strerror(errno));
    }
    if (flock(store->lock_fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK) {
            return err_set(err, errno, "cannot lock %s: %s", path, strerror(errno));
        }
        if (pread(store->lock_fd, text, sizeof(text) - 1, 0) < 0 ||
            text_parse_int(text, "pid", 1, INT32_MAX, &pid, NULL) < 0) {
            text_copy(text, sizeof(text), "unknown");
        }
        return err_set(err, EBUSY,
                       "the state directory %s is in use by another process (pid %s); "
                       "stop it, or choose another with --state",
                       store->dir, text);
    }
    /* Only for that message: an old or missing number does no harm. */
    len = snprintf(text, sizeof(text), "%d", (int)getpid());
    if (ftruncate(store->lock_fd, 0) < 0 || pwrite(store->lock_fd, text, (size_t)len, 0) < 0) {
        log_debug("store: cannot write the lock file");
    }
    return 0;
}

static int64_t read_last_event(sqlite3 *sql)
{
    sqlite3_stmt *stmt = NULL;
    int64_t last = 0;

    if (sqlite3_prepare_v2(sql, "SELECT max(seq) FROM events", -1, &stmt, NULL) == SQLITE_OK &&
        sqlite3_step(stmt) == SQLITE_ROW) {
        last = sqlite3_column_int64(stmt, 0);
    }
    sqlite3_finalize(stmt);
    return last;
}

static int open_connections(struct store *store, const struct store_settings *settings,
                            struct error *err)
{
    CLEANUP(freep) char *path = xasprintf("%s/" STORE_FILE, store->dir);
    CLEANUP(freep) char *log_path = xasprintf("%s-wal", path);
    int code, r;

    r = db_open(path, settings->vfs, SQLITE_OPEN_READWRITE, &store->db.sql, NULL, err);
    if (r == 0) {
        r = db_prepare(&store->db, err);
    }
    if (r < 0) {
        return r;
    }
    sqlite3_wal_hook(store->db.sql, on_wal, store);
    /* A full or read-only disk is better known now than after the first promise. */
    code = db_step(&store->db, DB_BEGIN);
    code = code == SQLITE_OK ? db_write_sums(&store->db) : code;
    code = code == SQLITE_OK ? db_step(&store->db, DB_COMMIT) : code;
    if (code != SQLITE_OK) {
        return db_fail(store->db.sql, code, err, "cannot write the journal");
    }
    store->log_fd = open(log_path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    store->last_event = read_last_event(store->db.sql);
    r = db_open(path, settings->vfs, SQLITE_OPEN_READONLY, &store->reader, NULL, err);
    if (r < 0) {
        return r;
    }
    code = sqlite3_prepare_v3(store->reader,
                              "SELECT " DB_EVENT_COLUMNS " FROM events WHERE seq > ?1"
                              " ORDER BY seq LIMIT ?2",
                              -1, SQLITE_PREPARE_PERSISTENT, &store->read_events, NULL);
    return code == SQLITE_OK ? 0 : db_fail(store->reader, code, err, "cannot read the journal");
}

static int start_worker(struct store *store, struct error *err)
{
    pthread_condattr_t attr;
    int r;

    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&store->changed, &attr);
    pthread_cond_init(&store->done, &attr);
    pthread_condattr_destroy(&attr);
    r = thread_start(worker_main, store, NULL, WORKER_STACK_BYTES, &store->worker);
    if (r < 0) {
        return err_set(err, -r, "cannot start the journal's thread: %s", strerror(-r));
    }
    return 0;
}

static void store_free(struct store *store)
{
    struct store_batch *batch;

    while ((batch = STAILQ_FIRST(&store->queue))) {
        STAILQ_REMOVE_HEAD(&store->queue, next);
        store_batch_free(batch);
    }
    sqlite3_finalize(store->read_events);
    sqlite3_close(store->reader);
    db_done(&store->db);
    closep(&store->lock_fd);
    closep(&store->wake_fd);
    closep(&store->log_fd);
    pthread_mutex_destroy(&store->lock);
    free(store->dir);
    free(store);
}
DEFINE_FREEP(struct store, store_free)

int store_open(const struct store_settings *settings, struct store **ret,
               struct store_report *ret_report, struct error *err)
{
    CLEANUP(store_freep) struct store *store = xcalloc(1, sizeof(*store));
    struct store_report report = {0};
    int r;

    store->dir = xstrdup(settings->dir);
    store->events_max = settings->events_max ? settings->events_max : 10000;
    store->copy_delay_ms = settings->copy_delay_ms ? settings->copy_delay_ms : 1000;
    store->lock_fd = store->wake_fd = store->log_fd = -1;
    STAILQ_INIT(&store->queue);
    pthread_mutex_init(&store->lock, NULL);
    r = take_lock(store, err);
    if (r == 0) {
        r = repair_open(settings, &report, &store->db.sums, &store->copied_revision, err);
    }
    if (r == 0) {
        r = open_connections(store, settings, err);
    }
    if (r < 0) {
        return r;
    }
    store->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (store->wake_fd < 0) {
        return err_set(err, errno, "cannot make an eventfd: %s", strerror(errno));
    }
    if (store->copied_revision != store->db.sums.revision) {
        store->copy_due_ms = clock_mono_ms() + store->copy_delay_ms;
    }
    r = start_worker(store, err);
    if (r < 0) {
        return r;
    }
    if (ret_report) {
        *ret_report = report;
    }
    *ret = TAKE_PTR(store);
    return 0;
}

int store_load(struct store *store,
               int (*each)(int kind, const char *id, const char *body, size_t len, void *userdata),
               void *userdata, struct error *err)
{
    sqlite3_stmt *stmt = NULL;
    int r = 0, code = sqlite3_prepare_v2(store->reader,
                                         "SELECT " DB_ROW_COLUMNS " FROM records"
                                         " WHERE body IS NOT NULL ORDER BY kind, id",
                                         -1, &stmt, NULL);

    while (r >= 0 && code == SQLITE_OK && (code = sqlite3_step(stmt)) == SQLITE_ROW) {
        struct store_row row;
        if (!db_get_row(stmt, &row)) {
            r = err_set(err, EIO, "the record %d/%s changed on the disk since it was checked",
                        row.kind, row.id);
        } else {
            CLEANUP(freep) char *body = xcalloc(1, row.len + 1);
            memcpy(body, row.body, row.len);
            r = each(row.kind, row.id, body, row.len, userdata);
        }
        code = SQLITE_OK;
    }
    if (r >= 0 && code != SQLITE_DONE) {
        r = db_fail(store->reader, code, err, "cannot read the journal");
    }
    sqlite3_finalize(stmt);
    return r < 0 ? r : 0;
}

void store_expect(struct store *store)
{
    pthread_mutex_lock(&store->lock);
    store->is_expecting = true;
    pthread_mutex_unlock(&store->lock);
    pthread_cond_signal(&store->changed);
}

uint64_t store_submit(struct store *store, struct store_batch *batch)
{
    uint64_t number;

    pthread_mutex_lock(&store->lock);
    assert(!store->is_closing);
    number = batch->number = ++store->submitted;
    STAILQ_INSERT_TAIL(&store->queue, batch, next);
    atomic_store_explicit(&store->has_batch, true, memory_order_relaxed);
    pthread_mutex_unlock(&store->lock);
    /* After the lock is free, or the woken one would at once sleep again for it. */
    pthread_cond_signal(&store->changed);
    return number;
}

int store_fd(const struct store *store)
{
    return store->wake_fd;
}

uint64_t store_committed(struct store *store)
{
    uint64_t committed, count;

    /* First, so that what is committed in between signals anew. */
    if (read(store->wake_fd, &count, sizeof(count)) < 0) {
        count = 0;
    }
    pthread_mutex_lock(&store->lock);
    committed = store->committed;
    pthread_mutex_unlock(&store->lock);
    return committed;
}

bool store_failure(struct store *store, struct error *ret)
{
    struct error failure;

    pthread_mutex_lock(&store->lock);
    failure = store->failure;
    pthread_mutex_unlock(&store->lock);
    if (ret) {
        *ret = failure;
    }
    return failure.code != 0;
}

int64_t store_last_event(const struct store *store)
{
    return store->last_event;
}

int store_events(struct store *store, int64_t after_seq, unsigned max,
                 void (*each)(int64_t seq, int64_t time_ms, const char *body, size_t len,
                              void *userdata),
                 void *userdata, struct error *err)
{
    size_t bytes = 0;
    int count = 0, code;

    sqlite3_bind_int64(store->read_events, 1, after_seq);
    sqlite3_bind_int64(store->read_events, 2, max < EVENTS_AT_ONCE_MAX ? max : EVENTS_AT_ONCE_MAX);
    while ((code = sqlite3_step(store->read_events)) == SQLITE_ROW &&
           bytes < EVENTS_AT_ONCE_BYTES) {
        struct store_event event;
        if (!db_get_event(store->read_events, &event)) {
            log_error("store: event %lld is damaged and left out", (long long)event.seq);
            continue;
        }
        CLEANUP(freep) char *body = xcalloc(1, event.len + 1);
        memcpy(body, event.body, event.len);
        each(event.seq, event.time_ms, body, event.len, userdata);
        bytes += event.len;
        count++;
    }
    /* A statement that is not reset would hold its view of the log and keep checkpoints off. */
    sqlite3_reset(store->read_events);
    if (code != SQLITE_DONE && code != SQLITE_ROW) {
        return db_fail(store->reader, code, err, "cannot read the history");
    }
    return count;
}

int store_close(struct store *store, unsigned timeout_ms, struct error *err)
{
    struct timespec by;
    struct error failure;
    bool is_late = false;
    uint64_t lost;
    int64_t by_ms;

    if (!store) {
        return 0;
    }
    /* The last connection to close moves the log into the journal: that must be the writing one. */
    sqlite3_finalize(TAKE_PTR(store->read_events));
    sqlite3_close(TAKE_PTR(store->reader));
    pthread_mutex_lock(&store->lock);
    store->is_closing = true;
    store->close_by_ms = clock_mono_ms() + timeout_ms;
    pthread_cond_signal(&store->changed);
    /* The worker keeps to the time unless the disk holds it in a call. */
    by_ms = clock_mono_ms() + timeout_ms + DISK_PATIENCE_MS;
    by = (struct timespec){.tv_sec = by_ms / 1000, .tv_nsec = by_ms % 1000 * 1000000};
    while (!store->is_done && !is_late) {
        is_late = pthread_cond_timedwait(&store->done, &store->lock, &by) == ETIMEDOUT;
    }
    pthread_mutex_unlock(&store->lock);
    if (is_late) {
        /* It still uses the store: leave both to the end of the process. */
        return err_set(err, ETIMEDOUT,
                       "the disk does not answer; what was not yet confirmed may "
                       "be lost");
    }
    pthread_join(store->worker, NULL);
    lost = store->submitted - store->committed;
    failure = store->failure;
    store_free(store);
    if (lost) {
        return err_set(err, failure.code ? failure.code : ETIMEDOUT,
                       "%llu changes could not be written: %s", (unsigned long long)lost,
                       failure.msg);
    }
    return 0;
}
