#pragma once
#include "cli/cli.h"

/* What apply and diff share: a mig-parted file and the difference that the daemon answers with. */

/* Reads the file of -f and asks for it: PUT /v1/layout.  0 with the 2xx answer; an exit status
 * after saying what is wrong, with line and column of the file where the daemon names the place.
 * With `may_conflict` a refusal because of slices in use is given back as an answer too, its status
 * in *ret_status. */
int layout_put(struct cli *cli, bool is_dry_run, bool may_conflict, int *ret_status, json_t **ret);

/* What changes on each GPU, for people; false when nothing does. */
bool layout_print_changes(const struct out *out, const json_t *answer, bool shows_kept);
