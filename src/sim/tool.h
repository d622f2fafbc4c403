#pragma once
#include "sim/machine.h"

/* tangram-sim: one function per command; argv[0] is the command's name.  Each returns the exit
 * code and prints its own errors. */
int tool_create(int argc, char **argv);
int tool_models(int argc, char **argv);
int tool_show(int argc, char **argv);
int tool_env(int argc, char **argv);
int tool_reboot(int argc, char **argv);
int tool_reset(int argc, char **argv);
int tool_load(int argc, char **argv);
int tool_fault(int argc, char **argv);
int tool_xid(int argc, char **argv);
int tool_lose(int argc, char **argv);
int tool_clear(int argc, char **argv);
int tool_shell(int argc, char **argv);

enum { TOOL_OK = 0, TOOL_FAILED = 1, TOOL_USAGE = 2 };

/* "tangram-sim: message" on standard error. */
int tool_fail(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Where libnvidia-ml.so.1 lies; owned by the caller. */
char *tool_library_dir(void);
/* Opens DIR, or $TANGRAM_SIM when dir is NULL; NULL after printing why not. */
struct sim_machine *tool_open(const char *dir);
/* "0", "GPU-..." (a prefix will do), or -1 after printing. */
int tool_gpu(const struct sim_machine *m, const char *name);
