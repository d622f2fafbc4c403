#include "disk_shim.h"
#include <pthread.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <string.h>

struct disk_shim disk_shim = {.countdown = -1};
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static sqlite3_vfs *under;

struct shim_file {
    sqlite3_file base;
    sqlite3_file *real;
};

#define REAL(f) (((struct shim_file *)(f))->real)

static bool fails(void)
{
    bool is_failing = false;

    pthread_mutex_lock(&lock);
    disk_shim.calls++;
    if (disk_shim.countdown == 0 && disk_shim.times > 0) {
        disk_shim.times--;
        is_failing = true;
    } else if (disk_shim.countdown > 0) {
        disk_shim.countdown--;
    }
    pthread_mutex_unlock(&lock);
    return is_failing;
}

static int shim_close(sqlite3_file *f)
{
    int code = REAL(f)->pMethods->xClose(REAL(f));

    sqlite3_free(REAL(f));
    return code;
}

static int shim_read(sqlite3_file *f, void *data, int len, sqlite3_int64 at)
{
    return REAL(f)->pMethods->xRead(REAL(f), data, len, at);
}

static int shim_write(sqlite3_file *f, const void *data, int len, sqlite3_int64 at)
{
    if (fails()) {
        /* As a full disk does: a part of it arrives. */
        REAL(f)->pMethods->xWrite(REAL(f), data, len / 2, at);
        return disk_shim.code;
    }
    return REAL(f)->pMethods->xWrite(REAL(f), data, len, at);
}

static int shim_truncate(sqlite3_file *f, sqlite3_int64 size)
{
    return fails() ? disk_shim.code : REAL(f)->pMethods->xTruncate(REAL(f), size);
}

static int shim_sync(sqlite3_file *f, int flags)
{
    return fails() ? disk_shim.code : REAL(f)->pMethods->xSync(REAL(f), flags);
}

static int shim_size(sqlite3_file *f, sqlite3_int64 *size)
{
    return REAL(f)->pMethods->xFileSize(REAL(f), size);
}

static int shim_lock(sqlite3_file *f, int level)
{
    return REAL(f)->pMethods->xLock(REAL(f), level);
}

static int shim_unlock(sqlite3_file *f, int level)
{
    return REAL(f)->pMethods->xUnlock(REAL(f), level);
}

static int shim_check_lock(sqlite3_file *f, int *ret)
{
    return REAL(f)->pMethods->xCheckReservedLock(REAL(f), ret);
}

static int shim_control(sqlite3_file *f, int op, void *arg)
{
    return REAL(f)->pMethods->xFileControl(REAL(f), op, arg);
}

static int shim_sector(sqlite3_file *f)
{
    return REAL(f)->pMethods->xSectorSize(REAL(f));
}

static int shim_characteristics(sqlite3_file *f)
{
    return REAL(f)->pMethods->xDeviceCharacteristics(REAL(f));
}

static int shim_shm_map(sqlite3_file *f, int page, int size, int extend, void volatile **ret)
{
    return REAL(f)->pMethods->xShmMap(REAL(f), page, size, extend, ret);
}

static int shim_shm_lock(sqlite3_file *f, int at, int n, int flags)
{
    return REAL(f)->pMethods->xShmLock(REAL(f), at, n, flags);
}

static void shim_shm_barrier(sqlite3_file *f)
{
    REAL(f)->pMethods->xShmBarrier(REAL(f));
}

static int shim_shm_unmap(sqlite3_file *f, int delete)
{
    return REAL(f)->pMethods->xShmUnmap(REAL(f), delete);
}

static const sqlite3_io_methods methods = {
    .iVersion = 2,
    .xClose = shim_close,
    .xRead = shim_read,
    .xWrite = shim_write,
    .xTruncate = shim_truncate,
    .xSync = shim_sync,
    .xFileSize = shim_size,
    .xLock = shim_lock,
    .xUnlock = shim_unlock,
    .xCheckReservedLock = shim_check_lock,
    .xFileControl = shim_control,
    .xSectorSize = shim_sector,
    .xDeviceCharacteristics = shim_characteristics,
    .xShmMap = shim_shm_map,
    .xShmLock = shim_shm_lock,
    .xShmBarrier = shim_shm_barrier,
    .xShmUnmap = shim_shm_unmap,
};

static int shim_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *f, int flags, int *ret_flags)
{
    struct shim_file *file = (struct shim_file *)f;
    int code;

    (void)vfs;
    file->base.pMethods = NULL;
    file->real = sqlite3_malloc(under->szOsFile);
    memset(file->real, 0, (size_t)under->szOsFile);
    code = under->xOpen(under, name, file->real, flags, ret_flags);
    if (code == SQLITE_OK) {
        file->base.pMethods = &methods;
    } else {
        sqlite3_free(file->real);
    }
    return code;
}

void disk_shim_register(void)
{
    static sqlite3_vfs shim;

    under = sqlite3_vfs_find(NULL);
    shim = *under;
    shim.pNext = NULL;
    shim.zName = "shim";
    shim.szOsFile = sizeof(struct shim_file);
    shim.xOpen = shim_open;
    sqlite3_vfs_register(&shim, 0);
}
