/* Opening, and what to do when the file is not what it was.
 *
 * Nothing is ever thrown away: a damaged file is renamed, and only after its replacement lies
 * complete on the disk as tangram.db.new; a crash at any point is picked up at the next start.
 * The replacement holds, for each record, the newest good one of the damaged file and of the second
 * copy.  A record that only the copy has is taken too when the file was damaged: it may have been
 * deleted in the second before, but losing one that was not is worse, and the report says so. */
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "base/tree.h"
#include "store/internal.h"
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

struct repair {
    const struct store_settings *settings;
    struct store_report *report;
    char *path; /* of the journal */
    char damage[160];
    bool is_intact; /* older than the copy, but nothing in it is wrong */
    struct store_sums sums;
    struct store_image copy;
    bool has_copy;
};

void report_add(struct store_report *report, const char *fmt, ...)
{
    va_list ap;

    if (report->count < STORE_REPORT_LINES) {
        va_start(ap, fmt);
        vsnprintf(report->lines[report->count++], sizeof(report->lines[0]), fmt, ap);
        va_end(ap);
    }
}

static bool path_exists(const char *path, const char *suffix)
{
    CLEANUP(freep) char *whole = xasprintf("%s%s", path, suffix);
    struct stat st;

    return stat(whole, &st) == 0;
}

static void unlink_with(const char *path, const char *suffix)
{
    CLEANUP(freep) char *whole = xasprintf("%s%s", path, suffix);

    unlink(whole);
}

static int rename_with(const char *from, const char *to, const char *suffix, struct error *err)
{
    CLEANUP(freep) char *old = xasprintf("%s%s", from, suffix);
    CLEANUP(freep) char *new = xasprintf("%s%s", to, suffix);

    if (rename(old, new) < 0 && errno != ENOENT) {
        return err_set(err, errno, "cannot rename %s to %s: %s", old, new, strerror(errno));
    }
    return 0;
}

/* An empty journal of today's schema at `path`; open. */
static int create(const char *path, const char *vfs, sqlite3 **ret, struct error *err)
{
    CLEANUP(closep) int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    sqlite3 *sql = NULL;
    int r;

    /* SQLite gives its other files the mode of this one. */
    if (fd < 0 || fchmod(fd, 0600) < 0) {
        return err_set(err, errno, "cannot make %s: %s", path, strerror(errno));
    }
    r = db_open(path, vfs, SQLITE_OPEN_READWRITE, &sql, NULL, err);
    if (r == 0) {
        r = db_migrate(sql, db_steps, STORE_SCHEMA, err);
    }
    if (r < 0) {
        sqlite3_close(sql);
        return r;
    }
    *ret = sql;
    return 0;
}

/* What the first bytes of the file must be; SQLite would open some wrong ones as read-only. */
static int check_header(struct repair *rep, struct error *err)
{
    CLEANUP(closep) int fd = open(rep->path, O_RDONLY | O_CLOEXEC);
    unsigned char head[100];
    ssize_t n = fd < 0 ? -1 : pread(fd, head, sizeof(head), 0);

    if (n < 0) {
        return err_set(err, errno, "cannot read %s: %s", rep->path, strerror(errno));
    }
    if (n < (ssize_t)sizeof(head)) {
        text_copy(rep->damage, sizeof(rep->damage), n ? "it is cut off" : "it is empty");
    } else if (memcmp(head, "SQLite format 3", 16) != 0 || head[18] != head[19] || head[18] < 1 ||
               head[18] > 2) {
        text_copy(rep->damage, sizeof(rep->damage), "its header is wrong");
    }
    return 0;
}

/* Fills rep->damage if the journal cannot be used as it is. */
static int examine(struct repair *rep, struct error *err)
{
    sqlite3 *sql = NULL;
    int code, r = check_header(rep, err);

    if (r < 0 || rep->damage[0]) {
        return r;
    }
    r = db_open(rep->path, rep->settings->vfs, SQLITE_OPEN_READWRITE, &sql, &code, err);
    if (r < 0) {
        if (!db_is_damage(code)) {
            return r;
        }
        snprintf(rep->damage, sizeof(rep->damage), "%s", sqlite3_errstr(code));
        return 0;
    }
    r = db_check(sql, &rep->sums, rep->damage, err);
    if (r == 0 && !rep->damage[0]) {
        r = db_migrate(sql, db_steps, STORE_SCHEMA, err);
        if (rep->has_copy && rep->copy.is_whole && rep->copy.revision > rep->sums.revision) {
            rep->is_intact = true;
            snprintf(rep->damage, sizeof(rep->damage),
                     "it ends with change %lld, its second copy with change %lld",
                     (long long)rep->sums.revision, (long long)rep->copy.revision);
        }
    }
    if (rep->damage[0]) {
        /* Leave the files as they are. */
        sqlite3_db_config(sql, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    }
    sqlite3_close(sql);
    return r;
}

/* Everything that can be read in one direction. */
static void salvage_walk(sqlite3 *sql, const char *query, bool is_events, struct store_image *image)
{
    sqlite3_stmt *stmt = NULL;

    if (sqlite3_prepare_v2(sql, query, -1, &stmt, NULL) == SQLITE_OK) {
        while (sqlite3_step(stmt) == SQLITE_ROW) {
            struct store_row row;
            struct store_event event;
            if (is_events && db_get_event(stmt, &event)) {
                image_add_event(image, &event);
            } else if (!is_events && db_get_row(stmt, &row)) {
                image_add_row(image, &row);
            }
        }
    }
    sqlite3_finalize(stmt);
}

/* What is readable of the journal: from both ends up to the damage. */
static void salvage(struct repair *rep, struct store_image *image)
{
    static const char *const orders[] = {" ASC", " DESC"};
    sqlite3 *sql = NULL;

    if (db_open(rep->path, rep->settings->vfs, SQLITE_OPEN_READONLY, &sql, NULL, NULL) < 0) {
        return;
    }
    for (int i = 0; i < 2; i++) {
        CLEANUP(freep)
        char *rows = xasprintf("SELECT " DB_ROW_COLUMNS " FROM records ORDER BY kind%s, id%s",
                               orders[i], orders[i]);
        CLEANUP(freep)
        char *events =
            xasprintf("SELECT " DB_EVENT_COLUMNS " FROM events ORDER BY seq%s", orders[i]);
        salvage_walk(sql, rows, false, image);
        salvage_walk(sql, events, true, image);
    }
    sqlite3_close(sql);
    image_settle(image);
}

/* Both sources, the newest of each. */
static void merge(struct repair *rep, struct store_image *image)
{
    size_t from_main, from_copy = 0;

    if (path_exists(rep->path, "")) {
        salvage(rep, image);
    }
    from_main = image->row_count;
    for (size_t i = 0; rep->has_copy && i < rep->copy.row_count; i++) {
        struct store_row row = rep->copy.rows[i];
        row.is_from_copy = true;
        if (!rep->is_intact || row.revision > rep->sums.revision) {
            image_add_row(image, &row);
        }
    }
    for (size_t i = 0; rep->has_copy && i < rep->copy.event_count; i++) {
        image_add_event(image, &rep->copy.events[i]);
    }
    image_settle(image);
    for (size_t i = 0; i < image->row_count; i++) {
        from_copy += image->rows[i].is_from_copy;
    }
    if (rep->copy.revision > image->revision) {
        image->revision = rep->copy.revision;
    }
    if (rep->sums.revision > image->revision) {
        image->revision = rep->sums.revision;
    }
    report_add(rep->report,
               "%zu records were readable in it; %zu come from the second copy, which may be up to "
               "some seconds older; %zu events of the history are left",
               from_main, from_copy, image->event_count);
    if (!rep->has_copy || !rep->copy.is_whole) {
        report_add(rep->report, "the second copy is %s: records may be missing",
                   rep->has_copy ? "damaged too" : "not there");
    }
}

static int fill(sqlite3 *sql, const struct store_image *image, struct error *err)
{
    struct db db = {.sql = sql};
    int r = db_prepare(&db, err), code;

    if (r < 0) {
        db_done(&db);
        return r;
    }
    code = db_step(&db, DB_BEGIN);
    for (size_t i = 0; i < image->row_count && code == SQLITE_OK; i++) {
        code = db_put(&db, &image->rows[i]);
    }
    for (size_t i = 0; i < image->event_count && code == SQLITE_OK; i++) {
        code = db_add_event(&db, &image->events[i], UINT32_MAX / 2);
    }
    db.sums.revision = image->revision;
    code = code == SQLITE_OK ? db_write_sums(&db) : code;
    code = code == SQLITE_OK ? db_step(&db, DB_COMMIT) : code;
    code = code == SQLITE_OK
               ? sqlite3_wal_checkpoint_v2(sql, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL)
               : code;
    r = code == SQLITE_OK ? 0 : db_fail(sql, code, err, "cannot write the repaired journal");
    db_done(&db);
    return r;
}

/* A name that is not taken: PATH.damaged-20261122T001622Z. */
static char *damaged_name(const char *path)
{
    time_t now = (time_t)(clock_real_ms() / 1000);
    char when[32];
    struct tm tm;
    char *name;
    int n = 1;

    gmtime_r(&now, &tm);
    strftime(when, sizeof(when), "%Y%m%dT%H%M%SZ", &tm);
    name = xasprintf("%s.damaged-%s", path, when);
    while (path_exists(name, "") || path_exists(name, "-wal")) {
        free(name);
        name = xasprintf("%s.damaged-%s-%d", path, when, ++n);
    }
    return name;
}

/* Renames what there is of the old journal, puts PATH.new in its place.  The file goes first:
 * while it is missing, the next start finishes this (find_missing()).  Were its log gone first,
 * that start would find a file without what only the log had, and repair it anew. */
static int swap_in(struct repair *rep, const char *new, struct error *err)
{
    CLEANUP(freep) char *aside = damaged_name(rep->path);
    CLEANUP(freep) char *log = xasprintf("%s-wal", rep->path);
    struct stat st;
    int r = 0;

    if (stat(log, &st) == 0 && st.st_size == 0) {
        unlink(log); /* made by looking at it */
    }
    bool is_kept = path_exists(rep->path, "") || path_exists(log, "");
    r = rename_with(rep->path, aside, "", err);
    if (r == 0) {
        r = rename_with(rep->path, aside, "-wal", err);
    }
    if (r == 0) {
        unlink_with(rep->path, "-shm");
        r = rename_with(new, rep->path, "", err);
    }
    if (r == 0) {
        r = sync_dir(rep->settings->dir, err);
    }
    if (r == 0 && is_kept) {
        report_add(rep->report, "what was there is kept as %s", aside);
    }
    return r;
}

static int rebuild(struct repair *rep, struct error *err)
{
    CLEANUP(freep) char *draft = xasprintf("%s.draft", rep->path);
    CLEANUP(freep) char *new = xasprintf("%s.new", rep->path);
    CLEANUP(image_done) struct store_image image = {0};
    sqlite3 *sql = NULL;
    int r;

    rep->report->is_damaged = true;
    report_add(rep->report, "the journal %s cannot be used: %s", rep->path, rep->damage);
    merge(rep, &image);
    unlink_with(draft, "");
    unlink_with(draft, "-wal");
    unlink_with(draft, "-shm");
    r = create(draft, rep->settings->vfs, &sql, err);
    if (r == 0) {
        r = fill(sql, &image, err);
    }
    if (r == 0) {
        r = rename_with(draft, new, "", err);
    }
    if (r < 0) {
        return err_wrap(err, "cannot repair the journal (%s)", rep->damage);
    }
    return swap_in(rep, new, err);
}

static int create_first(struct repair *rep, struct error *err)
{
    sqlite3 *sql = NULL;
    int r = create(rep->path, rep->settings->vfs, &sql, err);

    if (r < 0) {
        /* Half-made: the next start would take it for a damaged one. */
        unlink(rep->path);
        unlink_with(rep->path, "-wal");
        unlink_with(rep->path, "-shm");
        return r;
    }
    sqlite3_close(sql);
    rep->report->is_new = true;
    return sync_dir(rep->settings->dir, err);
}

/* The journal is not there: a crash in swap_in(), somebody removed it, or the first start. */
static int find_missing(struct repair *rep, struct error *err)
{
    CLEANUP(freep) char *new = xasprintf("%s.new", rep->path);

    if (path_exists(new, "")) {
        report_add(rep->report, "a repair of the journal was interrupted and is now finished");
        rep->report->is_damaged = true;
        return swap_in(rep, new, err);
    }
    if (rep->has_copy || path_exists(rep->path, "-wal")) {
        text_copy(rep->damage, sizeof(rep->damage), "the file is not there");
        return rebuild(rep, err);
    }
    return create_first(rep, err);
}

/* The log as it is now, before SQLite writes over it. */
static int keep_log(const char *log, const char *aside, struct error *err)
{
    CLEANUP(freep) char *name = xasprintf("%s-wal", aside);
    CLEANUP(freep) char *data = NULL;
    size_t len = 0;
    int r = tree_read_file(log, SIZE_MAX / 2, &data, &len, err);

    return r < 0 ? r : file_write(name, data, len, err);
}

/* Says what SQLite would leave out without a word. */
static int examine_log(struct repair *rep, struct error *err)
{
    CLEANUP(freep) char *log = xasprintf("%s-wal", rep->path);
    struct wal_state state;
    int r = wal_examine(log, &state, err);

    if (r < 0) {
        return r;
    }
    if (state.has_bad_head || state.unread_frames) {
        CLEANUP(freep) char *aside = damaged_name(rep->path);
        r = keep_log(log, aside, err);
        rep->report->is_damaged = true;
        report_add(rep->report,
                   "the journal's log is damaged (%u pages behind the damage, kept as %s-wal): "
                   "changes of the last moments may be lost",
                   state.unread_frames, aside);
    } else if (state.is_torn) {
        report_add(rep->report, "the journal's log ends in a page that was not completely written; "
                                "normal when power failed or the process was killed then");
    }
    return r;
}

static int repair_run(struct repair *rep, struct error *err)
{
    int r = copy_read(rep->settings->dir, &rep->copy, err);

    if (r < 0 && r != -ENOENT) {
        return r;
    }
    rep->has_copy = r == 0;
    if (!path_exists(rep->path, "")) {
        r = find_missing(rep, err);
    } else {
        r = examine_log(rep, err);
        if (r == 0) {
            r = examine(rep, err);
        }
        if (r == 0 && rep->damage[0]) {
            r = rebuild(rep, err);
        } else if (r == 0 && rep->has_copy && !rep->copy.is_whole) {
            rep->report->is_damaged = true;
            report_add(rep->report,
                       "the second copy of the journal is damaged; the journal itself is good, "
                       "the copy is written anew");
        }
    }
    return r;
}

int repair_open(const struct store_settings *settings, struct store_report *report,
                struct store_sums *ret_sums, int64_t *ret_copied, struct error *err)
{
    CLEANUP(freep) char *path = xasprintf("%s/" STORE_FILE, settings->dir);
    struct repair rep = {.settings = settings, .report = report, .path = path};
    struct store_sums sums = {0};
    char damage[160] = "";
    sqlite3 *sql = NULL;
    int r = repair_run(&rep, err);

    *ret_copied = rep.has_copy && rep.copy.is_whole && !rep.damage[0] ? rep.copy.revision : -1;
    image_done(&rep.copy);
    if (r < 0) {
        return r;
    }
    if (!rep.damage[0] && !report->is_new && !report->is_damaged) {
        *ret_sums = rep.sums;
        return 0;
    }
    r = db_open(path, settings->vfs, SQLITE_OPEN_READWRITE, &sql, NULL, err);
    if (r == 0) {
        r = db_check(sql, &sums, damage, err);
        sqlite3_close(sql);
    }
    if (r == 0 && damage[0]) {
        return err_set(err, EIO,
                       "the journal %s is damaged right after it was written (%s); the "
                       "disk cannot be trusted",
                       path, damage);
    }
    if (r == 0) {
        *ret_sums = sums;
    }
    return r;
}
