#pragma once
#include "base/buf.h"

struct cli;

/* Appends what the lease's last sample says, in words; nothing when there is none.  After a request
 * that went well. */
void usage_of_lease(struct cli *cli, const char *id, struct buf *ret);
