#pragma once
#include <errno.h>

/* Why a call failed, for a person to read.  Lives on the caller's stack; never allocates.
 * A message says what was asked, what stands in the way and what to do. */
struct error {
    int code; /* errno value, 0 when unset */
    char msg[512];
};

/* Sets err (which may be NULL) and returns -code, so that a failing line is one statement. */
int err_set(struct error *err, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* The same call; this way the compiler and the analyzers see that what comes back is not 0. */
#define err_set(err, code, ...)                                                                    \
    ({                                                                                             \
        int err_code_ = (code);                                                                    \
        (void)(err_set)(err, err_code_, __VA_ARGS__);                                              \
        -err_code_;                                                                                \
    })

/* Puts "what: " before the message, for the layer above; returns -err->code (-EIO if err is NULL
 * or unset). */
int err_wrap(struct error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
