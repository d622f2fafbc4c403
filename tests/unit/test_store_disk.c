/* The journal against everything that can happen to a disk and to a process. */
#include "store_world.h"
#include <stdlib.h>
#include <sys/mman.h>

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

/* Commits into a log of full length are the quick ones; zeros behind the last frame
 * are no damage. */
/* Rows without a body, by which the second copy learns that a record has gone. */
static int count_dead(void)
{
    char path[160];
    sqlite3 *sql = NULL;
    sqlite3_stmt *stmt = NULL;

    path_of(path, STORE_FILE);
    assert_int_equal(sqlite3_open_v2(path, &sql, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(sql, "SELECT count(*) FROM records WHERE body IS NULL", -1,
                                        &stmt, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
    int count = sqlite3_column_int(stmt, 0);
    sqlite3_finalize(stmt);
    sqlite3_close(sql);
    return count;
}

static void deleted_records_leave_no_rows_behind(void **state)
{
    struct store *store = open_with((struct store_settings){.copy_delay_ms = 1});
    struct store_batch *batch = store_batch_new();
    int64_t end_ms = clock_mono_ms() + PATIENCE_MS;

    (void)state;
    wait_committed(store, put(store, 1, "gone", "x"));
    store_batch_delete(batch, 1, "gone");
    wait_committed(store, store_submit(store, batch));
    while (count_dead()) { /* until the copy has been written, and something after it */
        assert_true(clock_mono_ms() < end_ms);
        wait_committed(store, put(store, 1, "kept", "x"));
        poll(NULL, 0, 5);
    }
    assert_contents(store, "1/kept=x ");
    close_store(store);
}

/* There is no quiet moment, and the copy is written all the same. */
static void the_copy_does_not_wait_for_ever(void **state)
{
    struct store *store = open_with((struct store_settings){.copy_delay_ms = 150});
    int64_t end_ms = clock_mono_ms() + PATIENCE_MS;
    char path[160];

    (void)state;
    path_of(path, STORE_FILE ".copy");
    while (access(path, F_OK) < 0) {
        assert_true(clock_mono_ms() < end_ms);
        wait_committed(store, put(store, 1, "a", "x"));
    }
    close_store(store);
}

static void the_log_is_filled_in_a_quiet_moment(void **state)
{
    CLEANUP(buf_done) struct buf want = BUF_INIT(1 << 20);
    int64_t end_ms = clock_mono_ms() + 6 * PATIENCE_MS;
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

static bool is_cached(int fd, off_t at)
{
    unsigned char is_here = 0;
    void *page = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, at / 4096 * 4096);

    assert_true(page != MAP_FAILED);
    assert_int_equal(mincore(page, 4096, &is_here), 0);
    munmap(page, 4096);
    return is_here & 1;
}

/* The frame behind `pages` others is 24 bytes of head and a page, behind a head of 32. */
static void what_is_written_next_is_read_ahead(void **state)
{
    CLEANUP(freep) char *data = xcalloc(1, 1 << 20);
    char path[] = "/var/tmp/tangram-log-XXXXXX"; /* a disk: what is in memory is always cached */
    CLEANUP(closep) int fd = mkstemp(path);
    off_t at = 32 + 50 * (24 + 4096), last = at + 4 * (24 + 4096);
    int64_t end_ms = clock_mono_ms() + PATIENCE_MS;

    (void)state;
    assert_true(fd >= 0 && unlink(path) == 0);
    assert_int_equal(pwrite(fd, data, 1 << 20, 0), 1 << 20);
    assert_int_equal(fsync(fd), 0);
    assert_int_equal(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
    if (is_cached(fd, at) || is_cached(fd, last)) {
        skip(); /* a file system that keeps what it was told to forget */
    }
    wal_read_ahead(fd, 50);
    while (!is_cached(fd, at) || !is_cached(fd, last)) {
        assert_true(clock_mono_ms() < end_ms);
    }
    wal_read_ahead(-1, 50);
}

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(the_copy_follows_by_itself),
        T(deleted_records_leave_no_rows_behind),
        T(the_copy_does_not_wait_for_ever),
        T(the_log_is_filled_in_a_quiet_moment),
        T(what_is_written_next_is_read_ahead),
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
