#pragma once
/* A journal in a folder of its own, for its tests. */
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

static inline void path_of(char path[static 160], const char *name)
{
    snprintf(path, 160, "%s/%s", dir, name);
}

static inline void empty_dir(void)
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

static inline int setup(void **state)
{
    (void)state;
    /* In memory where that is possible: the tests sync thousands of times. */
    snprintf(dir, sizeof(dir), "%s/tangram-store-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(dir));
    disk_shim = (struct disk_shim){.countdown = -1};
    return 0;
}

static inline int teardown(void **state)
{
    (void)state;
    empty_dir();
    rmdir(dir);
    return 0;
}

static struct store_report report;

static inline struct store *open_with(struct store_settings settings)
{
    struct store *store = NULL;
    struct error err = {0};

    settings.dir = dir;
    if (store_open(&settings, &store, &report, &err) < 0) {
        fail_msg("%s", err.msg);
    }
    return store;
}

static inline struct store *open_store(void)
{
    /* No copy on its own unless a test wants it: only closing writes it. */
    return open_with((struct store_settings){.copy_delay_ms = 3600 * 1000});
}

static inline void close_store(struct store *store)
{
    struct error err = {0};

    if (store_close(store, PATIENCE_MS, &err) < 0) {
        fail_msg("%s", err.msg);
    }
}

static inline void wait_committed(struct store *store, uint64_t number)
{
    int64_t end_ms = clock_mono_ms() + PATIENCE_MS;

    while (store_committed(store) < number) {
        struct pollfd p = {.fd = store_fd(store), .events = POLLIN};
        assert_true(clock_mono_ms() < end_ms);
        poll(&p, 1, 1000);
    }
}

static inline uint64_t put(struct store *store, int kind, const char *id, const char *body)
{
    struct store_batch *batch = store_batch_new();

    store_batch_put(batch, kind, id, body, strlen(body));
    return store_submit(store, batch);
}

static inline int print_record(int kind, const char *id, const char *body, size_t len,
                               void *userdata)
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

static inline void assert_contents(struct store *store, const char *want)
{
    CLEANUP(freep) char *got = contents(store);

    assert_string_equal(got, want);
}

static inline void print_event(int64_t seq, int64_t time_ms, const char *body, size_t len,
                               void *userdata)
{
    assert_int_equal(strlen(body), len);
    buf_addf(userdata, "%lld@%lld=%s ", (long long)seq, (long long)time_ms, body);
}

static inline void assert_report_has(const char *what)
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

static inline unsigned count_files(const char *prefix)
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

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
