/* The second copy, tangram.db.copy: not SQLite, so that what breaks the one does not break the
 * other.  A sequence of entries, each with its own checksum and findable without the ones before:
 *
 *     tangram-copy 1\n
 *     \nR KIND REVISION ID_LEN BODY_LEN CHECKSUM\n ID BODY        (BODY_LEN -1: deleted)
 *     \nV SEQ TIME_MS BODY_LEN CHECKSUM\n BODY
 *     \nE REVISION RECORDS EVENTS CHECKSUM\n                      (the end)
 *
 * Written beside and renamed, so it is always whole unless the disk changed it. */
#include "base/tree.h"
#include "store/internal.h"
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define COPY_NAME STORE_FILE ".copy"
#define COPY_HEAD "tangram-copy 1\n"
#define COPY_MAX_BYTES ((size_t)256 * 1024 * 1024)

int sync_dir(const char *dir, struct error *err)
{
    CLEANUP(closep) int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0 || fsync(fd) < 0) {
        return err_set(err, errno, "cannot write the directory %s: %s", dir, strerror(errno));
    }
    return 0;
}

static uint64_t end_checksum(int64_t revision, int64_t records, int64_t events)
{
    char id[32] = "end";
    struct store_row row = {
        .kind = (int)records, .id = id, .is_deleted = true, .revision = revision};

    return row_checksum(&row) ^ (uint64_t)events;
}

static int print_rows(struct buf *out, sqlite3 *sql)
{
    sqlite3_stmt *stmt = NULL;
    int code = sqlite3_prepare_v2(sql, "SELECT " DB_ROW_COLUMNS " FROM records", -1, &stmt, NULL);

    while (code == SQLITE_OK || code == SQLITE_ROW) {
        struct store_row row;
        code = sqlite3_step(stmt);
        if (code != SQLITE_ROW) {
            break;
        }
        if (!db_get_row(stmt, &row)) {
            /* A damaged row must not replace the good one in the copy. */
            code = SQLITE_CORRUPT;
            break;
        }
        buf_addf(out, "\nR %d %" PRId64 " %zu %lld %016" PRIx64 "\n", row.kind, row.revision,
                 strlen(row.id), row.is_deleted ? -1LL : (long long)row.len, row_checksum(&row));
        buf_adds(out, row.id);
        buf_add(out, row.body, row.is_deleted ? 0 : row.len);
    }
    sqlite3_finalize(stmt);
    return code == SQLITE_DONE ? SQLITE_OK : code;
}

static int print_events(struct buf *out, sqlite3 *sql, int *ret_count)
{
    sqlite3_stmt *stmt = NULL;
    int code = sqlite3_prepare_v2(
        sql, "SELECT " DB_EVENT_COLUMNS " FROM events ORDER BY seq DESC LIMIT ?1", -1, &stmt, NULL);

    *ret_count = 0;
    if (code == SQLITE_OK) {
        sqlite3_bind_int(stmt, 1, STORE_COPY_EVENTS);
    }
    while (code == SQLITE_OK || code == SQLITE_ROW) {
        struct store_event event;
        code = sqlite3_step(stmt);
        if (code != SQLITE_ROW) {
            break;
        }
        if (!db_get_event(stmt, &event)) {
            code = SQLITE_CORRUPT;
            break;
        }
        buf_addf(out, "\nV %" PRId64 " %" PRId64 " %zu %016" PRIx64 "\n", event.seq, event.time_ms,
                 event.len, event_checksum(&event));
        buf_add(out, event.body, event.len);
        *ret_count += 1;
    }
    sqlite3_finalize(stmt);
    return code == SQLITE_DONE ? SQLITE_OK : code;
}

int file_write(const char *path, const void *data, size_t len, struct error *err)
{
    CLEANUP(closep)
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    size_t done = 0;

    if (fd < 0) {
        return err_set(err, errno, "cannot write %s: %s", path, strerror(errno));
    }
    while (done < len) {
        ssize_t n = write(fd, (const char *)data + done, len - done);
        if (n < 0 && errno != EINTR) {
            return err_set(err, errno, "cannot write %s: %s", path, strerror(errno));
        }
        done += n > 0 ? (size_t)n : 0;
    }
    if (fdatasync(fd) < 0) {
        return err_set(err, errno, "cannot write %s: %s", path, strerror(errno));
    }
    return 0;
}

int copy_write(const char *dir, sqlite3 *sql, const struct store_sums *sums, struct error *err)
{
    CLEANUP(freep) char *path = xasprintf("%s/" COPY_NAME, dir);
    CLEANUP(freep) char *beside = xasprintf("%s.new", path);
    CLEANUP(buf_done) struct buf text = BUF_INIT(COPY_MAX_BYTES);
    int events, code, r;

    buf_adds(&text, COPY_HEAD);
    code = print_rows(&text, sql);
    if (code == SQLITE_OK) {
        code = print_events(&text, sql, &events);
    }
    if (code != SQLITE_OK) {
        return db_fail(sql, code, err, "cannot read the journal for its second copy");
    }
    buf_addf(&text, "\nE %" PRId64 " %" PRId64 " %d %016" PRIx64 "\n", sums->revision,
             sums->records, events, end_checksum(sums->revision, sums->records, events));
    if (text.is_full) {
        return err_set(err, EFBIG, "the journal is too large for a second copy");
    }
    r = file_write(beside, text.data, text.len, err);
    if (r < 0) {
        unlink(beside);
        return r;
    }
    if (rename(beside, path) < 0) {
        return err_set(err, errno, "cannot rename %s: %s", beside, strerror(errno));
    }
    return sync_dir(dir, err);
}

/* Where an entry's head ends and how long its content is. */
struct entry {
    char type;
    const char *content;
    size_t id_len, body_len;
    struct store_row row;
    struct store_event event;
    int64_t revision, records, events;
    uint64_t checksum;
};

static bool parse_head(const char *at, const char *end, struct entry *ret)
{
    const char *newline = memchr(at + 1, '\n', (size_t)(end - at) - 1);
    long long body_len = 0;
    char head[128];
    int fields = 0;

    *ret = (struct entry){.type = at[1]};
    if (!newline || newline - at > (long)sizeof(head) - 1) {
        return false;
    }
    memcpy(head, at + 1, (size_t)(newline - at) - 1);
    head[newline - at - 1] = '\0';
    if (ret->type == 'R') {
        fields = sscanf(head, "R %d %" SCNd64 " %zu %lld %" SCNx64, &ret->row.kind,
                        &ret->row.revision, &ret->id_len, &body_len, &ret->checksum);
        ret->row.is_deleted = body_len == -1;
    } else if (ret->type == 'V') {
        fields = 1 + sscanf(head, "V %" SCNd64 " %" SCNd64 " %lld %" SCNx64, &ret->event.seq,
                            &ret->event.time_ms, &body_len, &ret->checksum);
    } else if (ret->type == 'E') {
        fields = 1 + sscanf(head, "E %" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNx64, &ret->revision,
                            &ret->records, &ret->events, &ret->checksum);
    }
    ret->body_len = body_len > 0 ? (size_t)body_len : 0;
    ret->content = newline + 1;
    return fields == 5 && body_len >= -1 && ret->id_len <= 255 &&
           ret->body_len <= (size_t)(end - ret->content) &&
           ret->id_len <= (size_t)(end - ret->content) - ret->body_len;
}

/* Adds the entry if its checksum is right. */
static bool take_entry(const struct entry *e, struct store_image *image)
{
    char id[256] = "";
    struct store_row row = e->row;
    struct store_event event = e->event;

    if (e->type == 'R') {
        memcpy(id, e->content, e->id_len);
        row.id = id;
        row.body = (char *)(uintptr_t)(e->content + e->id_len);
        row.len = e->body_len;
        if (row_checksum(&row) != e->checksum) {
            return false;
        }
        image_add_row(image, &row);
    } else if (e->type == 'V') {
        event.body = (char *)(uintptr_t)e->content;
        event.len = e->body_len;
        if (event_checksum(&event) != e->checksum) {
            return false;
        }
        image_add_event(image, &event);
    } else {
        return e->checksum == end_checksum(e->revision, e->records, e->events);
    }
    return true;
}

int copy_read(const char *dir, struct store_image *ret, struct error *err)
{
    CLEANUP(freep) char *path = xasprintf("%s/" COPY_NAME, dir);
    CLEANUP(freep) char *text = NULL;
    bool is_whole = true, has_end = false;
    const char *at, *end;
    size_t len = 0;
    int r = tree_read_file(path, COPY_MAX_BYTES, &text, &len, err);

    if (r < 0) {
        return r;
    }
    *ret = (struct store_image){0};
    end = text + len;
    at = memchr(text, '\n', len);
    at = at ? at + 1 : end;
    is_whole = strncmp(text, COPY_HEAD, sizeof(COPY_HEAD) - 1) == 0;
    while (at + 2 < end) {
        struct entry e = {0};
        if (*at == '\n' && parse_head(at, end, &e) && take_entry(&e, ret)) {
            at = e.content + e.id_len + e.body_len;
            if (e.type == 'E') {
                has_end = e.records == (int64_t)ret->row_count &&
                          e.events == (int64_t)ret->event_count && at == end;
                ret->revision = e.revision > ret->revision ? e.revision : ret->revision;
            }
            continue;
        }
        is_whole = false;
        at = memchr(at + 1, '\n', (size_t)(end - at) - 1);
        at = at ? at : end;
    }
    ret->is_whole = is_whole && has_end;
    return 0;
}
