/* How much slower is a durable commit than the disk itself?
 *
 * In turns, so that both meet the same disk: (a) one pwrite and fdatasync of as many bytes as a
 * commit writes, over a file that already has its size; (b) one commit of two small records and an
 * event, from store_submit() until the loop has seen it.  Prints percentiles and their ratio.
 *
 *     bench_store [DIR [COMMITS]] */
#include "base/clock.h"
#include "store/store.h"
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define RAW_FILE_BYTES (4 * 1024 * 1024)

static int by_size(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return x < y ? -1 : x > y;
}

static double percentile_us(int64_t *ns, int count, double p)
{
    return (double)ns[(int)((count - 1) * p)] / 1e3;
}

static int64_t raw_ns(int fd, size_t bytes)
{
    static char data[64 * 1024];
    static off_t at;
    int64_t start_ns = clock_mono_ns();

    if (at + (off_t)bytes > RAW_FILE_BYTES) {
        at = 0;
    }
    data[at % 1000]++;
    if (pwrite(fd, data, bytes, at) < 0 || fdatasync(fd) < 0) {
        perror("raw file");
        exit(1);
    }
    at += (off_t)bytes;
    return clock_mono_ns() - start_ns;
}

static int64_t commit_ns(struct store *store, int i)
{
    static const char body[] =
        "{\"state\":\"active\",\"profile\":\"2g.20gb\",\"tenant\":\"vision\",\"gpu\":"
        "\"GPU-01234567-89ab-cdef-0123-456789abcdef\",\"start\":4,\"size\":2,\"created_ms\":"
        "1766000000000,\"granted_ms\":1766000000131,\"labels\":{\"job\":\"training-run-17\"}}";
    struct store_batch *batch = store_batch_new();
    char id[32];
    int64_t start_ns = clock_mono_ns();

    snprintf(id, sizeof(id), "l-%d", i % 200);
    store_batch_put(batch, 1, id, body, sizeof(body) - 1);
    snprintf(id, sizeof(id), "s-%d", i % 56);
    store_batch_put(batch, 2, id, body, sizeof(body) - 1);
    store_batch_event(batch, store_last_event(store) + 1 + i, i, body, sizeof(body) - 1);
    uint64_t number = store_submit(store, batch);
    while (store_committed(store) < number) {
        struct pollfd p = {.fd = store_fd(store), .events = POLLIN};
        poll(&p, 1, 1000);
    }
    return clock_mono_ns() - start_ns;
}

static size_t log_bytes(const char *dir)
{
    CLEANUP(freep) char *path = xasprintf("%s/tangram.db-wal", dir);
    struct stat st;

    return stat(path, &st) == 0 ? (size_t)st.st_size : 0;
}

static void print_row(const char *name, int64_t *ns, int count)
{
    qsort(ns, (size_t)count, sizeof(*ns), by_size);
    printf("%-28s p50 %8.1f us   p90 %8.1f us   p99 %8.1f us   max %8.1f us\n", name,
           percentile_us(ns, count, 0.5), percentile_us(ns, count, 0.9),
           percentile_us(ns, count, 0.99), percentile_us(ns, count, 1));
}

static void remove_made(const char *dir)
{
    static const char *const names[] = {"tangram.db", "tangram.db.copy", "tangram.lock"};

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        CLEANUP(freep) char *path = xasprintf("%s/%s", dir, names[i]);
        unlink(path);
    }
    rmdir(dir);
}

int main(int argc, char **argv)
{
    char made[] = "/var/tmp/tangram-bench-XXXXXX";
    const char *dir = argc > 1 ? argv[1] : mkdtemp(made);
    int count = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 3000;
    CLEANUP(freep) char *raw_path = xasprintf("%s/raw", dir);
    CLEANUP(freep) char *zero = xcalloc(1, RAW_FILE_BYTES);
    struct store_settings settings = {.dir = dir};
    struct store *store = NULL;
    struct error err = {0};

    if (!dir || count < 100 || store_open(&settings, &store, NULL, &err) < 0) {
        fprintf(stderr, "bench_store: %s\n", err.code ? err.msg : "bad arguments");
        return 1;
    }
    CLEANUP(closep) int fd = open(raw_path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || pwrite(fd, zero, RAW_FILE_BYTES, 0) < 0 || fsync(fd) < 0) {
        perror(raw_path);
        return 1;
    }
    /* What a commit writes, measured on the first hundred. */
    for (int i = 0; i < 100; i++) {
        commit_ns(store, i);
    }
    size_t bytes = log_bytes(dir) / 101;
    CLEANUP(freep) int64_t *raw = xcalloc((size_t)count, sizeof(*raw));
    CLEANUP(freep) int64_t *commit = xcalloc((size_t)count, sizeof(*commit));
    for (int i = 0; i < count; i++) {
        raw[i] = raw_ns(fd, bytes);
        commit[i] = commit_ns(store, 100 + i);
    }
    printf("%d commits in %s, %zu bytes each\n", count, dir, bytes);
    print_row("write + fdatasync", raw, count);
    print_row("store commit", commit, count);
    printf("ratio commit / fdatasync     p50 %.2f   p99 %.2f   (goal: p99 <= 2)\n",
           percentile_us(commit, count, 0.5) / percentile_us(raw, count, 0.5),
           percentile_us(commit, count, 0.99) / percentile_us(raw, count, 0.99));
    int r = store_close(store, 5000, &err);
    unlink(raw_path);
    if (argc <= 1) {
        remove_made(dir);
    }
    return r < 0;
}
