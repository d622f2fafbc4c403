#include "sim/tool.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

int tool_fail(int code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fputs("tangram-sim: ", stderr);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    return code;
}

struct sim_machine *tool_open(const char *dir)
{
    struct sim_machine *m = NULL;
    struct error err = {0};
    if (!dir) {
        dir = getenv("TANGRAM_SIM");
    }
    if (!dir) {
        tool_fail(TOOL_USAGE, "which machine? name its directory or set TANGRAM_SIM");
    } else if (sim_machine_open(dir, &m, &err) < 0) {
        tool_fail(TOOL_FAILED, "%s", err.msg);
    }
    return m;
}

int tool_gpu(const struct sim_machine *m, const char *name)
{
    char *end = NULL;
    long index = strtol(name, &end, 10);
    if (*name && !*end && index >= 0 && index < (long)m->file->gpu_count) {
        return (int)index;
    }
    for (uint32_t i = 0; strlen(name) >= 8 && i < m->file->gpu_count; i++) {
        if (strncasecmp(m->file->gpus[i].uuid, name, strlen(name)) == 0) {
            return (int)i;
        }
    }
    tool_fail(TOOL_FAILED, "no GPU '%s' in %s", name, m->dir);
    return -1;
}

static const struct {
    const char *name, *usage;
    int words; /* that it takes at most; -1: it has options, and looks for itself */
    int (*run)(int argc, char **argv);
} commands[] = {
    {"create",
     "DIR --gpu MODEL[:N] ... [--driver-version V] [--seed N] [--latency none|typical|SPEC] "
     "[--flipped]; or --check instead of DIR",
     -1, tool_create},
    {"models", "[-o json]", -1, tool_models},
    {"show", "DIR [-o json]", -1, tool_show},
    {"env", "DIR", 1, tool_env},
    {"reboot", "DIR", 1, tool_reboot},
    {"reset", "DIR GPU", 2, tool_reset},
    {"load", "[--machine DIR] --device UUID [--sm PCT] [--memory SIZE] [--for D] [--graphics]", -1,
     tool_load},
    {"fault",
     "DIR --call NAME [--return CODE] [--after N] [--times N] [--hang D|forever] [--gpu GPU]", -1,
     tool_fault},
    {"xid", "DIR --gpu GPU --code N [--gi N] [--ci N]", -1, tool_xid},
    {"lose", "DIR GPU", 2, tool_lose},
    {"clear", "DIR", 1, tool_clear},
    {"shell", "DIR [-- CMD ...]", -1, tool_shell},
};

static int usage(FILE *to)
{
    fputs("tangram-sim makes and disturbs simulated machines with MIG GPUs.\n\n", to);
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        fprintf(to, "  tangram-sim %s %s\n", commands[i].name, commands[i].usage);
    }
    fputs("\nA client sees the machine through libnvidia-ml.so.1 with TANGRAM_SIM=DIR; "
          "`tangram-sim env DIR` prints what to set.\n",
          to);
    return to == stdout ? TOOL_OK : TOOL_USAGE;
}

/* What could not be written is no success. */
static int said_all(int status)
{
    if ((fflush(stdout) != 0 || ferror(stdout)) && status == TOOL_OK) {
        return tool_fail(TOOL_FAILED, "cannot write the output: %s", strerror(errno));
    }
    return status;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        return usage(stderr);
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        return usage(stdout);
    }
    if (strcmp(argv[1], "--version") == 0) {
        puts("tangram-sim " TANGRAM_VERSION);
        return TOOL_OK;
    }
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        if (strcmp(commands[i].name, argv[1]) == 0) {
            if (argc > 2 && strcmp(argv[2], "--help") == 0) {
                printf("usage: tangram-sim %s %s\n", commands[i].name, commands[i].usage);
                return TOOL_OK;
            }
            if (commands[i].words >= 0 && argc - 2 > commands[i].words) {
                return tool_fail(TOOL_USAGE, "%s takes %s, and no more", commands[i].name,
                                 commands[i].usage);
            }
            return said_all(commands[i].run(argc - 1, argv + 1));
        }
    }
    tool_fail(TOOL_USAGE, "no command '%s'", argv[1]);
    return usage(stderr);
}
