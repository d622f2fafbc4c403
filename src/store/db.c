/* The SQLite file: schema, checks, prepared statements.
 *
 * Every row carries a checksum over all its columns, and `meta` the number and the xor of all
 * checksums, written in the same transaction.  So a flipped bit in a row is seen in the row, and a
 * row that SQLite no longer finds is seen in `meta`; the schema version stands in `meta` too, since
 * in the file's header nothing protects it. */
#include "store/internal.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *const db_steps[STORE_SCHEMA] = {
    "CREATE TABLE meta (one INTEGER PRIMARY KEY CHECK (one = 1), schema INTEGER NOT NULL,"
    " revision INTEGER NOT NULL, records INTEGER NOT NULL, record_digest INTEGER NOT NULL,"
    " events INTEGER NOT NULL, event_digest INTEGER NOT NULL);"
    "INSERT INTO meta VALUES (1, 1, 0, 0, 0, 0, 0);"
    /* A deleted record stays, without a body, until the second copy knows of it. */
    "CREATE TABLE records (kind INTEGER NOT NULL, id TEXT NOT NULL, revision INTEGER NOT NULL,"
    " body BLOB, checksum INTEGER NOT NULL, PRIMARY KEY (kind, id)) WITHOUT ROWID;"
    "CREATE TABLE events (seq INTEGER PRIMARY KEY, time_ms INTEGER NOT NULL, body BLOB NOT NULL,"
    " checksum INTEGER NOT NULL);",
};

static const char *const stmt_texts[DB_STMT_COUNT] = {
    [DB_BEGIN] = "BEGIN IMMEDIATE",
    [DB_COMMIT] = "COMMIT",
    [DB_ROLLBACK] = "ROLLBACK",
    [DB_FIND] = "SELECT checksum FROM records WHERE kind = ?1 AND id = ?2",
    /* Not REPLACE, which takes the row out and in again, and its page's neighbours with it. */
    [DB_PUT] = ("INSERT INTO records (" DB_ROW_COLUMNS ") VALUES (?1, ?2, ?3, ?4, ?5)"
                " ON CONFLICT (kind, id) DO UPDATE SET revision = excluded.revision,"
                " body = excluded.body, checksum = excluded.checksum"),
    [DB_DROP] = "DELETE FROM records WHERE kind = ?1 AND id = ?2",
    [DB_EVENT] = ("INSERT INTO events (" DB_EVENT_COLUMNS ") VALUES (?1, ?2, ?3, ?4)"),
    [DB_EVENT_OLDEST] = "SELECT seq, checksum FROM events ORDER BY seq LIMIT ?1",
    [DB_EVENT_DROP] = "DELETE FROM events WHERE seq <= ?1",
    [DB_SUMS] = ("UPDATE meta SET revision = ?1, records = ?2, record_digest = ?3, events = ?4,"
                 " event_digest = ?5 WHERE one = 1"),
    [DB_DEAD] = "SELECT kind, id, checksum FROM records WHERE body IS NULL AND revision <= ?1",
};

/* FNV-1a, 64 bit: each step is a bijection, so one changed byte always changes the result. */
#define FNV_START 0xcbf29ce484222325U
static uint64_t fnv(uint64_t h, const void *data, size_t len)
{
    const unsigned char *p = data;

    for (size_t i = 0; i < len; i++) {
        h = (h ^ p[i]) * 0x100000001b3U;
    }
    return h;
}

static uint64_t fnv_int(uint64_t h, int64_t value)
{
    return fnv(h, &value, sizeof(value));
}

uint64_t row_checksum(const struct store_row *row)
{
    uint64_t h = fnv_int(FNV_START, row->kind);

    h = fnv_int(h, row->revision);
    h = fnv(h, row->id, strlen(row->id) + 1);
    h = fnv_int(h, row->is_deleted ? -1 : (int64_t)row->len);
    return row->is_deleted ? h : fnv(h, row->body, row->len);
}

uint64_t event_checksum(const struct store_event *event)
{
    uint64_t h = fnv_int(FNV_START, event->seq);

    h = fnv_int(h, event->time_ms);
    h = fnv_int(h, (int64_t)event->len);
    return fnv(h, event->body, event->len);
}

bool db_is_damage(int code)
{
    switch (code & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_ERROR: /* a table that is not there, a schema that cannot be parsed */
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH:
    case SQLITE_TOOBIG:
    case SQLITE_FORMAT:
        return true;
    default:
        return false;
    }
}

static int code_to_errno(sqlite3 *sql, int code)
{
    int system = sql ? sqlite3_system_errno(sql) : 0;

    switch (code & 0xff) {
    case SQLITE_FULL:
        return ENOSPC;
    case SQLITE_READONLY:
        return EROFS;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return EBUSY;
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return EACCES;
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
        return system ? system : EIO;
    default:
        return db_is_damage(code) ? EBADMSG : EIO;
    }
}

int db_fail(sqlite3 *sql, int code, struct error *err, const char *what)
{
    int number = code_to_errno(sql, code);
    const char *todo = number == ENOSPC   ? "; make room on that file system"
                       : number == EROFS  ? "; make that file system and file writable"
                       : number == EACCES ? "; look at the owner and mode of the state directory"
                                          : "";

    return err_set(err, number, "%s: %s%s%s%s", what, sqlite3_errstr(code),
                   number == ENOSPC || number == EROFS ? "" : ": ",
                   number == ENOSPC || number == EROFS ? "" : sqlite3_errmsg(sql), todo);
}

int db_exec(sqlite3 *sql, const char *text, struct error *err)
{
    int code = sqlite3_exec(sql, text, NULL, NULL, NULL);

    return code == SQLITE_OK ? 0 : db_fail(sql, sqlite3_extended_errcode(sql), err, "the journal");
}

int db_open(const char *path, const char *vfs, int flags, sqlite3 **ret, int *ret_code,
            struct error *err)
{
    sqlite3 *sql = NULL;
    int code = sqlite3_open_v2(path, &sql, flags | SQLITE_OPEN_NOMUTEX, vfs), r = 0;

    if (code == SQLITE_OK) {
        sqlite3_extended_result_codes(sql, 1);
        sqlite3_busy_timeout(sql, flags & SQLITE_OPEN_READONLY ? 5 : 1000);
        /* FULL: one fdatasync for each commit; checkpoints are the worker's, when it is idle. */
        code = sqlite3_exec(sql,
                            "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;"
                            "PRAGMA cache_size = -256; PRAGMA temp_store = MEMORY;"
                            "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0;",
                            NULL, NULL, NULL);
    }
    if (code == SQLITE_OK && (flags & SQLITE_OPEN_READWRITE)) {
        code = sqlite3_exec(sql, "PRAGMA journal_mode = WAL", NULL, NULL, NULL);
    }
    if (ret_code) {
        *ret_code = code;
    }
    if (code != SQLITE_OK) {
        char what[256];
        snprintf(what, sizeof(what), "cannot open the journal %s", path);
        r = db_fail(sql, sql ? sqlite3_extended_errcode(sql) : code, err, what);
        sqlite3_close(sql);
        return r;
    }
    *ret = sql;
    return 0;
}

/* First column of the first row, as an integer. */
static int read_int(sqlite3 *sql, const char *text, int64_t *ret)
{
    sqlite3_stmt *stmt = NULL;
    int code = sqlite3_prepare_v2(sql, text, -1, &stmt, NULL);

    if (code == SQLITE_OK) {
        code = sqlite3_step(stmt);
    }
    if (code == SQLITE_ROW) {
        *ret = sqlite3_column_int64(stmt, 0);
        code = SQLITE_OK;
    } else if (code == SQLITE_DONE) {
        code = SQLITE_CORRUPT;
    }
    sqlite3_finalize(stmt);
    return code;
}

int db_read_version(sqlite3 *sql, int *ret_code)
{
    int64_t version = 0;

    *ret_code = read_int(sql, "PRAGMA user_version", &version);
    return version < 0 || version > INT32_MAX ? INT32_MAX : (int)version;
}

int db_migrate(sqlite3 *sql, const char *const *steps, int count, struct error *err)
{
    int code, version = db_read_version(sql, &code), r = 0;

    if (code != SQLITE_OK) {
        return db_fail(sql, code, err, "cannot read the journal's version");
    }
    for (; version < count && r == 0; version++) {
        CLEANUP(freep)
        char *text = xasprintf("BEGIN IMMEDIATE; %s; UPDATE meta SET schema = %d;"
                               "PRAGMA user_version = %d; COMMIT",
                               steps[version], version + 1, version + 1);
        r = db_exec(sql, text, err);
        if (r < 0) {
            sqlite3_exec(sql, "ROLLBACK", NULL, NULL, NULL);
            err_wrap(err, "cannot bring the journal from version %d to %d", version, version + 1);
        }
    }
    return r;
}

bool db_get_row(sqlite3_stmt *stmt, struct store_row *ret_borrowed)
{
    const char *id = (const char *)sqlite3_column_text(stmt, 1);
    const char *body = sqlite3_column_blob(stmt, 3);

    *ret_borrowed = (struct store_row){
        .kind = sqlite3_column_int(stmt, 0),
        .id = (char *)(uintptr_t)(id ? id : ""),
        .revision = sqlite3_column_int64(stmt, 2),
        .is_deleted = sqlite3_column_type(stmt, 3) == SQLITE_NULL,
        .body = (char *)(uintptr_t)(body ? body : ""),
        .len = (size_t)sqlite3_column_bytes(stmt, 3),
    };
    return (uint64_t)sqlite3_column_int64(stmt, 4) == row_checksum(ret_borrowed);
}

bool db_get_event(sqlite3_stmt *stmt, struct store_event *ret_borrowed)
{
    const char *body = sqlite3_column_blob(stmt, 2);

    *ret_borrowed = (struct store_event){
        .seq = sqlite3_column_int64(stmt, 0),
        .time_ms = sqlite3_column_int64(stmt, 1),
        .body = (char *)(uintptr_t)(body ? body : ""),
        .len = (size_t)sqlite3_column_bytes(stmt, 2),
    };
    return (uint64_t)sqlite3_column_int64(stmt, 3) == event_checksum(ret_borrowed);
}

/* Adds up one table; code of SQLite, *ret_bad rows whose checksum is wrong. */
static int sum_table(sqlite3 *sql, bool is_events, int64_t *ret_count, int64_t *ret_digest,
                     int *ret_bad)
{
    sqlite3_stmt *stmt = NULL;
    int code = sqlite3_prepare_v2(sql,
                                  is_events ? "SELECT " DB_EVENT_COLUMNS " FROM events"
                                            : "SELECT " DB_ROW_COLUMNS " FROM records",
                                  -1, &stmt, NULL);

    *ret_count = *ret_digest = *ret_bad = 0;
    if (code != SQLITE_OK) {
        return code;
    }
    while ((code = sqlite3_step(stmt)) == SQLITE_ROW) {
        struct store_row row;
        struct store_event event;
        *ret_bad += is_events ? !db_get_event(stmt, &event) : !db_get_row(stmt, &row);
        *ret_count += 1;
        *ret_digest ^= sqlite3_column_int64(stmt, is_events ? 3 : 4);
    }
    sqlite3_finalize(stmt);
    return code == SQLITE_DONE ? SQLITE_OK : code;
}

static int quick_check(sqlite3 *sql, char ret_damage[static 160])
{
    sqlite3_stmt *stmt = NULL;
    int code = sqlite3_prepare_v2(sql, "PRAGMA quick_check(1)", -1, &stmt, NULL);

    if (code == SQLITE_OK) {
        code = sqlite3_step(stmt);
        if (code == SQLITE_ROW) {
            const char *text = (const char *)sqlite3_column_text(stmt, 0);
            if (!text || strcmp(text, "ok") != 0) {
                snprintf(ret_damage, 160, "%.120s", text ? text : "no answer");
            }
            code = SQLITE_OK;
        }
    }
    sqlite3_finalize(stmt);
    return code;
}

static int read_sums(sqlite3 *sql, int64_t *ret_schema, struct store_sums *ret)
{
    sqlite3_stmt *stmt = NULL;
    int code = sqlite3_prepare_v2(sql,
                                  "SELECT schema, revision, records, record_digest, events,"
                                  " event_digest FROM meta WHERE one = 1",
                                  -1, &stmt, NULL);

    if (code == SQLITE_OK) {
        code = sqlite3_step(stmt);
        if (code == SQLITE_ROW) {
            *ret_schema = sqlite3_column_int64(stmt, 0);
            *ret = (struct store_sums){sqlite3_column_int64(stmt, 1), sqlite3_column_int64(stmt, 2),
                                       sqlite3_column_int64(stmt, 3), sqlite3_column_int64(stmt, 4),
                                       sqlite3_column_int64(stmt, 5)};
            code = SQLITE_OK;
        } else if (code == SQLITE_DONE) {
            code = SQLITE_CORRUPT;
        }
    }
    sqlite3_finalize(stmt);
    return code;
}

/* Compares the tables with what `meta` says of them. */
static int check_sums(sqlite3 *sql, const struct store_sums *said, char ret_damage[static 160])
{
    int64_t count, digest;
    int bad, code = sum_table(sql, false, &count, &digest, &bad);

    if (code != SQLITE_OK) {
        return code;
    }
    if (bad || count != said->records || digest != said->record_digest) {
        snprintf(ret_damage, 160, "of %lld records %lld are there, %d of them wrong",
                 (long long)said->records, (long long)count, bad);
        return SQLITE_OK;
    }
    code = sum_table(sql, true, &count, &digest, &bad);
    if (code == SQLITE_OK && (bad || count != said->events || digest != said->event_digest)) {
        snprintf(ret_damage, 160, "of %lld events %lld are there, %d of them wrong",
                 (long long)said->events, (long long)count, bad);
    }
    return code;
}

int db_check(sqlite3 *sql, struct store_sums *ret_sums, char ret_damage[static 160],
             struct error *err)
{
    struct store_sums sums = {0};
    int64_t schema = 0;
    int code, version = db_read_version(sql, &code);

    ret_damage[0] = '\0';
    if (code == SQLITE_OK) {
        code = read_sums(sql, &schema, &sums);
    }
    if (code == SQLITE_OK && schema != version) {
        snprintf(ret_damage, 160, "its version is %d in one place and %lld in another", version,
                 (long long)schema);
        return 0;
    }
    if (code == SQLITE_OK && version > STORE_SCHEMA) {
        return err_set(err, ENOTSUP,
                       "the journal was written by a newer tangram (version %d, this "
                       "one knows %d); start that one, or move the state directory away",
                       version, STORE_SCHEMA);
    }
    if (code == SQLITE_OK) {
        code = quick_check(sql, ret_damage);
    }
    if (code == SQLITE_OK && !ret_damage[0]) {
        code = check_sums(sql, &sums, ret_damage);
    }
    if (code != SQLITE_OK && db_is_damage(code)) {
        snprintf(ret_damage, 160, "%.120s", sqlite3_errmsg(sql));
        code = SQLITE_OK;
    }
    if (code != SQLITE_OK) {
        return db_fail(sql, code, err, "cannot read the journal");
    }
    *ret_sums = sums;
    return 0;
}

int db_prepare(struct db *db, struct error *err)
{
    for (int i = 0; i < DB_STMT_COUNT; i++) {
        int code = sqlite3_prepare_v3(db->sql, stmt_texts[i], -1, SQLITE_PREPARE_PERSISTENT,
                                      &db->stmts[i], NULL);
        if (code != SQLITE_OK) {
            return db_fail(db->sql, code, err, "cannot prepare the journal's statements");
        }
    }
    return 0;
}

void db_done(struct db *db)
{
    for (int i = 0; i < DB_STMT_COUNT; i++) {
        sqlite3_finalize(db->stmts[i]);
        db->stmts[i] = NULL;
    }
    sqlite3_close(db->sql);
    db->sql = NULL;
}

/* Runs a statement that is bound; SQLITE_OK when it is done or has a row (which stays readable
 * until the next reset). */
static int run(sqlite3_stmt *stmt)
{
    int code = sqlite3_step(stmt);

    return code == SQLITE_DONE || code == SQLITE_ROW ? SQLITE_OK : code;
}

int db_step(struct db *db, enum db_stmt which)
{
    int code = run(db->stmts[which]);

    sqlite3_reset(db->stmts[which]);
    return code;
}

/* Takes the row that is there out of the sums. */
static int forget_old(struct db *db, int kind, const char *id)
{
    sqlite3_stmt *find = db->stmts[DB_FIND];
    int code;

    sqlite3_bind_int(find, 1, kind);
    sqlite3_bind_text(find, 2, id, -1, SQLITE_STATIC);
    code = sqlite3_step(find);
    if (code == SQLITE_ROW) {
        db->sums.records--;
        db->sums.record_digest ^= sqlite3_column_int64(find, 0);
    }
    sqlite3_reset(find);
    return code == SQLITE_ROW || code == SQLITE_DONE ? SQLITE_OK : code;
}

int db_put(struct db *db, const struct store_row *row)
{
    sqlite3_stmt *put = db->stmts[DB_PUT];
    int64_t checksum = (int64_t)row_checksum(row);
    int code = forget_old(db, row->kind, row->id);

    if (code != SQLITE_OK) {
        return code;
    }
    sqlite3_bind_int(put, 1, row->kind);
    sqlite3_bind_text(put, 2, row->id, -1, SQLITE_STATIC);
    sqlite3_bind_int64(put, 3, row->revision);
    if (row->is_deleted) {
        sqlite3_bind_null(put, 4);
    } else {
        sqlite3_bind_blob64(put, 4, row->len ? row->body : "", row->len, SQLITE_STATIC);
    }
    sqlite3_bind_int64(put, 5, checksum);
    code = db_step(db, DB_PUT);
    sqlite3_clear_bindings(put);
    if (code == SQLITE_OK) {
        db->sums.records++;
        db->sums.record_digest ^= checksum;
        if (row->revision > db->sums.revision) {
            db->sums.revision = row->revision;
        }
    }
    return code;
}

/* Drops the oldest `count` events. */
static int drop_events(struct db *db, int64_t count)
{
    sqlite3_stmt *oldest = db->stmts[DB_EVENT_OLDEST];
    int64_t last = 0, digest = 0, found = 0;
    int code;

    sqlite3_bind_int64(oldest, 1, count);
    while ((code = sqlite3_step(oldest)) == SQLITE_ROW) {
        last = sqlite3_column_int64(oldest, 0);
        digest ^= sqlite3_column_int64(oldest, 1);
        found++;
    }
    sqlite3_reset(oldest);
    if (code != SQLITE_DONE) {
        return code;
    }
    sqlite3_bind_int64(db->stmts[DB_EVENT_DROP], 1, last);
    code = db_step(db, DB_EVENT_DROP);
    if (code == SQLITE_OK) {
        db->sums.events -= found;
        db->sums.event_digest ^= digest;
    }
    return code;
}

int db_add_event(struct db *db, const struct store_event *event, unsigned events_max)
{
    sqlite3_stmt *add = db->stmts[DB_EVENT];
    int64_t checksum = (int64_t)event_checksum(event);
    int code;

    sqlite3_bind_int64(add, 1, event->seq);
    sqlite3_bind_int64(add, 2, event->time_ms);
    sqlite3_bind_blob64(add, 3, event->len ? event->body : "", event->len, SQLITE_STATIC);
    sqlite3_bind_int64(add, 4, checksum);
    code = db_step(db, DB_EVENT);
    sqlite3_clear_bindings(add);
    if (code == SQLITE_CONSTRAINT_PRIMARYKEY || code == SQLITE_CONSTRAINT_ROWID) {
        /* The caller's mistake; the history must not stop the records. */
        return SQLITE_OK;
    }
    if (code != SQLITE_OK) {
        return code;
    }
    db->sums.events++;
    db->sums.event_digest ^= checksum;
    /* A chunk at a time, so that most commits touch only the newest page of the history. */
    if (db->sums.events > (int64_t)events_max + events_max / 16) {
        return drop_events(db, db->sums.events - events_max);
    }
    return SQLITE_OK;
}

int db_drop_dead(struct db *db, int64_t revision)
{
    struct store_image dead = {0};
    sqlite3_stmt *find = db->stmts[DB_DEAD], *drop = db->stmts[DB_DROP];
    int code;

    sqlite3_bind_int64(find, 1, revision);
    while ((code = sqlite3_step(find)) == SQLITE_ROW) {
        image_add_row(&dead, &(struct store_row){
                                 .kind = sqlite3_column_int(find, 0),
                                 .id = (char *)(uintptr_t)sqlite3_column_text(find, 1),
                                 .is_deleted = true,
                                 .revision = sqlite3_column_int64(find, 2),
                             });
    }
    sqlite3_reset(find);
    code = code == SQLITE_DONE ? SQLITE_OK : code;
    for (size_t i = 0; i < dead.row_count && code == SQLITE_OK; i++) {
        sqlite3_bind_int(drop, 1, dead.rows[i].kind);
        sqlite3_bind_text(drop, 2, dead.rows[i].id, -1, SQLITE_STATIC);
        code = db_step(db, DB_DROP);
        sqlite3_clear_bindings(drop);
        db->sums.records--;
        db->sums.record_digest ^= dead.rows[i].revision; /* its checksum, see above */
    }
    image_done(&dead);
    return code;
}

int db_write_sums(struct db *db)
{
    sqlite3_stmt *stmt = db->stmts[DB_SUMS];

    sqlite3_bind_int64(stmt, 1, db->sums.revision);
    sqlite3_bind_int64(stmt, 2, db->sums.records);
    sqlite3_bind_int64(stmt, 3, db->sums.record_digest);
    sqlite3_bind_int64(stmt, 4, db->sums.events);
    sqlite3_bind_int64(stmt, 5, db->sums.event_digest);
    return db_step(db, DB_SUMS);
}
