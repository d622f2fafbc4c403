#pragma once
#include <stddef.h>
#include <sys/types.h>

/* What /proc shows of the processes of this machine, for `doctor`.  Only what this user may see. */

struct proc_holder {
    pid_t pid;
    char name[32];
    char device[32]; /* "nvidia0" */
};

/* Programs that have a GPU (/dev/nvidiaN) open, tangramd apart: as long as they do, the driver does
 * not change the GPU's MIG mode.  One entry for each program and GPU; at most `max`. */
size_t procs_find_holders(const char *proc, struct proc_holder *ret, size_t max);

/* The first tangramd that runs, 0 when none does; its --socket, "" when it was given none. */
pid_t procs_find_daemon(const char *proc, char *ret_socket, size_t size);
