/* The journal's second copy, when the journal itself is lost: whatever it holds, the store opens,
 * and gives back only what the checksums allow. */
#include "base/cleanup.h"
#include "fuzz.h"
#include "store/store.h"
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int check_record(int kind, const char *id, const char *body, size_t len, void *userdata)
{
    (void)userdata;
    if (kind < 0 || kind > 999 || !*id || strlen(body) > len) {
        abort();
    }
    return 0;
}

static void empty_dir(const char *path)
{
    DIR *d = opendir(path);

    for (struct dirent *e = NULL; d && (e = readdir(d));) {
        char name[600];
        snprintf(name, sizeof(name), "%s/%s", path, e->d_name);
        unlink(name);
    }
    if (d) {
        closedir(d);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct store_report report;
    char dir[64], name[96];
    struct store *store = NULL;
    struct error err = {0};

    /* In memory where that is possible: the store syncs. */
    snprintf(dir, sizeof(dir), "%s/tangram-fuzz-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (!mkdtemp(dir)) {
        abort();
    }
    snprintf(name, sizeof(name), "%s/tangram.db.copy", dir);
    int fd = open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size) {
        abort();
    }
    closep(&fd);
    if (store_open(&(struct store_settings){.dir = dir}, &store, &report, &err) == 0) {
        if (store_load(store, check_record, NULL, &err) < 0) {
            abort();
        }
        store_close(store, 1000, &err);
    } else if (!err.msg[0]) {
        abort();
    }
    empty_dir(dir);
    rmdir(dir);
    return 0;
}
