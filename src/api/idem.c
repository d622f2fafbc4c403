/* Answers that are remembered for their Idempotency-Key.
 *
 * For POSTs other than leases (those the pool remembers, across restarts).  In memory, the newest
 * API_IDEM_MAX of the last ten minutes; only good answers: what failed may be tried again.  The
 * answer to making a token holds its secret for that long. */
#include "api/call.h"
#include <stdio.h>
#include <string.h>

#define IDEM_MAX 256
#define IDEM_MS (10 * 60 * 1000)

struct api_idem {
    char *key; /* tenant, route and key */
    uint64_t hash;
    unsigned status; /* 0: under way */
    char *body;
    size_t len;
    int64_t time_ms;
    TAILQ_ENTRY(api_idem) link;
    UT_hash_handle hh;
};

static void forget(struct api *api, struct api_idem *idem)
{
    /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): it is in there. */
    HASH_DEL(api->idem_by_key, idem);
    TAILQ_REMOVE(&api->idems, idem, link);
    api->idem_count--;
    if (idem->body) {
        explicit_bzero(idem->body, idem->len);
    }
    free(idem->body);
    free(idem->key);
    free(idem);
}

/* Makes room: what is old, then the oldest that is finished. */
static void expire(struct api *api, int64_t now_ms)
{
    struct api_idem *idem = NULL, *next = NULL;

    for (idem = TAILQ_FIRST(&api->idems); idem; idem = next) {
        next = TAILQ_NEXT(idem, link);
        if (idem->status && (idem->time_ms + IDEM_MS < now_ms || api->idem_count >= IDEM_MAX)) {
            forget(api, idem);
        }
    }
}

/* Answers a repeat. */
static void repeat(struct api_call *call, const struct api_idem *idem, uint64_t hash)
{
    if (idem->hash != hash) {
        api_problem(call, 409, "idempotency_conflict", NULL,
                    "this Idempotency-Key was used for another request");
    } else if (!idem->status) {
        http_set_header(call->req, "Retry-After", "1");
        api_problem(call, 409, "idempotency_conflict", NULL,
                    "the request with this Idempotency-Key is still under way");
    } else {
        http_reply_bytes(TAKE_PTR(call->req), idem->status, "application/json", idem->body,
                         idem->len);
    }
}

bool api_idem_begin(struct api_call *call, const char *key, uint64_t hash)
{
    struct api *api = call->api;
    char *whole = xasprintf("%s %s %s", call->who.tenant, call->route->pattern, key);
    struct api_idem *idem = NULL;

    expire(api, api_now_ms(api));
    HASH_FIND_STR(api->idem_by_key, whole, idem);
    if (idem) {
        free(whole);
        repeat(call, idem, hash);
        return false;
    }
    if (api->idem_count >= IDEM_MAX) {
        free(whole); /* all are under way: serve it without remembering */
        return true;
    }
    idem = xcalloc(1, sizeof(*idem));
    idem->key = whole;
    idem->hash = hash;
    idem->time_ms = api_now_ms(api);
    HASH_ADD_KEYPTR(hh, api->idem_by_key, idem->key, strlen(idem->key), idem);
    TAILQ_INSERT_TAIL(&api->idems, idem, link);
    api->idem_count++;
    call->idem = idem;
    return true;
}

void api_idem_end(struct api_call *call, unsigned status, const char *body, size_t len)
{
    struct api_idem *idem = TAKE_PTR(call->idem);

    if (!idem) {
        return;
    }
    if (!status || status >= 300) {
        forget(call->api, idem);
        return;
    }
    idem->status = status;
    idem->len = len;
    idem->body = xcalloc(len + 1, 1);
    memcpy(idem->body, body, len);
}

void api_idem_done(struct api *api)
{
    while (!TAILQ_EMPTY(&api->idems)) {
        forget(api, TAILQ_FIRST(&api->idems));
    }
}
