/* Who is at the other end: a user id becomes a tenant and a role.
 *
 * The configuration's tenants are asked first, by user, then by group; whoever is not named there
 * is a tenant under his own name, and root and the daemon's own user are operators.
 *
 * A subordinate user id is its owner (subuid.h), but never an operator: what runs in containers may
 * be less trusted.
 *
 * The user database may be slow or hang (LDAP), so it is asked on threads of its own (userdb.h),
 * and a request waits for the answer without stopping others.  An answer is good for a minute; for
 * ten more it is still used while a new one is on its way.  Root and the daemon's own user are let
 * in as operators when the database does not answer: somebody must be able to look
 * after the machine. */
#include "base/log.h"
#include "base/text.h"
#include "daemon/daemon.h"
#include "daemon/userdb.h"
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#define FRESH_MS 60000
#define STALE_MS 600000
#define PATIENCE_MS 3000 /* less than a request waits (api/call.c) */
#define KNOWN_MAX 4096   /* beyond it those that nobody waits for are forgotten */

struct known_user {
    uint64_t key; /* uid and gid: one user may come with several groups (newgrp) */
    uid_t uid;
    gid_t gid;
    bool is_known, is_asked;
    int64_t asked_ms, fresh_until_ms;
    struct api_identity identity;
    UT_hash_handle hh;
};

static bool is_named(char *const *names, const char *name, unsigned number)
{
    char text[16];

    snprintf(text, sizeof(text), "%u", number);
    for (; names && *names; names++) {
        if (!strcmp(*names, name) || !strcmp(*names, text)) {
            return true;
        }
    }
    return false;
}

static bool is_in_group(const struct config_tenant *t, const struct userdb_answer *answer)
{
    for (unsigned i = 0; i < answer->group_count; i++) {
        if (is_named(t->groups, answer->groups[i].name, answer->groups[i].gid)) {
            return true;
        }
    }
    return false;
}

static const struct config_tenant *find_tenant(const struct daemon_config *c,
                                               const struct userdb_answer *answer)
{
    for (size_t i = 0; i < c->tenant_count; i++) {
        if (is_named(c->tenants[i].users, answer->user, answer->uid)) {
            return &c->tenants[i];
        }
    }
    for (size_t i = 0; i < c->tenant_count; i++) {
        if (is_in_group(&c->tenants[i], answer)) {
            return &c->tenants[i];
        }
    }
    return NULL;
}

static bool has_groups(const struct daemon_config *c)
{
    for (size_t i = 0; i < c->tenant_count; i++) {
        if (c->tenants[i].groups && c->tenants[i].groups[0]) {
            return true;
        }
    }
    return false;
}

/* A user who happens to be called like a tenant of the configuration is not thereby that tenant. */
static bool is_taken(const struct daemon_config *c, const char *name)
{
    for (size_t i = 0; i < c->tenant_count; i++) {
        if (!strcmp(c->tenants[i].name, name)) {
            return true;
        }
    }
    return false;
}

static bool is_own(unsigned uid)
{
    return uid == 0 || uid == geteuid();
}

static void name_after_user(const struct daemon_config *c, const struct userdb_answer *answer,
                            struct api_identity *ret)
{
    text_copy(ret->tenant, sizeof(ret->tenant), answer->user);
    if (!*answer->user || is_taken(c, ret->tenant)) {
        snprintf(ret->tenant, sizeof(ret->tenant), "uid-%u",
                 answer->is_subordinate ? answer->first : answer->uid);
    }
}

/* What the configuration makes of a user of whom the database says this. */
static void judge(const struct daemon_config *c, const struct userdb_answer *answer,
                  struct api_identity *ret)
{
    const struct config_tenant *t = find_tenant(c, answer);

    *ret = (struct api_identity){.uid = answer->uid, .limits = {-1, -1},
                                 .role = is_own(answer->uid) ? POOL_ROLE_OPERATOR
                                                             : POOL_ROLE_TENANT};
    if (t) {
        text_copy(ret->tenant, sizeof(ret->tenant), t->name);
        ret->role = t->role;
        ret->limits.max_queued = t->max_queued;
        ret->limits.max_compute = t->max_compute;
    } else {
        name_after_user(c, answer, ret);
    }
    if (answer->is_subordinate && ret->role == POOL_ROLE_OPERATOR) {
        ret->role = POOL_ROLE_TENANT;
    }
}

static void forget_idle(struct daemon *d)
{
    struct known_user *u = NULL, *next = NULL;

    HASH_ITER(hh, d->users, u, next)
    {
        if (!u->is_asked) {
            HASH_DEL(d->users, u);
            free(u);
        }
    }
}

static struct known_user *find_user(const struct daemon *d, unsigned uid, unsigned gid)
{
    uint64_t key = (uint64_t)uid << 32 | gid;
    struct known_user *u = NULL;

    HASH_FIND(hh, d->users, &key, sizeof(key), u);
    return u;
}

static struct known_user *need_user(struct daemon *d, unsigned uid, unsigned gid)
{
    struct known_user *u = find_user(d, uid, gid);

    if (u) {
        return u;
    }
    if (HASH_COUNT(d->users) >= KNOWN_MAX) {
        forget_idle(d);
    }
    if (HASH_COUNT(d->users) >= KNOWN_MAX) {
        return NULL; /* as many are being asked for */
    }
    u = xcalloc(1, sizeof(*u));
    u->key = (uint64_t)uid << 32 | gid;
    u->uid = uid;
    u->gid = gid;
    HASH_ADD(hh, d->users, key, sizeof(u->key), u);
    return u;
}

static int find_token(const struct daemon *d, const struct http_peer *peer,
                      struct api_identity *ret)
{
    const struct api_token *token = tokens_find(d, peer->identity);

    if (!token) {
        return -ENOENT;
    }
    *ret = (struct api_identity){.role = token->role, .uid = (unsigned)-1, .limits = {-1, -1}};
    text_copy(ret->tenant, sizeof(ret->tenant), token->tenant);
    return 0;
}

/* Root, or the daemon's own user, whom the database has not named in time. */
static int let_in(const struct daemon *d, unsigned uid, struct api_identity *ret)
{
    char root[] = "root", nobody[] = "";
    const struct userdb_answer answer = {.uid = uid, .user = uid ? nobody : root};

    judge(&d->config, &answer, ret);
    return 0;
}

static void ask(struct daemon *d, struct known_user *u)
{
    u->is_asked = true;
    u->asked_ms = daemon_now_ms(d);
    userdb_ask(d->userdb, u->uid, u->gid, has_groups(&d->config));
}

int identity_find(struct daemon *d, const struct http_peer *peer, struct api_identity *ret)
{
    int64_t now = daemon_now_ms(d);

    if (!peer->is_unix) {
        return find_token(d, peer, ret);
    }
    struct known_user *u = need_user(d, peer->uid, peer->gid);
    if (!u) {
        return is_own(peer->uid) ? let_in(d, peer->uid, ret) : -EAGAIN;
    }
    if (!u->is_asked && (!u->is_known || now >= u->fresh_until_ms)) {
        ask(d, u);
    }
    if (u->is_known && now < u->fresh_until_ms + STALE_MS) {
        *ret = u->identity;
        return 0;
    }
    if (is_own(peer->uid) && now - u->asked_ms >= PATIENCE_MS) {
        return let_in(d, peer->uid, ret);
    }
    return -EAGAIN;
}

uid_t identity_counted_as(uid_t uid, void *userdata)
{
    struct daemon *d = userdata;

    subuid_refresh(&d->subuids, SUBUID_PATH);
    const struct subuid_range *range = subuid_find(&d->subuids, uid);
    return range ? range->first : uid;
}

static int on_answers(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    struct userdb_answer *answer = NULL;
    struct daemon *d = userdata;

    (void)source;
    (void)fd;
    (void)revents;
    while ((answer = userdb_take(d->userdb))) {
        struct known_user *u = find_user(d, answer->uid, answer->gid);
        if (u) {
            judge(&d->config, answer, &u->identity);
            u->is_known = true;
            u->is_asked = false;
            u->fresh_until_ms = daemon_now_ms(d) + FRESH_MS;
        }
        userdb_answer_free(answer);
    }
    api_on_identified(d->api);
    return 0;
}

int identity_init(struct daemon *d, struct error *err)
{
    int rc = userdb_new(&d->userdb, err);

    if (rc < 0) {
        return rc;
    }
    rc = sd_event_add_io(d->event, &d->userdb_source, userdb_fd(d->userdb), EPOLLIN, on_answers, d);
    ask(d, need_user(d, geteuid(), getegid())); /* known before it matters */
    return rc < 0 ? err_set(err, -rc, "cannot watch the user database: %s", strerror(-rc)) : 0;
}

void identity_done(struct daemon *d)
{
    struct known_user *u = NULL, *next = NULL;

    d->userdb_source = sd_event_source_disable_unref(d->userdb_source);
    userdb_free(TAKE_PTR(d->userdb));
    subuid_done(&d->subuids);
    HASH_ITER(hh, d->users, u, next)
    {
        HASH_DEL(d->users, u);
        free(u);
    }
}
