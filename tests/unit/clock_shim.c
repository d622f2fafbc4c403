/* Loaded before a program, it shows another wall clock: CLOCK_SHIM_S seconds ahead (or, negative,
 * behind), or as many as the file CLOCK_SHIM_FILE says at that moment.  CLOCK_SHIM_BOOT_FILE does
 * the same for the time since the boot, which never goes back.  Nothing else is touched, so that
 * timers run as always. */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static long read_seconds(const char *path)
{
    char text[32] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);

    if (fd >= 0) {
        close(fd);
    }
    return n > 0 ? strtol(text, NULL, 10) : 0;
}

__attribute__((visibility("default"))) int clock_gettime(clockid_t id, struct timespec *ret)
{
    const char *seconds = getenv("CLOCK_SHIM_S"), *file = getenv("CLOCK_SHIM_FILE");
    const char *boot_file = getenv("CLOCK_SHIM_BOOT_FILE");
    int r = (int)syscall(SYS_clock_gettime, id, ret);

    if (r == 0 && seconds && id == CLOCK_REALTIME) {
        ret->tv_sec += strtol(seconds, NULL, 10);
    }
    if (r == 0 && file && id == CLOCK_REALTIME) {
        ret->tv_sec += read_seconds(file);
    }
    if (r == 0 && boot_file && id == CLOCK_BOOTTIME) {
        ret->tv_sec += read_seconds(boot_file);
    }
    return r;
}
