#pragma once
#include "base/error.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The options of the sub-commands, each a table of rows: what is written after the command is read
 * in one place, with the same words for the same mistakes. */

enum replay_option_kind {
    REPLAY_OPTION_FLEET,     /* struct replay_fleet: MODEL:N[,...] */
    REPLAY_OPTION_POLICY,    /* enum plan_policy */
    REPLAY_OPTION_OBJECTIVE, /* enum plan_objective */
    REPLAY_OPTION_INT,       /* int64_t in lo..hi */
    REPLAY_OPTION_REAL,      /* double, above 0 and up to hi */
    REPLAY_OPTION_WORD,      /* int: which of words */
    REPLAY_OPTION_TEXT,      /* const char *, borrowed from argv */
    REPLAY_OPTION_FLAG,      /* bool, set to true */
};

struct replay_option {
    const char *name; /* without the dashes; "output" is also -o */
    enum replay_option_kind kind;
    void *to; /* untouched when the option is not there */
    int64_t lo, hi;
    const char *const *words; /* NULL-terminated */
};

/* What "table", "csv" and "json" are as a word. */
enum replay_format { REPLAY_TABLE, REPLAY_CSV, REPLAY_JSON };
extern const char *const replay_formats[];

#define REPLAY_OPTIONS_MAX 24

/* 0; 1 when help was asked for and printed; -EINVAL (or what the value's reader says) names the
 * option.  argv[0] is the command. */
int replay_options_read(int argc, char **argv, const struct replay_option *options, size_t count,
                        const char *usage, struct error *err);
