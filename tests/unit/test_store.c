/* The journal as it is used. */
#include "store_world.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(records_come_back),
        T(closing_writes_what_is_queued),
        T(history_is_kept_up_to_its_cap),
        T(two_processes_cannot_share_it),
        T(newer_and_older_schemas),
    };

    disk_shim_register();
    log_set_level(LOG_LEVEL_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
