#pragma once
#include "cli/cli.h"

/* The slices that stand in the way, as a table for people. */
void blocking_print(const struct out *out, const json_t *blocking);
