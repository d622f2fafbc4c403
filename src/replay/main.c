/* tangram-replay: traces, protocols and bounds against the code that the daemon runs. */
#include "base/buf.h"
#include "base/text.h"
#include "replay/command.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help;
} commands[] = {
    {"run", replay_command_run, "a trace in simulated time"},
    {"online", replay_command_online, "acceptance of a policy under the online protocol"},
    {"pack", replay_command_pack, "the least number of GPUs for a set of slices"},
    {"bench", replay_command_bench, "decisions per second against the number of GPUs"},
};

static int usage(FILE *to)
{
    fputs("usage: tangram-replay COMMAND [OPTION...]\n", to);
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        fprintf(to, "  %-8s %s\n", commands[i].name, commands[i].help);
    }
    fputs("tangram-replay COMMAND --help says more.\n", to);
    return to == stdout ? 0 : 2;
}

int replay_fail(const struct error *err)
{
    /* It may quote what stood in a file. */
    CLEANUP(buf_done) struct buf text = BUF_INIT(8 * sizeof(err->msg));

    text_add_escaped(&text, err->msg);
    fprintf(stderr, "tangram-replay: %s\n", text.data ? text.data : "");
    return err->code == EINVAL || err->code == ERANGE ? 2 : 1;
}

/* Results that could not be written are no success. */
static int said_all(int status)
{
    if ((fflush(stdout) != 0 || ferror(stdout)) && status == 0) {
        fprintf(stderr, "tangram-replay: cannot write the results: %s\n", strerror(errno));
        return 1;
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
        puts("tangram-replay " TANGRAM_VERSION);
        return 0;
    }
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        if (strcmp(argv[1], commands[i].name) == 0) {
            return said_all(commands[i].run(argc - 1, argv + 1));
        }
    }
    fprintf(stderr, "tangram-replay: no command \"%.40s\"\n", argv[1]);
    return usage(stderr);
}
