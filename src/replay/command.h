#pragma once
#include "base/error.h"

/* The sub-commands of tangram-replay; each gets its own argv (argv[0] is its name) and returns the
 * exit status. */
int replay_command_run(int argc, char **argv);
int replay_command_online(int argc, char **argv);
int replay_command_pack(int argc, char **argv);
int replay_command_bench(int argc, char **argv);

/* Says what was wrong and returns the exit status for it (2 for -EINVAL, else 1). */
int replay_fail(const struct error *err);
