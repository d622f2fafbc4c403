#include "daemon/userdb.h"
#include "base/log.h"
#include "base/text.h"
#include "base/thread.h"
#include "daemon/subuid.h"
#include <errno.h>
#include <grp.h>
#include <pthread.h>
#include <pwd.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <unistd.h>

#define THREADS_MAX 64
#define STACK_BYTES ((size_t)512 * 1024)
#define GROUPS_MAX 256
#define ENTRY_FIRST_BYTES ((size_t)4096)
#define ENTRY_MOST_BYTES ((size_t)4 * 1024 * 1024) /* a group with very many members */

struct question {
    bool wants_groups;
    struct userdb_answer *answer;
    TAILQ_ENTRY(question) link;
};
TAILQ_HEAD(question_list, question);

struct userdb {
    pthread_mutex_t lock;
    struct question_list asked, answered;
    unsigned threads;
    bool is_closing; /* the last thread frees it */
    int fd;
};

void userdb_answer_free(struct userdb_answer *answer)
{
    if (!answer) {
        return;
    }
    for (unsigned i = 0; i < answer->group_count; i++) {
        free(answer->groups[i].name);
    }
    free(answer->groups);
    free(answer->user);
    free(answer);
}

static void question_free(struct question *q)
{
    userdb_answer_free(q->answer);
    free(q);
}

static void free_all(struct question_list *list)
{
    struct question *q = NULL;

    while ((q = TAILQ_FIRST(list))) {
        TAILQ_REMOVE(list, q, link);
        question_free(q);
    }
}

static void destroy(struct userdb *db)
{
    free_all(&db->asked);
    free_all(&db->answered);
    closep(&db->fd);
    pthread_mutex_destroy(&db->lock);
    free(db);
}

/* --- on the threads --------------------------------------------------------------------------- */

static char *find_user(uid_t uid)
{
    struct passwd entry, *found = NULL;
    int rc = ERANGE;

    for (size_t size = ENTRY_FIRST_BYTES; rc == ERANGE && size <= ENTRY_MOST_BYTES; size *= 4) {
        CLEANUP(freep) char *buf = xcalloc(1, size);
        rc = getpwuid_r(uid, &entry, buf, size, &found);
        if (rc == 0 && found) {
            return xstrdup(found->pw_name);
        }
    }
    return xstrdup("");
}

static char *find_group(gid_t gid)
{
    struct group entry, *found = NULL;
    int rc = ERANGE;

    for (size_t size = ENTRY_FIRST_BYTES; rc == ERANGE && size <= ENTRY_MOST_BYTES; size *= 4) {
        CLEANUP(freep) char *buf = xcalloc(1, size);
        rc = getgrgid_r(gid, &entry, buf, size, &found);
        if (rc == 0 && found) {
            return xstrdup(found->gr_name);
        }
    }
    return xstrdup("");
}

static void find_groups(struct userdb_answer *answer)
{
    gid_t gids[GROUPS_MAX] = {answer->gid};
    int count = GROUPS_MAX;

    if (!*answer->user) {
        count = 1;
    } else if (getgrouplist(answer->user, answer->gid, gids, &count) < 0) {
        count = GROUPS_MAX; /* it has more: these count */
    }
    answer->groups = xcalloc((size_t)count, sizeof(*answer->groups));
    answer->group_count = (unsigned)count;
    for (int i = 0; i < count; i++) {
        answer->groups[i] = (struct userdb_group){gids[i], find_group(gids[i])};
    }
}

/* Nobody is called so: perhaps somebody has it as one of many. */
static void find_owner(struct userdb_answer *answer)
{
    CLEANUP(subuid_done) struct subuid table = {0};
    int64_t number = 0;

    subuid_refresh(&table, SUBUID_PATH);
    const struct subuid_range *range = subuid_find(&table, answer->uid);
    if (!range) {
        return;
    }
    bool is_number = text_parse_int(range->owner, "the owner", 0, UINT32_MAX, &number, NULL) == 0;
    free(answer->user);
    answer->user = is_number ? find_user((uid_t)number) : xstrdup(range->owner);
    answer->is_subordinate = true;
    answer->first = range->first;
}

static void answer_one(struct question *q)
{
    q->answer->user = find_user(q->answer->uid);
    if (!*q->answer->user) {
        find_owner(q->answer);
    }
    if (q->wants_groups) {
        find_groups(q->answer);
    }
}

static void *run(void *arg)
{
    struct userdb *db = arg;
    struct question *q = NULL;

    pthread_mutex_lock(&db->lock);
    while (!db->is_closing && (q = TAILQ_FIRST(&db->asked))) {
        TAILQ_REMOVE(&db->asked, q, link);
        pthread_mutex_unlock(&db->lock);
        answer_one(q);
        pthread_mutex_lock(&db->lock);
        TAILQ_INSERT_TAIL(&db->answered, q, link);
        eventfd_write(db->fd, 1);
    }
    bool is_last = --db->threads == 0 && db->is_closing;
    pthread_mutex_unlock(&db->lock);
    if (is_last) {
        destroy(db);
    }
    return NULL;
}

/* --- on the loop ------------------------------------------------------------------------------ */

int userdb_new(struct userdb **ret, struct error *err)
{
    struct userdb *db = xcalloc(1, sizeof(*db));

    pthread_mutex_init(&db->lock, NULL);
    TAILQ_INIT(&db->asked);
    TAILQ_INIT(&db->answered);
    db->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (db->fd < 0) {
        int code = errno;
        destroy(db);
        return err_set(err, code, "cannot make an eventfd: %s", strerror(code));
    }
    *ret = db;
    return 0;
}

void userdb_free(struct userdb *db)
{
    if (!db) {
        return;
    }
    pthread_mutex_lock(&db->lock);
    db->is_closing = true;
    bool is_alone = db->threads == 0;
    pthread_mutex_unlock(&db->lock);
    if (is_alone) {
        destroy(db);
    }
}

int userdb_fd(const struct userdb *db)
{
    return db->fd;
}

void userdb_ask(struct userdb *db, uid_t uid, gid_t gid, bool wants_groups)
{
    struct question *q = xcalloc(1, sizeof(*q));

    q->wants_groups = wants_groups;
    q->answer = xcalloc(1, sizeof(*q->answer));
    q->answer->uid = uid;
    q->answer->gid = gid;
    pthread_mutex_lock(&db->lock);
    TAILQ_INSERT_TAIL(&db->asked, q, link);
    bool is_wanted = db->threads < THREADS_MAX;
    db->threads += is_wanted;
    pthread_mutex_unlock(&db->lock);
    if (is_wanted && thread_start(run, db, "users", STACK_BYTES, NULL) < 0) {
        log_warn("no thread for the user database: it is asked on the loop");
        run(db); /* gives back its place among the threads */
    }
}

struct userdb_answer *userdb_take(struct userdb *db)
{
    struct userdb_answer *answer = NULL;
    eventfd_t unused = 0;

    pthread_mutex_lock(&db->lock);
    struct question *q = TAILQ_FIRST(&db->answered);
    if (q) {
        TAILQ_REMOVE(&db->answered, q, link);
        answer = TAKE_PTR(q->answer);
        question_free(q);
    } else {
        eventfd_read(db->fd, &unused);
    }
    pthread_mutex_unlock(&db->lock);
    return answer;
}
