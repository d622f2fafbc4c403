#pragma once
#include "base/cleanup.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

/* Subordinate user ids: whoever has some (on Debian everybody, 65,536 each) can be any of them,
 * with newuidmap or a rootless container.  They are not so many users.
 *
 * Those that belong to root are left out: under them are containers of which nobody knows whose
 * they are.
 *
 * Threads: what one table is used for is one thread's affair. */

#define SUBUID_PATH "/etc/subuid"

struct subuid_range {
    uid_t first;
    uint32_t count;
    char *owner; /* as in the file: a name, or a number */
};

struct subuid {
    struct subuid_range *ranges;
    unsigned count;
    struct stat read; /* what the file was when it was read */
};

/* Reads the file again if it has changed.  One that cannot be read gives no ranges, a line that is
 * not understood none. */
void subuid_refresh(struct subuid *s, const char *path);
void subuid_done(struct subuid *s);
/* The range that the user id is in; NULL: none. */
const struct subuid_range *subuid_find(const struct subuid *s, uid_t uid);
