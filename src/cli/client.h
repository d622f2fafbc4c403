#pragma once
#include "base/cleanup.h"
#include "base/error.h"
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* REST to one daemon, over its unix socket or, with a URL and a token, over TCP.  One thread.
 *
 * Failures (-errno):
 *   ECONNREFUSED  nobody answers at the socket; the message says which, why and what to do
 *   ETIMEDOUT     the daemon has the request but does not answer
 *   ECANCELED     the cancel fd became readable
 *   EPROTO        the answer is not what a tangram daemon sends
 * Every HTTP status is a success here: look at the reply. */

#define CLIENT_MAX_REPLY_BYTES (16u * 1024 * 1024)
#define CLIENT_TIMEOUT_MS 30000

struct client;

struct client_settings {
    const char *socket; /* NULL: url is used */
    const char *url;
    const char *token;
};

struct client_reply {
    int status;
    json_t *body; /* an object; NULL when the answer had no body */
};

void client_reply_done(struct client_reply *r);

/* The socket to use: `given` (--socket), TANGRAM_SOCKET, else the machine's or the user's. */
char *client_default_socket(const char *given);

int client_new(const struct client_settings *settings, struct client **ret, struct error *err);
void client_free(struct client *c);
DEFINE_FREEP(struct client, client_free)

/* Over the unix socket: the daemon sees this process. */
bool client_is_local(const struct client *c);

/* Where it talks to, for messages. */
const char *client_where(const struct client *c);

/* Requests end with ECANCELED once fd (borrowed) is readable, and a stream calls on_event(NULL),
 * which has to read it; -1: never. */
void client_set_cancel_fd(struct client *c, int fd);

/* `path` with its query; body may be NULL and is borrowed.  A POST carries an Idempotency-Key, so
 * that it is safe to send it once more when the connection breaks (done here). */
int client_request(struct client *c, const char *method, const char *path, const json_t *body,
                   int64_t timeout_ms, struct client_reply *ret, struct error *err);

/* The next POST is the last one again: the daemon answers it as that, and does nothing twice. */
void client_repeat_key(struct client *c);

/* The daemon's event stream.  `on_event` gets each event's JSON, and NULL when the stream has been
 * opened and when it has been quiet for a moment; a non-zero return ends the stream and is
 * returned.  last_id < 0: from now on.  0 when the daemon ended the stream; *ret is filled when it
 * answered with something else than a stream (-EREMOTE). */
typedef int (*client_event_fn)(const json_t *event, void *userdata);
int client_stream(struct client *c, int64_t last_id, client_event_fn on_event, void *userdata,
                  struct client_reply *ret, struct error *err);
