#pragma once
#include "base/cleanup.h"
#include "base/error.h"
#include <stdbool.h>
#include <sys/types.h>

/* The machine's users and groups, asked on threads of their own: the answer may come from a server
 * far away, or never.  Threads exist only while something is asked, at most 64 at once; what is
 * asked meanwhile waits its turn.
 *
 * Threads: all functions are for one thread (the loop). */

struct userdb;

struct userdb_group {
    gid_t gid;
    char *name; /* "" unknown */
};

struct userdb_answer {
    uid_t uid;
    gid_t gid;  /* as asked */
    char *user; /* "" there is no such user; the owner's of a subordinate user id */
    bool is_subordinate;
    uid_t first; /* of them */
    struct userdb_group *groups; /* the primary one as asked, and the user's others */
    unsigned group_count;
};

int userdb_new(struct userdb **ret, struct error *err);
/* Threads that hang are left alone with what they need. */
void userdb_free(struct userdb *db);
DEFINE_FREEP(struct userdb, userdb_free)
/* Readable while an answer waits. */
int userdb_fd(const struct userdb *db);
/* Who is it?  Groups only when they matter, because they cost the most. */
void userdb_ask(struct userdb *db, uid_t uid, gid_t gid, bool wants_groups);
/* The next answer, to be freed; NULL: none is there. */
struct userdb_answer *userdb_take(struct userdb *db);
void userdb_answer_free(struct userdb_answer *answer);
DEFINE_FREEP(struct userdb_answer, userdb_answer_free)
