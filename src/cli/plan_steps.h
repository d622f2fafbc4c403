#pragma once
#include "cli/cli.h"

/* Of an answer to POST /v1/plan: who would be asked to move, and all of it step by step. */
void plan_print_moves(const struct out *out, const json_t *plan);
void plan_print_steps(const json_t *plan);
