#pragma once
#include "cli/out.h"

/* A GPU as a picture: its compute slots over its memory slots, every slice over the cells it
 * occupies.  For any number of slots; fits out->width (from 40 columns on).
 *
 * `leases` is the list of live leases (borrowed): the names of tenants are found there when a
 * slice does not say them. */
void picture_add_gpu(const struct out *out, const json_t *gpu, const json_t *leases, struct buf *b);

/* The same on one line (and one more for each thing that is wrong), without a title. */
void picture_add_row(const struct out *out, const json_t *gpu, const json_t *leases, struct buf *b);

/* What the fillings mean; one line. */
void picture_add_legend(const struct out *out, struct buf *b);
