/* The loop: decide, commit, act, answer.
 *
 *     event ─▶ pool_step() ─▶ what changed ─▶ one batch ─▶ store's worker
 *                      └────▶ actions ─▶ pending (with the batch's number)
 *     batch on disk ─▶ pending up to it, in order: jobs to the driver, answers, events
 *
 * Nothing is cut before its intent is on disk and nothing is promised before the result is, because
 * an action cannot leave `pending` before its batch is durable.  Batches that are submitted while a
 * commit is under way share the next one (src/store/).  Only a scan, which changes nothing, goes
 * before what waits for the disk.  When the disk refuses, `pending` simply does not drain; new
 * changes are refused by the API meanwhile. */
#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "daemon/daemon.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>

#define EVENT_BODY_MAX 4096

static int64_t boot_clock_ms(void)
{
    struct timespec t = {0};

    clock_gettime(CLOCK_BOOTTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* The pool's clock: the wall clock as it was at start, and from there on one that never jumps. */
int64_t daemon_now_ms(const struct daemon *d)
{
    return boot_clock_ms() + d->clock_offset_ms;
}

struct pending *pending_add(struct daemon *d, uint64_t batch)
{
    struct pending *p = xcalloc(1, sizeof(*p));

    p->batch = batch;
    TAILQ_INSERT_TAIL(&d->pending, p, link);
    return p;
}

static bool is_job_of(const struct pending *p, unsigned gpu)
{
    return p->kind == PENDING_ACTION && p->action.kind == POOL_DO_JOB && p->action.job.gpu == gpu;
}

/* A scan changes nothing, so it need not wait until its step is on disk; only the order of the jobs
 * of its GPU has to stay.  This keeps the disk out of the time that a start takes. */
static bool pending_may_overtake(const struct daemon *d, const struct pool_action *a)
{
    const struct pending *p = NULL;

    if (a->kind != POOL_DO_JOB || a->job.kind != POOL_JOB_SCAN) {
        return false;
    }
    TAILQ_FOREACH(p, &d->pending, link)
    {
        if (is_job_of(p, a->job.gpu)) {
            return false;
        }
    }
    return true;
}

static struct pending *pending_add_first(struct daemon *d)
{
    struct pending *p = xcalloc(1, sizeof(*p));

    TAILQ_INSERT_HEAD(&d->pending, p, link);
    sd_event_source_set_enabled(d->flush, SD_EVENT_ONESHOT);
    return p;
}

static void pending_free(struct pending *p)
{
    free(p->body);
    free(p);
}

/* --- acting ----------------------------------------------------------------------------------- */

static void act(struct daemon *d, const struct pool_action *a)
{
    switch (a->kind) {
    case POOL_DO_JOB:
        work_submit(d, &a->job);
        break;
    case POOL_DO_REPLY:
        api_on_reply(d->api, a);
        break;
    case POOL_DO_WATCH:
        watch_add(d, a->lease, a->pid, a->pid_start);
        break;
    case POOL_DO_HISTORY:
        break; /* queued as an event */
    }
}

static struct api_event event_of(const struct pending *p)
{
    struct api_event e = {.seq = p->seq, .time_ms = p->time_ms, .kind = p->event_kind, .gpu = -1,
                          .message = p->action.text};

    if (!p->event_kind) {
        api_event_from_action(&p->action, p->seq, p->time_ms, &e);
    }
    return e;
}

static void show_event(struct daemon *d, const struct pending *p)
{
    struct api_event e = event_of(p);

    api_on_event(d->api, &e, p->body, p->body_len);
}

static void carry_out(struct daemon *d, struct pending *p)
{
    switch (p->kind) {
    case PENDING_ACTION:
        act(d, &p->action);
        break;
    case PENDING_EVENT:
        show_event(d, p);
        break;
    case PENDING_TOKEN:
        api_on_token(d->api, p->reply_to, 0, &p->token, p->body, "");
        break;
    }
}

/* Somebody waits for an answer or for a slice; the log comes after them. */
static void flush(struct daemon *d)
{
    struct pending_list events = TAILQ_HEAD_INITIALIZER(events);
    struct pending *p = NULL;

    while ((p = TAILQ_FIRST(&d->pending)) && p->batch <= d->committed) {
        TAILQ_REMOVE(&d->pending, p, link);
        carry_out(d, p);
        if (p->kind == PENDING_EVENT) {
            TAILQ_INSERT_TAIL(&events, p, link);
        } else {
            pending_free(p);
        }
    }
    if (d->http) {
        http_server_push(d->http);
    }
    while ((p = TAILQ_FIRST(&events))) {
        struct api_event e = event_of(p);
        log_info("%s: %s", e.kind, e.message);
        TAILQ_REMOVE(&events, p, link);
        pending_free(p);
    }
}

static int on_flush(sd_event_source *source, void *userdata)
{
    struct daemon *d = userdata;

    sd_event_source_set_enabled(source, SD_EVENT_OFF);
    flush(d);
    return 0;
}

/* --- committing ------------------------------------------------------------------------------- */

void daemon_collect(struct daemon *d, struct store_batch *batch)
{
    struct pool_record r;
    char id[24];

    while (pool_next_dirty(d->pool, &r)) {
        snprintf(id, sizeof(id), "%020" PRIu64, r.id);
        if (r.body) {
            store_batch_put(batch, (int)r.kind, id, r.body, strlen(r.body));
        } else {
            store_batch_delete(batch, (int)r.kind, id);
            if (r.kind == POOL_RECORD_LEASE) {
                meter_forget(d->meter, r.id);
            }
        }
        free(r.body);
    }
}

static void add_event(struct daemon *d, struct store_batch *batch, struct pending *p,
                      const struct api_event *e)
{
    struct buf body = BUF_INIT(EVENT_BODY_MAX);

    api_event_render(d->pool, e, &body);
    p->kind = PENDING_EVENT;
    p->seq = e->seq;
    p->time_ms = e->time_ms;
    p->body_len = body.len;
    p->body = buf_take(&body);
    store_batch_event(batch, e->seq, e->time_ms, p->body, p->body_len);
}

void daemon_submit(struct daemon *d, struct store_batch *batch)
{
    if (store_batch_is_empty(batch)) {
        store_batch_free(batch);
        sd_event_source_set_enabled(d->flush, SD_EVENT_ONESHOT);
    } else {
        d->submitted = store_submit(d->store, batch);
        count_submit(d);
    }
}

static void set_timer(struct daemon *d);

void daemon_finish_step(struct daemon *d)
{
    struct store_batch *batch = store_batch_new();
    int64_t now = daemon_now_ms(d);

    daemon_collect(d, batch);
    bool is_empty = store_batch_is_empty(batch);
    for (unsigned i = 0; i < d->actions.count; i++) {
        is_empty = is_empty && d->actions.action[i].kind != POOL_DO_HISTORY;
    }
    /* The batch's number to be; without one: that of the last, so that nothing overtakes it. */
    uint64_t number = d->submitted + !is_empty;
    for (unsigned i = 0; i < d->actions.count; i++) {
        struct pending *p = pending_may_overtake(d, &d->actions.action[i])
                                ? pending_add_first(d)
                                : pending_add(d, number);
        p->action = d->actions.action[i];
        if (p->action.kind == POOL_DO_HISTORY) {
            struct api_event e = {0};
            api_event_from_action(&p->action, ++d->event_seq, now, &e);
            add_event(d, batch, p, &e);
            account_note(d, &p->action);
            count_history(d, &p->action);
        }
    }
    d->actions.count = 0;
    if (!is_empty) {
        account_collect(d, batch);
    }
    daemon_submit(d, batch);
    set_timer(d);
}

void daemon_step(struct daemon *d, struct pool_event *event)
{
    event->now_ms = daemon_now_ms(d);
    store_expect(d->store);
    int64_t since_ns = clock_mono_ns();
    pool_step(d->pool, event, &d->actions);
    count_decision(d, since_ns);
    daemon_finish_step(d);
}

void daemon_tell(struct daemon *d, const char *kind, const char *message)
{
    struct store_batch *batch = store_batch_new();
    struct pending *p = pending_add(d, d->submitted + 1);
    struct api_event e = {.seq = ++d->event_seq, .time_ms = daemon_now_ms(d), .kind = kind,
                          .gpu = -1, .message = p->action.text};

    text_copy(p->action.text, sizeof(p->action.text), message);
    p->event_kind = kind;
    add_event(d, batch, p, &e);
    daemon_submit(d, batch);
}

/* --- sources ---------------------------------------------------------------------------------- */

static void note_store_failure(struct daemon *d)
{
    struct error err = {0};
    bool is_failing = store_failure(d->store, &err);

    if (is_failing && !d->store_problem[0]) {
        snprintf(d->store_problem, sizeof(d->store_problem), "%s", err.msg);
        log_error("the journal cannot be written: %s; changes are refused until it can", err.msg);
        daemon_tell(d, "store.failed", err.msg);
    } else if (!is_failing && d->store_problem[0]) {
        d->store_problem[0] = '\0';
        daemon_tell(d, "store.recovered", "the journal can be written again");
    }
}

static int on_store(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
    struct daemon *d = userdata;
    uint64_t before = d->committed;

    (void)source;
    (void)fd;
    (void)revents;
    d->committed = store_committed(d->store);
    count_commits(d, before);
    flush(d);
    note_store_failure(d);
    if (!d->is_ready) {
        work_tell_ready(d);
    }
    return 0;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct daemon *d = userdata;
    int64_t now = daemon_now_ms(d);

    (void)source;
    (void)usec;
    d->timer_ms = 0;
    if (pool_next_deadline_ms(d->pool) <= now) {
        daemon_step(d, &(struct pool_event){.kind = POOL_EV_TICK});
    }
    api_on_tick(d->api, now);
    set_timer(d);
    return 0;
}

static void set_timer(struct daemon *d)
{
    int64_t due = pool_next_deadline_ms(d->pool);
    int64_t api_due = d->api ? api_next_deadline_ms(d->api) : INT64_MAX;

    due = api_due < due ? api_due : due;
    if (due == INT64_MAX || !d->timer) {
        return;
    }
    if (d->timer_ms && d->timer_ms <= due) {
        return; /* it wakes early enough */
    }
    d->timer_ms = due;
    int64_t at_ms = due - d->clock_offset_ms;
    sd_event_source_set_time(d->timer, at_ms > 0 ? (uint64_t)at_ms * 1000 : 1);
    sd_event_source_set_enabled(d->timer, SD_EVENT_ONESHOT);
}

/* The API's deadlines change without a step (a request that waits): looked at before each sleep. */
static int on_prepare(sd_event_source *source, void *userdata)
{
    (void)source;
    set_timer(userdata);
    return 0;
}

static int on_signal(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
    struct daemon *d = userdata;

    log_info("signal %u: stopping; slices and leases stay as they are", info->ssi_signo);
    d->is_stopping = true;
    return sd_event_exit(sd_event_source_get_event(source), 0);
}

int loop_init(struct daemon *d, struct error *err)
{
    sd_event_source *store_source = NULL;
    int rc = sd_event_add_io(d->event, &store_source, store_fd(d->store), EPOLLIN, on_store, d);

    d->clock_offset_ms = clock_real_ms() - boot_clock_ms();
    d->started_ms = daemon_now_ms(d);
    rc = rc < 0 ? rc : sd_event_source_set_prepare(store_source, on_prepare);
    rc = rc < 0 ? rc : sd_event_source_set_floating(store_source, true);
    sd_event_source_unref(store_source);
    rc = rc < 0 ? rc : sd_event_add_time(d->event, &d->timer, CLOCK_BOOTTIME, 0, 1000, on_timer, d);
    rc = rc < 0 ? rc : sd_event_source_set_enabled(d->timer, SD_EVENT_OFF);
    rc = rc < 0 ? rc : sd_event_add_defer(d->event, &d->flush, on_flush, d);
    rc = rc < 0 ? rc : sd_event_source_set_enabled(d->flush, SD_EVENT_OFF);
    rc = rc < 0 ? rc : sd_event_add_signal(d->event, NULL, SIGTERM, on_signal, d);
    rc = rc < 0 ? rc : sd_event_add_signal(d->event, NULL, SIGINT, on_signal, d);
    return rc < 0 ? err_set(err, -rc, "cannot set up the event loop: %s", strerror(-rc)) : 0;
}

void loop_done(struct daemon *d)
{
    struct pending *p = NULL;

    while ((p = TAILQ_FIRST(&d->pending))) {
        TAILQ_REMOVE(&d->pending, p, link);
        pending_free(p);
    }
    d->timer = sd_event_source_disable_unref(d->timer);
    d->flush = sd_event_source_disable_unref(d->flush);
    pool_actions_done(&d->actions);
}
