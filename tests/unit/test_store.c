/* The journal against everything that can happen to a disk and to a process. */
#include "base/clock.h"
#include "base/log.h"
#include "base/tree.h"
#include "disk_shim.h"
#include "store/internal.h"
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#define PATIENCE_MS 20000

static char dir[64];

static void path_of(char path[static 160], const char *name)
{
    snprintf(path, 160, "%s/%s", dir, name);
}

static void empty_dir(void)
{
    DIR *d = opendir(dir);
    struct dirent *entry;

    while (d && (entry = readdir(d))) {
        char path[400];
        snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
        unlink(path);
    }
    if (d) {
        closedir(d);
    }
}

static int setup(void **state)
{
    (void)state;
    /* In memory where that is possible: the tests sync thousands of times. */
    snprintf(dir, sizeof(dir), "%s/tangram-store-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(dir));
    disk_shim = (struct disk_shim){.countdown = -1};
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    empty_dir();
    rmdir(dir);
    return 0;
}

static struct store_report report;

static struct store *open_with(struct store_settings settings)
{
    struct store *store = NULL;
    struct error err = {0};

    settings.dir = dir;
    if (store_open(&settings, &store, &report, &err) < 0) {
        fail_msg("%s", err.msg);
    }
    return store;
}

static struct store *open_store(void)
{
    /* No copy on its own unless a test wants it: only closing writes it. */
    return open_with((struct store_settings){.copy_delay_ms = 3600 * 1000});
}

static void close_store(struct store *store)
{
    struct error err = {0};

    if (store_close(store, PATIENCE_MS, &err) < 0) {
        fail_msg("%s", err.msg);
    }
}

static void wait_committed(struct store *store, uint64_t number)
{
    int64_t end_ms = clock_mono_ms() + PATIENCE_MS;

    while (store_committed(store) < number) {
        struct pollfd p = {.fd = store_fd(store), .events = POLLIN};
        assert_true(clock_mono_ms() < end_ms);
        poll(&p, 1, 1000);
    }
}

static uint64_t put(struct store *store, int kind, const char *id, const char *body)
{
    struct store_batch *batch = store_batch_new();

    store_batch_put(batch, kind, id, body, strlen(body));
    return store_submit(store, batch);
}

static int print_record(int kind, const char *id, const char *body, size_t len, void *userdata)
{
    assert_int_equal(strlen(body), len);
    buf_addf(userdata, "%d/%s=%s ", kind, id, body);
    return 0;
}

static char *contents(struct store *store)
{
    struct buf text = BUF_INIT(16 << 20);
    struct error err = {0};

    if (store_load(store, print_record, &text, &err) < 0) {
        fail_msg("%s", err.msg);
    }
    return buf_take(&text);
}

static void assert_contents(struct store *store, const char *want)
{
    CLEANUP(freep) char *got = contents(store);

    assert_string_equal(got, want);
}

static void print_event(int64_t seq, int64_t time_ms, const char *body, size_t len, void *userdata)
{
    assert_int_equal(strlen(body), len);
    buf_addf(userdata, "%lld@%lld=%s ", (long long)seq, (long long)time_ms, body);
}

static void assert_report_has(const char *what)
{
    for (unsigned i = 0; i < report.count; i++) {
        if (strstr(report.lines[i], what)) {
            return;
        }
    }
    for (unsigned i = 0; i < report.count; i++) {
        print_message("report: %s\n", report.lines[i]);
    }
    fail_msg("no '%s' in the report", what);
}

static unsigned count_files(const char *prefix)
{
    DIR *d = opendir(dir);
    struct dirent *entry;
    unsigned count = 0;

    while ((entry = readdir(d))) {
        count += strncmp(entry->d_name, prefix, strlen(prefix)) == 0;
    }
    closedir(d);
    return count;
}

static void records_come_back(void **state)
{
    struct store *store = open_store();
    struct store_batch *batch = store_batch_new();
    char path[160];
    struct stat st;

    (void)state;
    assert_true(report.is_new);
    assert_false(report.is_damaged);
    assert_true(store_batch_is_empty(batch));
    store_batch_put(batch, 2, "b", "two", 3);
    store_batch_put(batch, 1, "z", "one", 3);
    store_batch_put(batch, 1, "a", "", 0);
    store_batch_put(batch, 1, "gone", "x", 1);
    store_batch_delete(batch, 1, "gone");
    store_batch_delete(batch, 7, "never");
    assert_int_equal(store_submit(store, batch), 1);
    assert_int_equal(put(store, 2, "b", "zwei"), 2);
    wait_committed(store, 2);
    assert_contents(store, "1/a= 1/z=one 2/b=zwei ");
    close_store(store);

    path_of(path, STORE_FILE);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    path_of(path, STORE_FILE ".copy");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    store = open_store();
    assert_false(report.is_new);
    assert_false(report.is_damaged);
    assert_contents(store, "1/a= 1/z=one 2/b=zwei ");
    close_store(store);
}

static void closing_writes_what_is_queued(void **state)
{
    struct store *store = open_store();
    char id[16];
    int count = 0;

    (void)state;
    for (int i = 0; i < 500; i++) {
        snprintf(id, sizeof(id), "r%03d", i);
        put(store, 1, id, "x");
    }
    close_store(store);
    store = open_store();
    CLEANUP(freep) char *got = contents(store);
    for (const char *p = got; (p = strchr(p, '=')); p++) {
        count++;
    }
    assert_int_equal(count, 500);
    close_store(store);
}

static void history_is_kept_up_to_its_cap(void **state)
{
    struct store *store = open_with((struct store_settings){.events_max = 100});
    CLEANUP(buf_done) struct buf text = BUF_INIT(1 << 20);
    uint64_t last = 0;
    int n;

    (void)state;
    assert_int_equal(store_last_event(store), 0);
    for (int i = 1; i <= 300; i++) {
        struct store_batch *batch = store_batch_new();
        char body[16];
        snprintf(body, sizeof(body), "e%d", i);
        store_batch_event(batch, i, 1000 + i, body, strlen(body));
        last = store_submit(store, batch);
        if (i % 50 == 0) {
            wait_committed(store, last);
        }
    }
    wait_committed(store, last);
    assert_int_equal(store_events(store, 297, 10, print_event, &text, NULL), 3);
    assert_string_equal(text.data, "298@1298=e298 299@1299=e299 300@1300=e300 ");
    buf_clear(&text);
    assert_int_equal(store_events(store, 250, 2, print_event, &text, NULL), 2);
    assert_string_equal(text.data, "251@1251=e251 252@1252=e252 ");
    n = store_events(store, 0, 1000, print_event, &text, NULL);
    assert_true(n >= 100 && n <= 107);
    assert_int_equal(store_events(store, 300, 10, print_event, &text, NULL), 0);
    close_store(store);
    store = open_store();
    assert_false(report.is_damaged);
    assert_int_equal(store_last_event(store), 300);
    close_store(store);
}

static void two_processes_cannot_share_it(void **state)
{
    struct store *store = open_store(), *second = NULL;
    struct store_settings settings = {.dir = dir};
    struct error err = {0};
    char pid[32];

    (void)state;
    assert_int_equal(store_open(&settings, &second, NULL, &err), -EBUSY);
    snprintf(pid, sizeof(pid), "(pid %d)", (int)getpid());
    assert_non_null(strstr(err.msg, pid));
    close_store(store);
}

static void newer_and_older_schemas(void **state)
{
    static const char *const steps[] = {"CREATE TABLE meta (schema INTEGER); INSERT INTO meta "
                                        "VALUES (0); CREATE TABLE t (a)",
                                        "ALTER TABLE t ADD COLUMN b DEFAULT 5; UPDATE t SET a = 9",
                                        "this is not SQL"};
    struct store_settings settings = {.dir = dir};
    struct store *store = open_store();
    struct error err = {0};
    char path[160];
    sqlite3 *sql;
    int code;

    (void)state;
    wait_committed(store, put(store, 1, "a", "b"));
    close_store(store);
    path_of(path, STORE_FILE);
    assert_int_equal(sqlite3_open(path, &sql), SQLITE_OK);
    assert_int_equal(sqlite3_exec(sql, "PRAGMA user_version = 99; UPDATE meta SET schema = 99",
                                  NULL, NULL, NULL),
                     SQLITE_OK);
    sqlite3_close(sql);
    store = NULL;
    assert_int_equal(store_open(&settings, &store, NULL, &err), -ENOTSUP);
    assert_non_null(strstr(err.msg, "newer tangram"));

    /* An older one is brought forward step by step; a step that fails changes nothing. */
    assert_int_equal(sqlite3_open(":memory:", &sql), SQLITE_OK);
    assert_int_equal(db_migrate(sql, steps, 1, &err), 0);
    assert_int_equal(sqlite3_exec(sql, "INSERT INTO t VALUES (1)", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(db_migrate(sql, steps, 2, &err), 0);
    assert_int_equal(db_read_version(sql, &code), 2);
    assert_true(db_migrate(sql, steps, 3, &err) < 0);
    assert_int_equal(db_read_version(sql, &code), 2);
    sqlite3_close(sql);
}

/* --- Damage. --- */

struct file {
    char *data;
    size_t len;
};

static struct file slurp(const char *name)
{
    struct file file = {0};
    char path[160];

    path_of(path, name);
    assert_int_equal(tree_read_file(path, 64 << 20, &file.data, &file.len, NULL), 0);
    return file;
}

static void spew(const char *name, const char *data, size_t len)
{
    char path[160];

    path_of(path, name);
    CLEANUP(closep) int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, data, len), (ssize_t)len);
}

/* A journal of several pages; *ret_want is what it holds. */
static void make_journal(char **ret_want)
{
    CLEANUP(buf_done) struct buf want = BUF_INIT(1 << 20);
    struct store *store = open_store();
    uint64_t last = 0;

    for (int i = 0; i < 60; i++) {
        struct store_batch *batch = store_batch_new();
        char id[32], body[64 + 100];
        snprintf(id, sizeof(id), "lease-%02d", i);
        snprintf(body, sizeof(body), "body of %d %0100d", i, i);
        store_batch_put(batch, 1, id, body, strlen(body));
        store_batch_event(batch, i + 1, i, body, strlen(body));
        buf_addf(&want, "1/%s=%s ", id, body);
        last = store_submit(store, batch);
    }
    wait_committed(store, last);
    close_store(store);
    *ret_want = buf_take(&want);
}

/* Opens what is there: it must hold all, or say that something is wrong; and be usable. */
static void open_damaged(const char *want, bool must_be_all)
{
    struct store *store = open_store();
    CLEANUP(freep) char *got = contents(store);

    if (strcmp(got, want) != 0) {
        assert_true(report.is_damaged);
        assert_false(must_be_all);
    }
    /* Nothing that was never written comes out: each record is one of those that went in. */
    for (char *rest = got, *next; *rest; rest = next) {
        next = strstr(rest, " 1/");
        next = next ? next + 1 : rest + strlen(rest);
        CLEANUP(freep) char *record = xasprintf("%.*s", (int)(next - rest), rest);
        assert_non_null(strstr(want, record));
    }
    wait_committed(store, put(store, 1, "zz-new", "fine"));
    close_store(store);
}

static void cut_off_files_are_repaired(void **state)
{
    CLEANUP(freep) char *want = NULL;
    struct file db, copy;

    (void)state;
    make_journal(&want);
    db = slurp(STORE_FILE);
    copy = slurp(STORE_FILE ".copy");
    for (size_t len = 0; len < db.len; len += 512) {
        empty_dir();
        spew(STORE_FILE, db.data, len);
        spew(STORE_FILE ".copy", copy.data, copy.len);
        open_damaged(want, true);
        assert_true(report.is_damaged);
        assert_report_has("is kept as");
        assert_int_equal(count_files(STORE_FILE ".damaged-"), 1);
    }
    /* Without the copy some are lost, and it is said. */
    for (size_t len = 0; len < db.len; len += 1024) {
        empty_dir();
        spew(STORE_FILE, db.data, len);
        open_damaged(want, false);
        assert_true(report.is_damaged);
        assert_report_has("records may be missing");
    }
    free(db.data);
    free(copy.data);
}

static void flipped_bits_are_noticed(void **state)
{
    CLEANUP(freep) char *want = NULL;
    struct file db, copy;
    unsigned noticed = 0, total = 0;

    (void)state;
    make_journal(&want);
    db = slurp(STORE_FILE);
    copy = slurp(STORE_FILE ".copy");
    /* All of the header, then steps that meet every page in many places. */
    for (size_t at = 0; at < db.len; at += at < 110 ? 1 : 127) {
        char bit = (char)(1 << (at % 8));
        empty_dir();
        db.data[at] ^= bit;
        spew(STORE_FILE, db.data, db.len);
        spew(STORE_FILE ".copy", copy.data, copy.len);
        open_damaged(want, true);
        noticed += report.is_damaged;
        total++;
        if (at % 3 == 0) {
            empty_dir();
            spew(STORE_FILE, db.data, db.len);
            open_damaged(want, false);
        }
        db.data[at] ^= bit;
    }
    /* The rest fell into unused space. */
    assert_true(noticed * 4 > total);
    free(db.data);
    free(copy.data);
}

static void flipped_bits_in_the_log_are_noticed(void **state)
{
    CLEANUP(buf_done) struct buf want = BUF_INIT(1 << 20);
    struct file db, log;
    int pipe_fds[2], status;
    char byte;

    (void)state;
    assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct store *store = open_store();
        for (int i = 0; i < 20; i++) {
            char id[16];
            snprintf(id, sizeof(id), "r%02d", i);
            wait_committed(store, put(store, 1, id, "body"));
        }
        assert_int_equal(write(pipe_fds[1], "x", 1), 1);
        pause();
    }
    assert_int_equal(read(pipe_fds[0], &byte, 1), 1);
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
    for (int i = 0; i < 20; i++) {
        buf_addf(&want, "1/r%02d=body ", i);
    }
    db = slurp(STORE_FILE);
    log = slurp(STORE_FILE "-wal");
    assert_true(log.len > 20 * 4096);
    for (size_t at = 0; at < log.len; at += at < 60 ? 1 : 499) {
        struct store *store;
        empty_dir();
        log.data[at] ^= 4;
        spew(STORE_FILE, db.data, db.len);
        spew(STORE_FILE "-wal", log.data, log.len);
        log.data[at] ^= 4;
        store = open_store();
        CLEANUP(freep) char *got = contents(store);
        close_store(store);
        if (strcmp(got, want.data) != 0) {
            /* What is there is a beginning of what was done; something is said in any case. */
            assert_int_equal(strncmp(got, want.data, strlen(got)), 0);
            assert_true(report.count > 0);
            assert_true(report.is_damaged || strlen(want.data) - strlen(got) <= 12);
        }
    }
    /* As it was: nothing to say. */
    empty_dir();
    spew(STORE_FILE, db.data, db.len);
    spew(STORE_FILE "-wal", log.data, log.len);
    struct store *store = open_store();
    assert_int_equal(report.count, 0);
    assert_contents(store, want.data);
    close_store(store);
    free(db.data);
    free(log.data);
}

static void a_damaged_copy_does_no_harm(void **state)
{
    CLEANUP(freep) char *want = NULL;
    struct file db, copy;

    (void)state;
    make_journal(&want);
    db = slurp(STORE_FILE);
    copy = slurp(STORE_FILE ".copy");
    for (size_t at = 0; at < copy.len; at += 97) {
        /* Beside a good journal. */
        empty_dir();
        copy.data[at] ^= 0x10;
        spew(STORE_FILE, db.data, db.len);
        spew(STORE_FILE ".copy", copy.data, copy.len);
        open_damaged(want, true);
        /* Alone: at most one record is missing, and it is said. */
        empty_dir();
        spew(STORE_FILE ".copy", copy.data, copy.len);
        open_damaged(want, false);
        assert_true(report.is_damaged);
        copy.data[at] ^= 0x10;
        /* Cut off, alone. */
        empty_dir();
        spew(STORE_FILE ".copy", copy.data, at);
        open_damaged(want, false);
        assert_true(report.is_damaged);
    }
    free(db.data);
    free(copy.data);
}

static void a_lost_file_comes_from_the_copy(void **state)
{
    CLEANUP(freep) char *want = NULL;
    char path[160];

    (void)state;
    make_journal(&want);
    path_of(path, STORE_FILE);
    unlink(path);
    open_damaged(want, true);
    assert_report_has("the file is not there");
}

static void an_older_file_is_completed_from_the_copy(void **state)
{
    struct store *store = open_store();
    struct file old;

    (void)state;
    put(store, 1, "changed", "old");
    put(store, 1, "deleted", "x");
    wait_committed(store, put(store, 1, "kept", "x"));
    close_store(store);
    old = slurp(STORE_FILE);
    store = open_store();
    struct store_batch *batch = store_batch_new();
    store_batch_put(batch, 1, "changed", "new", 3);
    store_batch_delete(batch, 1, "deleted");
    store_batch_put(batch, 1, "new", "x", 1);
    wait_committed(store, store_submit(store, batch));
    close_store(store);
    /* As after a restore from a backup, or the loss of the log. */
    spew(STORE_FILE, old.data, old.len);
    free(old.data);
    store = open_store();
    assert_report_has("its second copy with change");
    assert_contents(store, "1/changed=new 1/kept=x 1/new=x ");
    close_store(store);
}

static void an_interrupted_repair_is_finished(void **state)
{
    CLEANUP(freep) char *want = NULL;
    struct file db;
    char path[160];

    (void)state;
    make_journal(&want);
    db = slurp(STORE_FILE);
    empty_dir();
    spew(STORE_FILE ".new", db.data, db.len);
    open_damaged(want, true);
    assert_report_has("interrupted");
    path_of(path, STORE_FILE ".new");
    assert_int_equal(access(path, F_OK), -1);
    free(db.data);
}

static void the_copy_follows_by_itself(void **state)
{
    struct store *store = open_with((struct store_settings){.copy_delay_ms = 1});
    int64_t end_ms = clock_mono_ms() + PATIENCE_MS;
    bool has_it = false;

    (void)state;
    put(store, 1, "a", "in the copy");
    while (!has_it) {
        struct store_image image = {0};
        assert_true(clock_mono_ms() < end_ms);
        if (copy_read(dir, &image, NULL) == 0) {
            has_it = image.is_whole && image.row_count == 1;
            image_done(&image);
        }
    }
    close_store(store);
}

/* Commits into a log of full length are the quick ones; zeros behind the last frame are no damage. */
static void the_log_is_filled_in_a_quiet_moment(void **state)
{
    CLEANUP(buf_done) struct buf want = BUF_INIT(1 << 20);
    int64_t end_ms = clock_mono_ms() + PATIENCE_MS;
    struct stat st = {0};
    char path[160];

    (void)state;
    path_of(path, STORE_FILE "-wal");
    pid_t pid = fork();
    if (pid == 0) {
        struct store *store = open_with((struct store_settings){.copy_delay_ms = 1});
        for (int i = 0; i < 100; i++) {
            char id[16];
            snprintf(id, sizeof(id), "r%02d", i);
            wait_committed(store, put(store, 1, id, "body"));
        }
        while (stat(path, &st) < 0 || st.st_size < 32 * 1024 * 1024) {
            poll(NULL, 0, 1);
        }
        wait_committed(store, put(store, 1, "r99", "new"));
        _exit(0);
    }
    int status = 1;
    while (waitpid(pid, &status, WNOHANG) == 0 && clock_mono_ms() < end_ms) {
        poll(NULL, 0, 1);
    }
    kill(pid, SIGKILL);
    assert_int_equal(status, 0);
    for (int i = 0; i < 100; i++) {
        buf_addf(&want, "1/r%02d=%s ", i, i < 99 ? "body" : "new");
    }
    struct store *store = open_store();
    assert_int_equal(report.count, 0);
    assert_contents(store, want.data);
    close_store(store);
}

/* --- A disk that fails. --- */

static void each_failing_call_is_survived(void **state)
{
    static const int codes[] = {SQLITE_FULL, SQLITE_IOERR_WRITE, SQLITE_IOERR_FSYNC};

    (void)state;
    for (size_t c = 0; c < ARRAY_SIZE(codes); c++) {
        for (int nth = 0; nth < 40; nth += 1 + (int)c) {
            struct store *store = open_with((struct store_settings){
                .vfs = "shim", .events_max = 16, .copy_delay_ms = 3600 * 1000});
            CLEANUP(buf_done) struct buf want = BUF_INIT(1 << 20);
            uint64_t last = 0;
            disk_shim =
                (struct disk_shim){.countdown = nth, .times = 1 + nth % 4 / 3, .code = codes[c]};
            for (int i = 0; i < 12; i++) {
                struct store_batch *batch = store_batch_new();
                char id[16];
                snprintf(id, sizeof(id), "r%02d", i);
                store_batch_put(batch, 1, id, "body", 4);
                store_batch_delete(batch, 1, "r00");
                store_batch_event(batch, i + 1, i, "event", 5);
                last = store_submit(store, batch);
                buf_addf(&want, i ? "1/r%02d=body " : "", i);
                if (i % 3 == 0) {
                    wait_committed(store, last);
                }
            }
            wait_committed(store, last);
            assert_false(store_failure(store, NULL));
            disk_shim.countdown = -1;
            close_store(store);
            store = open_store();
            assert_false(report.is_damaged);
            assert_contents(store, want.data);
            close_store(store);
            empty_dir();
        }
    }
}

static void a_full_disk_is_reported_and_waited_for(void **state)
{
    struct store *store = open_with((struct store_settings){.vfs = "shim"});
    struct error err = {0};

    (void)state;
    disk_shim = (struct disk_shim){.countdown = 0, .times = 1000000, .code = SQLITE_FULL};
    put(store, 1, "a", "1");
    while (!store_failure(store, &err)) {
        struct pollfd p = {.fd = store_fd(store), .events = POLLIN};
        assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
    }
    assert_int_equal(err.code, ENOSPC);
    assert_non_null(strstr(err.msg, "make room"));
    put(store, 1, "a", "2");
    assert_int_equal(store_committed(store), 0);
    disk_shim.times = 0;
    wait_committed(store, 2);
    assert_false(store_failure(store, NULL));
    close_store(store);
    store = open_store();
    assert_contents(store, "1/a=2 ");
    close_store(store);
}

static void closing_does_not_wait_for_ever(void **state)
{
    struct store *store = open_with((struct store_settings){.vfs = "shim"});
    struct error err = {0};

    (void)state;
    disk_shim = (struct disk_shim){.countdown = 0, .times = 1000000, .code = SQLITE_IOERR_WRITE};
    put(store, 1, "a", "1");
    put(store, 1, "b", "1");
    assert_true(store_close(store, 200, &err) < 0);
    assert_non_null(strstr(err.msg, "2 changes could not be written"));
    disk_shim.times = 0;
}

static void opening_on_a_failing_disk_says_so(void **state)
{
    struct store_settings settings = {.dir = dir, .vfs = "shim"};
    int worked = 0;

    (void)state;
    for (int round = 0; round < 2; round++) {
        for (int nth = 0; nth < 60; nth++) {
            struct store *store = NULL;
            struct error err = {0};
            if (round == 0) {
                empty_dir();
            }
            disk_shim = (struct disk_shim){.countdown = nth, .times = 1000000, .code = SQLITE_FULL};
            int r = store_open(&settings, &store, NULL, &err);
            disk_shim.countdown = -1;
            if (r == 0) {
                worked++;
                close_store(store);
                continue;
            }
            assert_int_equal(r, -ENOSPC);
            assert_non_null(strstr(err.msg, "make room"));
            /* And nothing is spoilt by it. */
            store = open_store();
            assert_false(report.is_damaged);
            close_store(store);
        }
    }
    assert_true(worked > 0);
}

static void a_file_in_the_way_is_said(void **state)
{
    struct store_settings settings = {.dir = "/dev/null/x"};
    struct store *store = NULL;
    struct error err = {0};

    (void)state;
    assert_int_equal(store_open(&settings, &store, NULL, &err), -ENOTDIR);
    assert_non_null(strstr(err.msg, "/dev/null/x"));
}

/* --- A process that dies. --- */

/* Writes batches and says on `fd` which are committed. Never returns. */
static void child_writes(int fd, unsigned first)
{
    struct store *store = open_with((struct store_settings){.copy_delay_ms = 3});
    uint64_t told = 0, number = 0;

    for (unsigned i = first;; i++) {
        struct store_batch *batch = store_batch_new();
        char id[16], body[32];
        snprintf(id, sizeof(id), "k%u", i % 50);
        snprintf(body, sizeof(body), "%u", i);
        store_batch_put(batch, 1, id, body, strlen(body));
        store_batch_put(batch, 2, id, body, strlen(body));
        store_batch_event(batch, i + 1, i, body, strlen(body));
        number = store_submit(store, batch);
        if (number - told > 8) {
            wait_committed(store, number - 4);
            told = store_committed(store);
            uint64_t last = first + told - 1;
            if (write(fd, &last, sizeof(last)) < 0) {
                _exit(1);
            }
        }
    }
}

struct values {
    unsigned of[3][50];
};

static int note_value(int kind, const char *id, const char *body, size_t len, void *userdata)
{
    struct values *values = userdata;
    (void)len;
    values->of[kind][strtoul(id + 1, NULL, 10)] = (unsigned)strtoul(body, NULL, 10);
    return 0;
}

static void killed_writers_lose_nothing(void **state)
{
    uint64_t next = 1;

    (void)state;
    for (int round = 0; round < 25; round++) {
        struct values values = {0};
        uint64_t told = next - 1, got;
        int pipe_fds[2], status;
        assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
        pid_t pid = fork();
        if (pid == 0) {
            close(pipe_fds[0]);
            child_writes(pipe_fds[1], (unsigned)next);
        }
        close(pipe_fds[1]);
        /* Killed after so many acknowledgements: at any point of what it does then. */
        for (int i = 0; i < 2 + round * 7 % 40; i++) {
            assert_int_equal(read(pipe_fds[0], &got, sizeof(got)), sizeof(got));
            told = got;
        }
        kill(pid, SIGKILL);
        while (read(pipe_fds[0], &got, sizeof(got)) == sizeof(got)) {
            told = got;
        }
        close(pipe_fds[0]);
        waitpid(pid, &status, 0);
        struct store *store = open_store();
        assert_false(report.is_damaged);
        assert_int_equal(store_load(store, note_value, &values, NULL), 0);
        assert_true(store_last_event(store) >= (int64_t)told + 1);
        for (uint64_t i = told > 49 ? told - 49 : 1; i <= told; i++) {
            assert_true(values.of[1][i % 50] >= i);
            /* A batch is there whole or not at all. */
            assert_int_equal(values.of[1][i % 50], values.of[2][i % 50]);
        }
        next = (uint64_t)store_last_event(store);
        close_store(store);
    }
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(records_come_back),
        T(closing_writes_what_is_queued),
        T(history_is_kept_up_to_its_cap),
        T(two_processes_cannot_share_it),
        T(newer_and_older_schemas),
        T(cut_off_files_are_repaired),
        T(flipped_bits_are_noticed),
        T(flipped_bits_in_the_log_are_noticed),
        T(a_damaged_copy_does_no_harm),
        T(a_lost_file_comes_from_the_copy),
        T(an_older_file_is_completed_from_the_copy),
        T(an_interrupted_repair_is_finished),
        T(the_copy_follows_by_itself),
        T(the_log_is_filled_in_a_quiet_moment),
        T(each_failing_call_is_survived),
        T(a_full_disk_is_reported_and_waited_for),
        T(closing_does_not_wait_for_ever),
        T(opening_on_a_failing_disk_says_so),
        T(a_file_in_the_way_is_said),
        T(killed_writers_lose_nothing),
    };

    disk_shim_register();
    log_set_level(LOG_LEVEL_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
