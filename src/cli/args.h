#pragma once
#include "base/error.h"
#include <stdbool.h>
#include <stddef.h>

/* The one table of commands and options (commands.c).  Parsing, --help, shell completion and the
 * option lists of the man page are all made from it. */

struct cli;

enum cli_opt {
    OPT_END, /* ends a command's list */
    OPT_SOCKET,
    OPT_COLOR,
    OPT_ASCII,
    OPT_HELP,
    OPT_VERSION,
    OPT_OUTPUT,
    OPT_ONE_OUTPUT, /* the same name, for what is no list and has no CSV */
    OPT_NO_HEADER,
    OPT_WATCH,
    OPT_COMPACT,
    OPT_PROFILE,
    OPT_COUNT_N,
    OPT_WAIT,
    OPT_TTL,
    OPT_MODEL,
    OPT_NAME,
    OPT_PRIORITY,
    OPT_MOVABLE,
    OPT_ON_MOVE,
    OPT_CONFIRM,
    OPT_REFUSE,
    OPT_LABEL,
    OPT_ENV,
    OPT_FILE,
    OPT_CONFIG,
    OPT_DRY_RUN,
    OPT_EXPLAIN,
    OPT_ALL,
    OPT_TENANT,
    OPT_STATE,
    OPT_FOLLOW,
    OPT_AFTER,
    OPT_LIMIT,
    OPT_ROLE,
    OPT_BY,
    OPT_SINCE,
    OPT_UNTIL,
    OPT_ONLY_PROFILE,
    OPT_ADVICE,
    OPT_SCDOC,
    OPT_COUNT
};

/* What a shell may offer for a value or an argument. */
enum cli_hint {
    HINT_NONE,
    HINT_FILE,
    HINT_COMMAND, /* a program and its arguments */
    HINT_WORDS,   /* `words` */
    HINT_PROFILES,
    HINT_LEASES,
    HINT_SLICES,
    HINT_MODELS,
    HINT_TENANTS,
    HINT_COMMANDS /* tangram's own */
};

struct cli_option {
    enum cli_opt id;
    char letter;      /* 0: none */
    const char *name; /* without the dashes */
    const char *arg;  /* what the value is called; NULL: a switch */
    const char *help;
    enum cli_hint hint;
    const char *words;
    bool is_global; /* may also stand before the command */
    bool is_hidden;
};

struct cli_command {
    const char *name;
    const char *args;    /* as shown in the usage line */
    const char *summary; /* one line */
    const char *about;   /* a paragraph or two for --help and the man page; may be NULL */
    const enum cli_opt *options; /* ends with OPT_END */
    int min_args, max_args;      /* -1: any number */
    enum cli_hint hint;
    const char *words;
    bool stops_at_arg; /* the first argument ends the options: what follows is another's */
    int (*run)(struct cli *cli);
};

extern const struct cli_option cli_options[];
extern const size_t cli_option_count;
extern const struct cli_command cli_commands[];
extern const size_t cli_command_count;

struct cli_given {
    enum cli_opt id;
    const char *value;
};

/* A parsed command line.  The strings are argv's. */
struct cli_args {
    const struct cli_command *command; /* NULL when there is none on the line */
    struct cli_given *given;
    size_t given_count;
    const char **args;
    size_t arg_count;
};

void cli_args_done(struct cli_args *a);

/* -EINVAL with one line that says what is wrong; a->command tells how far it came. */
int cli_args_parse(struct cli_args *a, int argc, char **argv, struct error *err);
/* Has the command the right number of arguments? Apart, so that --help always works. */
int cli_args_check(const struct cli_args *a, struct error *err);

bool cli_args_has(const struct cli_args *a, enum cli_opt id);
/* The last value given, or NULL. */
const char *cli_args_get(const struct cli_args *a, enum cli_opt id);

const struct cli_option *cli_option_find(enum cli_opt id);
const struct cli_command *cli_command_find(const char *name);
bool cli_command_takes(const struct cli_command *command, enum cli_opt id);
/* The command that somebody who wrote `name` probably meant, or NULL. */
const struct cli_command *cli_command_guess(const char *name);
