#pragma once
#include "cli/args.h"
#include "cli/client.h"
#include "cli/out.h"
#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* What a command gets, and the edge where failures are printed: a command returns its exit status
 * and has said why on standard error, in one line. */

enum cli_exit {
    CLI_OK = 0,
    CLI_FAILED = 1,
    CLI_USAGE = 2,
    CLI_WAIT = 3, /* would have to wait, does not fit, differs */
    CLI_DENIED = 4,
    CLI_CONFLICT = 5,
    CLI_UNREACHABLE = 6
};

struct cli {
    struct cli_args args;
    struct out out;
    struct client *client; /* made by cli_client(), freed by main() */
};

/* "tangram: ..." on standard error, escaped, one line. */
void cli_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* From now on what is said is appended to `b` instead (borrowed); NULL ends that. */
void cli_catch_says(struct buf *b);
/* The same as cli_say, with how to get help; returns CLI_USAGE. */
int cli_usage(const struct cli *cli, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Says err and returns the exit status that fits: CLI_UNREACHABLE, 130 when interrupted, else
 * CLI_FAILED. */
int cli_fail(const struct error *err);
/* Says a problem document of the daemon (what, what stands in the way, what to do). */
int cli_fail_reply(const struct client_reply *reply);
/* The same with a word of advice of the command's own (or NULL). */
int cli_fail_reply_hint(const struct client_reply *reply, const char *hint);
/* The exit status that fits a problem document. */
int cli_reply_exit(const struct client_reply *reply);

/* The connection; NULL after saying why not, with *ret_exit set. */
struct client *cli_client(struct cli *cli, int *ret_exit);

/* One request whose 2xx answer is a JSON object; anything else has been said.  The caller owns
 * *ret.  body is borrowed and may be NULL. */
int cli_call(struct cli *cli, const char *method, const char *path, json_t *body, json_t **ret);

/* The answer to a GET that has a list as its member `key`; anything else has been said. */
int cli_fetch_list(struct cli *cli, const char *path, const char *key, json_t **ret);
/* The same, and prints the list. */
int cli_list(struct cli *cli, const char *path, const char *key, const struct out_column *columns,
             size_t count);

/* The option's value as the daemon wants it; all return 0 or CLI_USAGE after saying why.  An
 * option that was not given leaves *ret alone. */
int cli_opt_int(const struct cli *cli, enum cli_opt id, int64_t lo, int64_t hi, int64_t *ret);
int cli_opt_duration_ms(const struct cli *cli, enum cli_opt id, int64_t *ret_ms);

/* Draws again whenever something happened (-w), or once.  `draw` returns an exit status. */
int cli_watch(struct cli *cli, int (*draw)(struct cli *cli));

/* Adds the option's value, if it was given, to a path as a query parameter. */
void cli_add_query(struct cli *cli, struct buf *path, enum cli_opt id, const char *key);

/* "/v1/leases/" and the like followed by one escaped segment; the caller frees. */
char *cli_path(const char *prefix, const char *segment, const char *suffix);

/* Parts of JSON that may not be what was promised: no crash, a neutral value. */
const char *js_str(const json_t *object, const char *key); /* NULL unless a string */
const char *js_text(const json_t *object, const char *key, const char *otherwise);
int64_t js_int(const json_t *object, const char *key, int64_t otherwise);
bool js_true(const json_t *object, const char *key);
json_t *js_array(const json_t *object, const char *key); /* borrowed; NULL unless an array */
/* A member's time in milliseconds since 1970, -1 when there is none. */
int64_t js_time_ms(const json_t *object, const char *key);

/* The commands, one file each. */
int cmd_status(struct cli *cli);
int cmd_gpus(struct cli *cli);
int cmd_profiles(struct cli *cli);
int cmd_slices(struct cli *cli);
int cmd_leases(struct cli *cli);
int cmd_queue(struct cli *cli);
int cmd_usage(struct cli *cli);
int cmd_run(struct cli *cli);
int cmd_lease(struct cli *cli);
int cmd_release(struct cli *cli);
int cmd_renew(struct cli *cli);
int cmd_move(struct cli *cli);
int cmd_plan(struct cli *cli);
int cmd_why(struct cli *cli);
int cmd_apply(struct cli *cli);
int cmd_export(struct cli *cli);
int cmd_diff(struct cli *cli);
int cmd_adopt(struct cli *cli);
int cmd_disown(struct cli *cli);
int cmd_events(struct cli *cli);
int cmd_doctor(struct cli *cli);
int cmd_token(struct cli *cli);
int cmd_version(struct cli *cli);
int cmd_completion(struct cli *cli);
int cmd_help(struct cli *cli);

/* Help for one command (or all, with NULL) on `file`. */
void help_print(FILE *file, const struct cli_command *command);
