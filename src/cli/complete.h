#pragma once
#include "cli/cli.h"

/* What could stand where the cursor is, for the shells' completion scripts.
 *
 * `words` are those after the program's name as they stand on the line, the last one the one that
 * is being typed (maybe empty).  Prints a line "WORD<tab>description" for each candidate that
 * begins like it, or one line that tells the shell to do it: ":files", or ":command N" when the
 * words from the Nth (from 0) on are another program's command line.  Never says anything on
 * standard error: without a daemon there are just fewer candidates. */
void complete_print(struct cli *cli, const char *const *words, size_t count);
