#include "base/clock.h"
#include "base/cleanup.h"
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define JUMP_LEAST_MS 2000

static int64_t read_ns(clockid_t id)
{
    struct timespec t = {0};

    clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int64_t clock_real_ms(void)
{
    return read_ns(CLOCK_REALTIME) / 1000000;
}

int64_t clock_mono_ms(void)
{
    return read_ns(CLOCK_MONOTONIC) / 1000000;
}

int64_t clock_mono_ns(void)
{
    return read_ns(CLOCK_MONOTONIC);
}

int64_t clock_boot_ms(void)
{
    return read_ns(CLOCK_BOOTTIME) / 1000000;
}

void clock_mark_now(struct clock_mark *ret)
{
    CLEANUP(closep) int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, ret->boot_id, sizeof(ret->boot_id) - 1);

    ret->boot_id[n > 0 ? n : 0] = '\0';
    ret->boot_id[strcspn(ret->boot_id, "\n")] = '\0';
    ret->real_ms = clock_real_ms();
    ret->boot_ms = clock_boot_ms();
}

int64_t clock_jump_ms(const struct clock_mark *then, const struct clock_mark *now,
                      int64_t latest_ms)
{
    int64_t jump_ms = 0;

    if (then->boot_id[0] && !strcmp(then->boot_id, now->boot_id)) {
        jump_ms = (now->real_ms - now->boot_ms) - (then->real_ms - then->boot_ms);
    } else {
        int64_t shown_ms = latest_ms > then->real_ms ? latest_ms : then->real_ms;
        jump_ms = now->real_ms < shown_ms ? now->real_ms - shown_ms : 0;
    }
    return jump_ms > -JUMP_LEAST_MS && jump_ms < JUMP_LEAST_MS ? 0 : jump_ms;
}
