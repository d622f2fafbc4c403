#pragma once
#include "cli/cli.h"
#include <sys/types.h>

/* `tangram run --on-move`: a process that answers when the lease is asked to move, for as long as
 * the command lives.  0 when the option was not given, or no process could be had
 * (which is said). */
pid_t mover_start(struct cli *cli, const char *lease, pid_t command);
/* Ends it, and a hook that is running. */
void mover_stop(pid_t mover);
