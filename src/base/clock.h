#pragma once
#include <stdint.h>

/* Wall clock, milliseconds since 1970 (what the journal and people see). */
int64_t clock_real_ms(void);
/* Monotonic clocks, for intervals. */
int64_t clock_mono_ms(void);
int64_t clock_mono_ns(void);
