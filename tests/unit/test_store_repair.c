/* The journal after damage: what can be read is put together, and said. */
#include "store_world.h"

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
            assert_int_equal(count_files(STORE_FILE ".damaged-"), report.is_damaged);
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

/* Stands before libc's: the process dies before or after so many of them, or never (0). */
static int dies_at, renames;
static bool dies_after;

int rename(const char *from, const char *to)
{
    renames++;
    if (renames == dies_at && !dies_after) {
        _exit(0);
    }
    int r = renameat(AT_FDCWD, from, AT_FDCWD, to);
    if (renames == dies_at) {
        _exit(0);
    }
    return r;
}

/* Opens the journal in a process of its own; false: it came through alive. */
static bool die_while_opening(int at, bool after)
{
    int status = 0;
    pid_t child = fork();

    if (child == 0) {
        struct store_settings settings = {.dir = dir, .copy_delay_ms = 3600 * 1000};
        struct store *store = NULL;
        dies_at = at;
        dies_after = after;
        renames = 0;
        _exit(store_open(&settings, &store, NULL, NULL) < 0 ? 2 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) != 2);
    return WEXITSTATUS(status) == 0;
}

/* The file is damaged, its log has what the copy does not, and the repair dies at each step. */
static void a_repair_that_dies_anywhere_loses_nothing(void **state)
{
    CLEANUP(freep) char *want = NULL;
    struct file db, log, copy;
    struct store *store = NULL;
    int deaths = 0;

    (void)state;
    make_journal(&want);
    copy = slurp(STORE_FILE ".copy");
    store = open_store();
    wait_committed(store, put(store, 1, "zz-late", "in the log only"));
    db = slurp(STORE_FILE);
    log = slurp(STORE_FILE "-wal");
    close_store(store);
    char *event = memmem(db.data, db.len, "body of 7", 9);
    assert_non_null(event);
    event[3] ^= 1;
    CLEANUP(freep) char *all = xasprintf("%s1/zz-late=in the log only ", want);
    for (int step = 2;; step++) {
        empty_dir();
        spew(STORE_FILE, db.data, db.len);
        spew(STORE_FILE "-wal", log.data, log.len);
        spew(STORE_FILE ".copy", copy.data, copy.len);
        if (!die_while_opening(step / 2, step % 2)) {
            break;
        }
        deaths++;
        store = open_store();
        assert_contents(store, all);
        assert_true(count_files(STORE_FILE ".damaged-") > 0); /* nothing is thrown away */
        close_store(store);
    }
    assert_in_range(deaths, 6, 12); /* the draft, what was there, and the new one */
    free(db.data);
    free(log.data);
    free(copy.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(cut_off_files_are_repaired),
        T(flipped_bits_are_noticed),
        T(flipped_bits_in_the_log_are_noticed),
        T(a_damaged_copy_does_no_harm),
        T(a_lost_file_comes_from_the_copy),
        T(an_older_file_is_completed_from_the_copy),
        T(an_interrupted_repair_is_finished),
        T(a_repair_that_dies_anywhere_loses_nothing),
    };

    disk_shim_register();
    log_set_level(LOG_LEVEL_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
