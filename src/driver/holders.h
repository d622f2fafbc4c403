#pragma once
#include "driver/driver.h"

/* Processes that have a device node of the GPU instance open; at most max of them.  driver_proc is
 * "/proc", where the driver's own files are looked for.  Walks all processes: not for the loop. */
uint32_t holders_find(const char *driver_proc, uint32_t gpu_minor, uint32_t gi_id, uint32_t *pids,
                      uint32_t max);
