#pragma once
#include "base/buf.h"
#include "store/store.h"
#include <sqlite3.h>

/* Inside of src/store/ only; store.c has the design. */

#define STORE_FILE "tangram.db"
#define STORE_SCHEMA 1
/* Events that the second copy holds. */
#define STORE_COPY_EVENTS 1000

struct store_row {
    int kind;
    bool is_deleted, is_from_copy;
    char *id;
    char *body; /* terminated; NULL when deleted */
    size_t len;
    int64_t revision;
};

struct store_event {
    int64_t seq, time_ms;
    char *body;
    size_t len;
};

/* All that a file holds, in memory: only while repairing, and while reading the second copy. */
struct store_image {
    struct store_row *rows;
    size_t row_count, row_size;
    struct store_event *events;
    size_t event_count, event_size;
    int64_t revision; /* of the newest change; also when rows are missing */
    bool is_whole;    /* nothing was unreadable */
};
void image_done(struct store_image *image);
/* Both copy. */
void image_add_row(struct store_image *image, const struct store_row *row);
void image_add_event(struct store_image *image, const struct store_event *event);
/* Drops all but the newest row of each kind and id, and repeated events; sorts. */
void image_settle(struct store_image *image);

/* What the one row of `meta` says about the other tables: it makes missing rows visible. */
struct store_sums {
    int64_t revision, records, record_digest, events, event_digest;
};

uint64_t row_checksum(const struct store_row *row);
uint64_t event_checksum(const struct store_event *event);

/* One connection with its prepared statements; used by one thread at a time. */
enum db_stmt {
    DB_BEGIN,
    DB_COMMIT,
    DB_ROLLBACK,
    DB_FIND,
    DB_PUT,
    DB_DROP,
    DB_EVENT,
    DB_EVENT_OLDEST,
    DB_EVENT_DROP,
    DB_SUMS,
    DB_DEAD,
    DB_STMT_COUNT
};
struct db {
    sqlite3 *sql;
    sqlite3_stmt *stmts[DB_STMT_COUNT];
    struct store_sums sums;
};

/* -errno for SQLite's last error, with its words. */
int db_fail(sqlite3 *sql, int code, struct error *err, const char *what);
/* Is it the content that is wrong, and not the disk's behaviour? */
bool db_is_damage(int code);
/* Opens and sets up a connection; *ret_code is SQLite's (may be NULL). */
int db_open(const char *path, const char *vfs, int flags, sqlite3 **ret, int *ret_code,
            struct error *err);
int db_exec(sqlite3 *sql, const char *text, struct error *err);
int db_read_version(sqlite3 *sql, int *ret_code);
/* Brings the schema from its version to `count`, one step each, each in a transaction. */
int db_migrate(sqlite3 *sql, const char *const *steps, int count, struct error *err);
extern const char *const db_steps[STORE_SCHEMA];
/* Walks all rows and events; *ret_damage says what is wrong ("" when nothing is). */
int db_check(sqlite3 *sql, struct store_sums *ret_sums, char ret_damage[static 160],
             struct error *err);
int db_prepare(struct db *db, struct error *err);
void db_done(struct db *db);
int db_step(struct db *db, enum db_stmt stmt);
int db_put(struct db *db, const struct store_row *row);
int db_add_event(struct db *db, const struct store_event *event, unsigned events_max);
int db_drop_dead(struct db *db, int64_t revision);
int db_write_sums(struct db *db);
/* Reads one row of "SELECT kind, id, revision, body, checksum"; false: its checksum is wrong. */
bool db_get_row(sqlite3_stmt *stmt, struct store_row *ret_borrowed);
bool db_get_event(sqlite3_stmt *stmt, struct store_event *ret_borrowed);
#define DB_ROW_COLUMNS "kind, id, revision, body, checksum"
#define DB_EVENT_COLUMNS "seq, time_ms, body, checksum"

/* copy.c: the second copy, a plain file of its own */
int copy_write(const char *dir, sqlite3 *sql, const struct store_sums *sums, struct error *err);
/* -ENOENT when there is none; what is damaged of it is left out and is_whole is false. */
int copy_read(const char *dir, struct store_image *ret, struct error *err);
/* Makes or replaces a file of mode 0600 and syncs it. */
int file_write(const char *path, const void *data, size_t len, struct error *err);
int sync_dir(const char *dir, struct error *err);

/* wal.c */
struct wal_state {
    bool has_bad_head;      /* none of it will be read */
    bool is_torn;           /* the first frame that will not be read belongs to this log */
    unsigned unread_frames; /* further ones behind it */
};
int wal_examine(const char *path, struct wal_state *ret, struct error *err);
/* Appends zeros to the log's file on the disk, one step towards `bytes`; *ret_is_done when it has
 * that length, or the disk has not 32 times as much to spare.  For the thread that writes the log,
 * between two transactions. */
int wal_fill(const char *path, int64_t bytes, bool *ret_is_done, struct error *err);
/* Has the system read what the next transactions write over, behind so many pages of the log; does
 * not wait for it.  `fd` may be -1. */
void wal_read_ahead(int fd, int pages);

/* repair.c */
void report_add(struct store_report *report, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* Leaves a good STORE_FILE in dir; *ret_sums is what it holds, *ret_copied the newest change in a
 * whole second copy (-1 without one). */
int repair_open(const struct store_settings *settings, struct store_report *report,
                struct store_sums *ret_sums, int64_t *ret_copied, struct error *err);
