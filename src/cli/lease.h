#pragma once
#include "cli/cli.h"
#include <signal.h>

/* What the commands that deal in leases share. */

/* "2g.20gb" or "2g.20gb x3". */
void lease_add_profile(const json_t *lease, struct buf *b);
/* "GPU 0 4:2", "GPU 0 4:2, GPU 1 0:2"; nothing before it is placed. */
void lease_add_where(const json_t *lease, struct buf *b);
/* How long ago it was asked for. */
void lease_add_age(const json_t *lease, struct buf *b);
/* "in 3m" up to the time of that member, `over` when it has passed; nothing without one. */
void lease_add_left(const json_t *lease, const char *key, const char *over, struct buf *b);
/* A short summary for people, with the lines to paste. */
/* `used`: what it does now, NULL unknown. */
void lease_print(const struct out *out, const json_t *lease, const char *used);

/* The members of POST /v1/leases that come from the command's options.  *ret is new. */
int lease_request_from_options(struct cli *cli, json_t **ret);

/* Obtains a lease and waits for it, at most as long as --wait says, telling on standard error why
 * it waits.  0 with an active lease in *ret, else the exit status after saying why not; a request
 * that was not granted is cancelled.  Blocks SIGINT, SIGTERM, SIGHUP and SIGQUIT, which cancel the
 * request, and leaves them blocked: *ret_signals is a signalfd for them that the caller closes. */
int lease_obtain(struct cli *cli, json_t *request, int *ret_signals, json_t **ret);

/* Adds a signal to those that are to be blocked and read, unless it was ignored when this program
 * was started: nohup must go on meaning what it says. */
void lease_add_signal(sigset_t *set, int number);

/* Blocks the signals that end a command (those that are not ignored); a signalfd for them, for
 * client_set_cancel_fd(), that the caller closes. */
int lease_block_signals(void);

/* The variables that a program needs to use the lease: calls fn(name, value) for each. */
void lease_each_variable(const json_t *lease, void (*fn)(const char *, const char *, void *),
                         void *userdata);
/* Fit for lease_each_variable: a line for a shell's eval, quoted; indent is a string. */
void lease_print_export(const char *name, const char *value, void *indent);
