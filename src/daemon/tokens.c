/* Access tokens for TCP: 256 random bits, shown once; only their SHA-256 is kept.  The hash of a
 * secret with that much entropy needs neither salt nor stretching. */
#include "base/text.h"
#include "base/tree.h"
#include "daemon/daemon.h"
#include <inttypes.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#define TOKENS_MAX 1000
#define HASH_TEXT 65

struct known_token {
    struct api_token token;
    char hash[HASH_TEXT]; /* hexadecimal */
    UT_hash_handle hh;
};

static void add_hex(const unsigned char *data, size_t len, char *out)
{
    for (size_t i = 0; i < len; i++) {
        snprintf(out + 2 * i, 3, "%02x", data[i]);
    }
}

static void hash_text(const char *secret, char ret[static HASH_TEXT])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;

    if (EVP_Digest(secret, strlen(secret), digest, &len, EVP_sha256(), NULL) != 1 || len != 32) {
        abort(); /* libcrypto without SHA-256 */
    }
    add_hex(digest, len, ret);
}

const struct api_token *tokens_find(const struct daemon *d, const char *id)
{
    const struct known_token *t = NULL;

    HASH_FIND_STR(d->tokens, id, t);
    return t ? &t->token : NULL;
}

bool tokens_check(const char *token, char ret_identity[static HTTP_IDENTITY_SIZE], void *userdata)
{
    const struct daemon *d = userdata;
    char hash[HASH_TEXT];

    hash_text(token, hash);
    for (const struct known_token *t = d->tokens; t; t = t->hh.next) {
        if (CRYPTO_memcmp(hash, t->hash, HASH_TEXT) == 0) {
            text_copy(ret_identity, HTTP_IDENTITY_SIZE, t->token.id);
            return true;
        }
    }
    return false;
}

static struct known_token *add(struct daemon *d, const struct api_token *token, const char *hash)
{
    struct known_token *t = xcalloc(1, sizeof(*t));
    unsigned long long number = 0;

    t->token = *token;
    text_copy(t->hash, sizeof(t->hash), hash);
    HASH_ADD_STR(d->tokens, token.id, t);
    if (sscanf(token->id, "t-%llu", &number) == 1 && number >= d->next_token) {
        d->next_token = number + 1;
    }
    return t;
}

int tokens_load(struct daemon *d, const char *id, const char *body, size_t len)
{
    CLEANUP(json_decrefp) json_t *tree = NULL;
    struct api_token token = {0};
    const char *name = NULL, *tenant = NULL, *role = NULL, *hash = NULL;
    json_int_t created = 0;

    if (tree_from_json(body, len, &tree, NULL) < 0 ||
        json_unpack(tree, "{s:s, s:s, s:s, s:s, s:I}", "name", &name, "tenant", &tenant, "role",
                    &role, "hash", &hash, "created_ms", &created) < 0) {
        return -EINVAL;
    }
    text_copy(token.id, sizeof(token.id), id);
    text_copy(token.name, sizeof(token.name), name);
    text_copy(token.tenant, sizeof(token.tenant), tenant);
    token.created_ms = created;
    for (int r = 0; r < POOL_ROLE_COUNT; r++) {
        if (!strcmp(role, pool_role_name((enum pool_role)r))) {
            token.role = (enum pool_role)r;
        }
    }
    add(d, &token, hash);
    return 0;
}

int tokens_load_meta(struct daemon *d, const char *body, size_t len)
{
    CLEANUP(json_decrefp) json_t *tree = NULL;
    json_int_t next = 0;

    if (tree_from_json(body, len, &tree, NULL) < 0 ||
        json_unpack(tree, "{s:I}", "next_token", &next) < 0 || next < 1) {
        return -EINVAL;
    }
    d->next_token = (uint64_t)next > d->next_token ? (uint64_t)next : d->next_token;
    return 0;
}

static void put_meta(const struct daemon *d, struct store_batch *batch)
{
    char body[64];
    int len = snprintf(body, sizeof(body), "{\"next_token\":%" PRIu64 "}", d->next_token);

    store_batch_put(batch, DAEMON_RECORD_META, "tokens", body, (size_t)len);
}

static void answer_later(struct daemon *d, struct store_batch *batch, uint64_t reply_to,
                         const struct api_token *token, const char *secret)
{
    d->submitted = store_submit(d->store, batch);
    struct pending *p = pending_add(d, d->submitted);
    p->kind = PENDING_TOKEN;
    p->reply_to = reply_to;
    p->token = *token;
    p->body = xstrdup(secret);
}

void tokens_create(void *userdata, const struct api_token *wish, uint64_t reply_to)
{
    struct daemon *d = userdata;
    struct api_token token = *wish;
    unsigned char random[32];
    char secret[4 + HASH_TEXT] = "tgm_", hash[HASH_TEXT];

    if (HASH_COUNT(d->tokens) >= TOKENS_MAX) {
        api_on_token(d->api, reply_to, -ENOSPC, NULL, NULL,
                     "there are 1000 tokens already; revoke some");
        return;
    }
    if (getrandom(random, sizeof(random), 0) != sizeof(random)) {
        abort(); /* cannot happen once the machine has booted */
    }
    add_hex(random, sizeof(random), secret + 4);
    hash_text(secret, hash);
    snprintf(token.id, sizeof(token.id), "t-%" PRIu64, d->next_token ? d->next_token : 1);
    token.created_ms = daemon_now_ms(d);
    add(d, &token, hash);

    struct store_batch *batch = store_batch_new();
    json_t *tree = json_pack("{s:s, s:s, s:s, s:s, s:I}", "name", token.name, "tenant",
                             token.tenant, "role", pool_role_name(token.role), "hash", hash,
                             "created_ms", (json_int_t)token.created_ms);
    CLEANUP(freep) char *body = json_dumps(tree, JSON_COMPACT);
    json_decref(tree);
    store_batch_put(batch, DAEMON_RECORD_TOKEN, token.id, body ? body : "{}",
                    strlen(body ? body : "{}"));
    put_meta(d, batch);
    answer_later(d, batch, reply_to, &token, secret);
    OPENSSL_cleanse(secret, sizeof(secret));
}

void tokens_revoke(void *userdata, const char *id, uint64_t reply_to)
{
    struct daemon *d = userdata;
    struct known_token *t = NULL;

    HASH_FIND_STR(d->tokens, id, t);
    if (!t) {
        api_on_token(d->api, reply_to, -ENOENT, NULL, NULL, "there is no such token");
        return;
    }
    struct store_batch *batch = store_batch_new();
    store_batch_delete(batch, DAEMON_RECORD_TOKEN, id);
    HASH_DEL(d->tokens, t);
    http_server_drop(d->http, id); /* who came in with it is out, also of a stream */
    answer_later(d, batch, reply_to, &t->token, NULL);
    free(t);
}

void tokens_each(void *userdata, void (*each)(const struct api_token *token, void *arg), void *arg)
{
    const struct daemon *d = userdata;

    for (const struct known_token *t = d->tokens; t; t = t->hh.next) {
        each(&t->token, arg);
    }
}

void tokens_done(struct daemon *d)
{
    struct known_token *t = NULL, *next = NULL;

    HASH_ITER(hh, d->tokens, t, next)
    {
        HASH_DEL(d->tokens, t);
        OPENSSL_cleanse(t->hash, sizeof(t->hash));
        free(t);
    }
}
