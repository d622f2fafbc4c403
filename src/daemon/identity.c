/* Who is at the other end: a user id becomes a tenant and a role.
 *
 * The configuration's tenants are asked first, by user, then by group; whoever is not named there is
 * a tenant under his own name, and root and the daemon's own user are operators.  The user database
 * may be slow (LDAP), so an answer is kept for a minute. */
#include "base/text.h"
#include "daemon/daemon.h"
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>

#define KEEP_MS 60000
#define KNOWN_MAX 4096 /* users; beyond it everybody is forgotten */
#define GROUPS_MAX 256

struct known_user {
    unsigned uid, gid;
    int64_t until_ms;
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

static bool is_in_group(const struct config_tenant *t, const gid_t *groups, int count)
{
    for (int i = 0; i < count; i++) {
        struct group entry, *found = NULL;
        char buf[16384];
        int rc = getgrgid_r(groups[i], &entry, buf, sizeof(buf), &found);
        if (is_named(t->groups, rc == 0 && found ? found->gr_name : "", groups[i])) {
            return true;
        }
    }
    return false;
}

static const struct config_tenant *find_tenant(const struct daemon_config *c, const char *user,
                                               uid_t uid, gid_t gid)
{
    gid_t groups[GROUPS_MAX] = {gid};
    int count = GROUPS_MAX;
    bool has_groups = false;

    for (size_t i = 0; i < c->tenant_count; i++) {
        has_groups = has_groups || (c->tenants[i].groups && c->tenants[i].groups[0]);
        if (is_named(c->tenants[i].users, user, uid)) {
            return &c->tenants[i];
        }
    }
    if (!has_groups) {
        return NULL;
    }
    if (!*user) {
        count = 1;
    } else if (getgrouplist(user, gid, groups, &count) < 0) {
        count = GROUPS_MAX; /* it has more: these count */
    }
    for (size_t i = 0; i < c->tenant_count; i++) {
        if (is_in_group(&c->tenants[i], groups, count)) {
            return &c->tenants[i];
        }
    }
    return NULL;
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

static void look_up(const struct daemon *d, const struct http_peer *peer, struct api_identity *ret)
{
    struct passwd entry, *found = NULL;
    char buf[16384], name[POOL_TENANT_SIZE];
    const struct config_tenant *t = NULL;

    if (getpwuid_r(peer->uid, &entry, buf, sizeof(buf), &found) == 0 && found) {
        text_copy(name, sizeof(name), found->pw_name);
    } else {
        snprintf(name, sizeof(name), "uid-%u", peer->uid);
    }
    t = find_tenant(&d->config, found ? found->pw_name : "", peer->uid, peer->gid);
    if (!t && is_taken(&d->config, name)) {
        snprintf(name, sizeof(name), "uid-%u", peer->uid);
    }
    bool is_own = peer->uid == 0 || peer->uid == geteuid();
    *ret = (struct api_identity){.uid = peer->uid, .limits = {-1, -1},
                                 .role = is_own ? POOL_ROLE_OPERATOR : POOL_ROLE_TENANT};
    text_copy(ret->tenant, sizeof(ret->tenant), t ? t->name : name);
    if (t) {
        ret->role = t->role;
        ret->limits.max_queued = t->max_queued;
        ret->limits.max_compute = t->max_compute;
    }
}

bool identity_find(struct daemon *d, const struct http_peer *peer, struct api_identity *ret)
{
    struct known_user *u = NULL;
    int64_t now = daemon_now_ms(d);

    if (!peer->is_unix) {
        const struct api_token *token = tokens_find(d, peer->identity);
        if (!token) {
            return false;
        }
        *ret = (struct api_identity){.role = token->role, .uid = (unsigned)-1,
                                     .limits = {-1, -1}};
        text_copy(ret->tenant, sizeof(ret->tenant), token->tenant);
        return true;
    }
    HASH_FIND(hh, d->users, &peer->uid, sizeof(u->uid), u);
    if (!u) {
        if (HASH_COUNT(d->users) >= KNOWN_MAX) {
            identity_done(d);
        }
        u = xcalloc(1, sizeof(*u));
        u->uid = peer->uid;
        HASH_ADD(hh, d->users, uid, sizeof(u->uid), u);
    }
    if (u->until_ms <= now || u->gid != peer->gid) {
        look_up(d, peer, &u->identity);
        u->gid = peer->gid;
        u->until_ms = now + KEEP_MS;
    }
    *ret = u->identity;
    return true;
}

void identity_done(struct daemon *d)
{
    struct known_user *u = NULL, *next = NULL;

    HASH_ITER(hh, d->users, u, next)
    {
        HASH_DEL(d->users, u);
        free(u);
    }
}
