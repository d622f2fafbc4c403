/* Looks at SQLite's write-ahead log before SQLite does, and gives it room.
 *
 * SQLite reads the log up to the first frame that is wrong and forgets the rest: right after a
 * power failure in the midst of a write, but silent when a bit flipped in the middle of it.  Frames
 * of the present log carry its two salt numbers, left-over ones of earlier rounds carry others; so
 * frames with the present salts behind a wrong one were written, and will not be read.
 *
 * The format is documented at sqlite.org/fileformat2.html, section 4.  Zeros behind the last frame
 * are no frames, since their salts are wrong: SQLite reads up to them and writes over them. */
#include "base/tree.h"
#include "store/internal.h"
#include <fcntl.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <unistd.h>

#define WAL_HEAD_BYTES 32
#define FRAME_HEAD_BYTES 24
#define WAL_MAX_BYTES ((size_t)512 * 1024 * 1024)
#define FILL_PAGE_BYTES 4096
#define FILL_STEP_PAGES 128
#define FILL_FREE_TIMES 32
#define AHEAD_BYTES ((off_t)64 * 1024)

static uint32_t get_be32(const char *p)
{
    const unsigned char *u = (const unsigned char *)p;

    return (uint32_t)u[0] << 24 | (uint32_t)u[1] << 16 | (uint32_t)u[2] << 8 | u[3];
}

static uint32_t get_le32(const char *p)
{
    const unsigned char *u = (const unsigned char *)p;

    return (uint32_t)u[3] << 24 | (uint32_t)u[2] << 16 | (uint32_t)u[1] << 8 | u[0];
}

struct sum {
    uint32_t a, b;
    bool is_big_endian;
};

/* len is a multiple of 8. */
static void sum_add(struct sum *sum, const char *data, size_t len)
{
    for (size_t i = 0; i < len; i += 8) {
        uint32_t x = sum->is_big_endian ? get_be32(data + i) : get_le32(data + i);
        uint32_t y = sum->is_big_endian ? get_be32(data + i + 4) : get_le32(data + i + 4);
        sum->a += x + sum->b;
        sum->b += y + sum->a;
    }
}

static bool sum_is(const struct sum *sum, const char *stored)
{
    return sum->a == get_be32(stored) && sum->b == get_be32(stored + 4);
}

/* Frames that were written and will not be read. */
static void count_frames(const char *log, size_t len, size_t page, struct sum sum,
                         struct wal_state *ret)
{
    size_t frame_bytes = FRAME_HEAD_BYTES + page;
    bool is_good = true;

    for (size_t at = WAL_HEAD_BYTES; at + frame_bytes <= len; at += frame_bytes) {
        const char *frame = log + at;
        bool is_present = memcmp(frame + 8, log + 16, 8) == 0;
        if (is_good) {
            sum_add(&sum, frame, 8);
            sum_add(&sum, frame + FRAME_HEAD_BYTES, page);
        }
        if (is_good && !(is_present && sum_is(&sum, frame + 16))) {
            is_good = false;
            ret->is_torn = is_present;
        } else if (!is_good && is_present) {
            ret->unread_frames++;
        }
    }
}

int wal_examine(const char *path, struct wal_state *ret, struct error *err)
{
    CLEANUP(freep) char *log = NULL;
    struct sum sum = {0};
    size_t len = 0, page;
    int r = tree_read_file(path, WAL_MAX_BYTES, &log, &len, err);

    *ret = (struct wal_state){0};
    if (r < 0) {
        return r == -ENOENT ? 0 : r;
    }
    if (len <= WAL_HEAD_BYTES) {
        return 0;
    }
    page = get_be32(log + 8);
    sum.is_big_endian = get_be32(log) & 1;
    sum_add(&sum, log, 24);
    if ((get_be32(log) | 1) != 0x377f0683 || page < 512 || page > 65536 ||
        (page & (page - 1)) != 0 || !sum_is(&sum, log + 24)) {
        ret->has_bad_head = true;
        return 0;
    }
    count_frames(log, len, page, sum, ret);
    return 0;
}

/* Room that nobody else on the disk will miss. */
static bool is_room_plenty(int fd, int64_t bytes)
{
    struct statvfs disk;

    return fstatvfs(fd, &disk) == 0 &&
           (int64_t)(disk.f_bavail / FILL_FREE_TIMES) > bytes / (int64_t)disk.f_frsize;
}

int wal_fill(const char *path, int64_t bytes, bool *ret_is_done, struct error *err)
{
    static const char zeros[FILL_PAGE_BYTES];
    struct iovec step[FILL_STEP_PAGES];
    CLEANUP(closep) int fd = open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    off_t at = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);

    if (at < 0) {
        return err_set(err, errno, "cannot open %s: %s", path, strerror(errno));
    }
    bool is_done = at >= bytes || !is_room_plenty(fd, bytes);
    /* One page many times: as large a buffer would stay in the process's heap. */
    for (int i = 0; i < FILL_STEP_PAGES; i++) {
        step[i] = (struct iovec){(void *)(uintptr_t)zeros, sizeof(zeros)};
    }
    if (!is_done && (pwritev(fd, step, FILL_STEP_PAGES, at) < 0 || fdatasync(fd) < 0)) {
        return err_set(err, errno, "cannot fill %s: %s", path, strerror(errno));
    }
    *ret_is_done = is_done;
    return 0;
}

/* Frames do not begin where pages of the system's cache do: a write of one changes the cached page
 * in part, and what is not cached is read from the disk first, a page at a time. */
void wal_read_ahead(int fd, int pages)
{
    off_t at = WAL_HEAD_BYTES + (off_t)pages * (FRAME_HEAD_BYTES + FILL_PAGE_BYTES);

    if (fd >= 0) {
        (void)posix_fadvise(fd, at, AHEAD_BYTES, POSIX_FADV_WILLNEED);
    }
}
