/* What is promised was given to the disk before: the order of syncs, renames and promises, seen
 * between the store and the C library. */
#include "store_world.h"
#include <pthread.h>
#include <sys/syscall.h>

#define DEEDS_MAX 4096

/* "sync tangram.db-wal", "rename tangram.db.copy.new", ... in the order in which they were done. */
static char deeds[DEEDS_MAX][48];
static unsigned deed_count;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void note(const char *what, const char *path)
{
    const char *slash = strrchr(path, '/');

    pthread_mutex_lock(&lock);
    if (deed_count < DEEDS_MAX) {
        snprintf(deeds[deed_count++], sizeof(deeds[0]), "%s %.40s", what, slash ? slash + 1 : path);
    }
    pthread_mutex_unlock(&lock);
}

static int sync_fd(int fd, long call)
{
    char link[64], path[256] = "";

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    if (readlink(link, path, sizeof(path) - 1) < 0) {
        path[0] = '\0';
    }
    int r = (int)syscall(call, fd);
    note("sync", path);
    return r;
}

/* These stand before libc's. */
int fdatasync(int fd)
{
    return sync_fd(fd, SYS_fdatasync);
}

int fsync(int fd)
{
    return sync_fd(fd, SYS_fsync);
}

int rename(const char *from, const char *to)
{
    int r = renameat(AT_FDCWD, from, AT_FDCWD, to);

    note("rename", from);
    return r;
}

static unsigned count_deeds(const char *what)
{
    unsigned count = 0;

    pthread_mutex_lock(&lock);
    for (unsigned i = 0; i < deed_count; i++) {
        count += !strcmp(deeds[i], what);
    }
    pthread_mutex_unlock(&lock);
    return count;
}

/* Index of the first such deed from `from` on. */
static unsigned find_deed(const char *what, unsigned from)
{
    for (unsigned i = from; i < deed_count; i++) {
        if (!strcmp(deeds[i], what)) {
            return i;
        }
    }
    fail_msg("never again: %s", what);
    return 0;
}

static void a_commit_is_on_the_disk_when_it_is_told(void **state)
{
    struct store *store = open_store();

    (void)state;
    for (int i = 0; i < 20; i++) {
        unsigned before = count_deeds("sync " STORE_FILE "-wal");
        wait_committed(store, put(store, 1, "id", "body"));
        assert_true(count_deeds("sync " STORE_FILE "-wal") > before);
    }
    close_store(store);
}

static void the_copy_takes_its_place_whole(void **state)
{
    const char *folder = strrchr(dir, '/') + 1;
    char sync_folder[64];
    struct store *store = open_store();

    (void)state;
    wait_committed(store, put(store, 1, "id", "body"));
    deed_count = 0;
    close_store(store);
    snprintf(sync_folder, sizeof(sync_folder), "sync %s", folder);
    unsigned written = find_deed("sync " STORE_FILE ".copy.new", 0);
    unsigned named = find_deed("rename " STORE_FILE ".copy.new", written);
    find_deed(sync_folder, named);
}

/* As the copy, and what was there is moved aside before. */
static void a_repaired_journal_takes_its_place_whole(void **state)
{
    struct store *store = open_store();
    char path[160], sync_folder[64];

    (void)state;
    wait_committed(store, put(store, 1, "id", "body"));
    close_store(store);
    path_of(path, STORE_FILE);
    assert_int_equal(truncate(path, 100), 0);
    deed_count = 0;
    store = open_store();
    assert_true(report.is_damaged);
    assert_contents(store, "1/id=body ");
    snprintf(sync_folder, sizeof(sync_folder), "sync %s", strrchr(dir, '/') + 1);
    unsigned written = find_deed("sync " STORE_FILE ".draft", 0);
    unsigned drafted = find_deed("rename " STORE_FILE ".draft", written);
    unsigned aside = find_deed("rename " STORE_FILE, drafted);
    unsigned named = find_deed("rename " STORE_FILE ".new", aside);
    find_deed(sync_folder, named);
    close_store(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_commit_is_on_the_disk_when_it_is_told),
        T(the_copy_takes_its_place_whole),
        T(a_repaired_journal_takes_its_place_whole),
    };

    log_set_level(LOG_LEVEL_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
