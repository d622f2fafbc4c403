#pragma once
#include <stdint.h>

/* Wall clock, milliseconds since 1970 (what the journal and people see). */
int64_t clock_real_ms(void);
/* Monotonic clocks, for intervals. */
int64_t clock_mono_ms(void);
int64_t clock_mono_ns(void);
/* Since boot, sleep included. */
int64_t clock_boot_ms(void);

/* Wall clock and boot clock at one moment. */
struct clock_mark {
    char boot_id[40]; /* of that boot; "" unknown */
    int64_t real_ms, boot_ms;
};
void clock_mark_now(struct clock_mark *ret);
/* By how much the wall clock was set between `then` and `now` (positive: ahead), as far as it can
 * be told: exactly within one boot; across a restart of the machine only that it was set back, when
 * it shows less than `latest_ms`, a time that it has shown before.  Less than two seconds, by which
 * a clock is steered all the time, is 0. */
int64_t clock_jump_ms(const struct clock_mark *then, const struct clock_mark *now,
                      int64_t latest_ms);
