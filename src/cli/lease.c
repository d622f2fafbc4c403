/* Leases for people: what to ask for, how one is shown, and how to wait for one.
 *
 * A request that may not wait is sent with wait_s -1: the daemon refuses it when it cannot be had
 * now. Being cut is not waiting.  One that may wait is sent with wait_s 0 and then looked at with
 * long polls, short enough to tell the reason when it changes. When the time is over, or on
 * Ctrl-C, it is cancelled: nothing stays in the queue that nobody waits for. */
#include "cli/lease.h"
#include "base/clock.h"
#include "base/text.h"
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>

#define POLL_QUEUED_S 2
#define POLL_CUTTING_S 20
#define AWAY_MS 30000 /* the daemon may be away that long (a restart) */

void lease_add_profile(const json_t *lease, struct buf *b)
{
    int64_t count = js_int(lease, "count", 1);

    buf_adds(b, js_text(lease, "profile", "?"));
    if (count > 1) {
        buf_addf(b, " x%lld", (long long)count);
    }
}

static void add_place(const json_t *slice, struct buf *b)
{
    const json_t *placement = json_object_get(slice, "placement");
    const json_t *index = json_object_get(slice, "gpu_index");

    if (!json_is_integer(index)) {
        return;
    }
    buf_addf(b, "GPU %lld", (long long)json_integer_value(index));
    buf_adds(b, json_is_object(placement) ? " " : "");
    out_add_placement(placement, b);
}

void lease_add_age(const json_t *lease, struct buf *b)
{
    int64_t t = js_time_ms(lease, "created_at");

    if (t >= 0) {
        out_add_span(b, clock_real_ms() - t);
    }
}

void lease_add_left(const json_t *lease, const char *key, const char *over, struct buf *b)
{
    int64_t t = js_time_ms(lease, key), left = t - clock_real_ms();

    if (t >= 0 && left > 0) {
        buf_adds(b, "in ");
        out_add_span(b, left);
    } else if (t >= 0) {
        buf_adds(b, over);
    }
}

void lease_add_where(const json_t *lease, struct buf *b)
{
    const json_t *slices = js_array(lease, "slices"), *slice = NULL;
    size_t i = 0;

    if (!json_array_size(slices)) {
        add_place(lease, b);
        return;
    }
    json_array_foreach(slices, i, slice)
    {
        buf_adds(b, i ? ", " : "");
        add_place(slice, b);
    }
}

static void add_quoted(struct buf *b, const char *value)
{
    if (*value && !value[strspn(value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                       "0123456789_-,./:=+")]) {
        buf_adds(b, value);
        return;
    }
    buf_adds(b, "'");
    for (const char *p = value; *p; p++) {
        buf_add(b, *p == '\'' ? "'\\''" : p, *p == '\'' ? 4 : 1);
    }
    buf_adds(b, "'");
}

void lease_print_export(const char *name, const char *value, void *indent)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(65536);

    add_quoted(&b, value);
    printf("%sexport %s=%s\n", (const char *)indent, name, b.data);
}

void lease_each_variable(const json_t *lease, void (*fn)(const char *, const char *, void *),
                         void *userdata)
{
    const json_t *env = json_object_get(lease, "env");
    const char *cuda = js_str(env, "CUDA_VISIBLE_DEVICES");
    const char *nvidia = js_str(env, "NVIDIA_VISIBLE_DEVICES");

    if (cuda) {
        fn("CUDA_VISIBLE_DEVICES", cuda, userdata);
        fn("NVIDIA_VISIBLE_DEVICES", nvidia ? nvidia : cuda, userdata);
    }
    fn("TANGRAM_LEASE", js_text(lease, "id", ""), userdata);
}

static void print_field(const struct out *out, const char *name, const char *value)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(65536);

    if (value && *value) {
        text_add_escaped(&b, value);
        printf("  %s%-8s%s %s\n", out_color(out, COLOR_DIM), name, out_color(out, COLOR_NONE),
               b.data);
    }
}

static bool has_several_mig(const json_t *lease)
{
    const char *cuda = js_text(json_object_get(lease, "env"), "CUDA_VISIBLE_DEVICES", "");

    return !strncmp(cuda, "MIG-", 4) && strchr(cuda, ',');
}

void lease_print(const struct out *out, const json_t *lease, const char *used)
{
    CLEANUP(buf_done) struct buf head = BUF_INIT(65536), where = BUF_INIT(65536);
    const char *state = js_text(lease, "state", "?");
    const json_t *timing = json_object_get(lease, "timing");
    char indent[] = "  ";

    buf_addf(&head, "%s  ", js_text(lease, "id", "?"));
    lease_add_profile(lease, &head);
    CLEANUP(buf_done) struct buf safe = BUF_INIT(65536);
    text_add_escaped(&safe, head.data);
    printf("%s%s%s  %s%s%s\n", out_color(out, COLOR_BOLD), safe.data, out_color(out, COLOR_NONE),
           out_color(out, out_state_color(state)), state, out_color(out, COLOR_NONE));
    lease_add_where(lease, &where);
    print_field(out, "on", where.data);
    print_field(out, "tenant", js_str(lease, "tenant"));
    print_field(out, "name", js_str(lease, "name"));
    print_field(out, "model", js_str(lease, "model"));
    print_field(out, "granted", js_str(lease, "granted_at"));
    print_field(out, "expires", js_str(lease, "expires_at"));
    print_field(out, "ended", js_str(lease, "ended_at"));
    print_field(out, "reason", js_str(lease, "reason"));
    if (!strcmp(js_text(json_object_get(lease, "move"), "state", ""), "asked")) {
        CLEANUP(freep) char *text = xasprintf("asked, until %s: see tangram move %s",
                                              js_text(json_object_get(lease, "move"), "until", "?"),
                                              js_text(lease, "id", "ID"));
        print_field(out, "move", text);
    }
    print_field(out, "uses", used);
    if (json_is_object(timing) && !strcmp(state, "active")) {
        CLEANUP(buf_done) struct buf took = BUF_INIT(256);
        buf_addf(&took, "%lld ms in the queue, %lld ms in the driver, %lld ms besides",
                 (long long)js_int(timing, "wait_ms", 0),
                 (long long)js_int(timing, "driver_ms", 0),
                 (long long)js_int(timing, "overhead_ms", 0));
        print_field(out, "took", took.data);
    }
    if (!strcmp(state, "active")) {
        printf("To use it in this shell (or let eval \"$(tangram lease --env ...)\" do it):\n");
        lease_each_variable(lease, lease_print_export, indent);
        if (has_several_mig(lease)) {
            printf("A CUDA program uses one MIG device, the first that is visible to it: start "
                   "one\nprogram for each slice, with one of these in CUDA_VISIBLE_DEVICES.\n");
        }
        printf("To give it back:\n  tangram release %s\n", js_text(lease, "id", "ID"));
    }
}

static int add_labels(struct cli *cli, json_t *request)
{
    json_t *labels = json_object();

    json_object_set_new(request, "labels", labels);
    for (size_t i = 0; i < cli->args.given_count; i++) {
        const struct cli_given *g = &cli->args.given[i];
        if (g->id != OPT_LABEL) {
            continue;
        }
        const char *equals = strchr(g->value, '=');
        if (!equals || equals == g->value) {
            return cli_usage(cli, "--label takes KEY=VALUE, not '%.60s'", g->value);
        }
        CLEANUP(freep) char *key = xasprintf("%.*s", (int)(equals - g->value), g->value);
        if (json_object_set_new(labels, key, json_string(equals + 1)) < 0) {
            return cli_usage(cli, "--label '%.60s' is not valid UTF-8", g->value);
        }
    }
    return json_object_size(labels) ? 0 : json_object_del(request, "labels");
}

static int set_text(struct cli *cli, json_t *request, enum cli_opt id, const char *key)
{
    const char *value = cli_args_get(&cli->args, id);

    if (value && json_object_set_new(request, key, json_string(value)) < 0) {
        return cli_usage(cli, "--%s is not valid UTF-8", cli_option_find(id)->name);
    }
    return 0;
}

static int set_numbers(struct cli *cli, json_t *request)
{
    int64_t count = 1, priority = 0, ttl_ms = -1;

    int rc = cli_opt_int(cli, OPT_COUNT_N, 1, 64, &count);
    rc = rc ? rc : cli_opt_int(cli, OPT_PRIORITY, -100, 100, &priority);
    rc = rc ? rc : cli_opt_duration_ms(cli, OPT_TTL, &ttl_ms);
    if (rc) {
        return rc;
    }
    if (ttl_ms == 0) {
        return cli_usage(cli, "--ttl 0 would end the lease at once");
    }
    json_object_set_new(request, "count", json_integer(count));
    if (cli_args_has(&cli->args, OPT_PRIORITY)) {
        json_object_set_new(request, "priority", json_integer(priority));
    }
    if (ttl_ms > 0) {
        json_object_set_new(request, "ttl_s", json_integer((ttl_ms + 999) / 1000));
    }
    return 0;
}

int lease_request_from_options(struct cli *cli, json_t **ret)
{
    CLEANUP(json_decrefp) json_t *request = json_object();
    const char *profile = cli_args_get(&cli->args, OPT_PROFILE);

    if (!profile || !*profile) {
        return cli_usage(cli, "say what to get: -p PROFILE, as in -p 2g.20gb or -p memory=12GiB");
    }
    int rc = set_text(cli, request, OPT_PROFILE, "profile");
    rc = rc ? rc : set_text(cli, request, OPT_MODEL, "model");
    rc = rc ? rc : set_text(cli, request, OPT_NAME, "name");
    rc = rc ? rc : set_numbers(cli, request);
    rc = rc ? rc : add_labels(cli, request);
    if (rc) {
        return rc;
    }
    if (cli_args_has(&cli->args, OPT_MOVABLE)) {
        json_object_set_new(request, "movable", json_true());
    }
    *ret = TAKE_PTR(request);
    return 0;
}

/* --- waiting --- */

struct waiting {
    struct cli *cli;
    struct client *client;
    int64_t deadline_ms; /* monotonic; INT64_MAX: no limit */
    int64_t away_since_ms;
    char *id, *reason;
    int signals;
};

static void waiting_done(struct waiting *w)
{
    free(w->id);
    free(w->reason);
}

/* Milliseconds that the request may wait: -1 not at all, INT64_MAX without limit. */
static int read_wait(struct cli *cli, int64_t *ret_ms)
{
    const char *value = cli_args_get(&cli->args, OPT_WAIT);

    *ret_ms = 0;
    if (value && !strcmp(value, "forever")) {
        *ret_ms = INT64_MAX;
        return 0;
    }
    int rc = cli_opt_duration_ms(cli, OPT_WAIT, ret_ms);
    if (!rc && *ret_ms == 0) {
        *ret_ms = -1;
    }
    return rc;
}

void lease_add_signal(sigset_t *set, int number)
{
    struct sigaction now = {0};

    if (sigaction(number, NULL, &now) == 0 && now.sa_handler != SIG_IGN) {
        sigaddset(set, number);
    }
}

int lease_block_signals(void)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
    sigset_t set;

    sigemptyset(&set);
    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
        lease_add_signal(&set, numbers[i]);
    }
    sigprocmask(SIG_BLOCK, &set, NULL);
    return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* Cancels the request; whatever becomes of that, the daemon has its own eyes on `run`. */
static void cancel(struct waiting *w)
{
    CLEANUP(freep) char *path = cli_path("/v1/leases/", w->id, "");
    CLEANUP(client_reply_done) struct client_reply reply = {0};
    struct error err = {0};

    client_set_cancel_fd(w->client, -1);
    if (client_request(w->client, "DELETE", path, NULL, 5000, &reply, &err) < 0) {
        cli_say("%s may still be waiting: %s", w->id, err.msg);
    } else if (reply.status > 299 && reply.status != 409) {
        cli_say("%s may still be waiting: %s", w->id, js_text(reply.body, "detail", ""));
    }
}

static int cancel_on_signal(struct waiting *w)
{
    struct signalfd_siginfo info = {0};

    if (read(w->signals, &info, sizeof(info)) != (ssize_t)sizeof(info)) {
        info.ssi_signo = SIGINT;
    }
    cancel(w);
    cli_say("interrupted: %s is cancelled", w->id);
    return 128 + (int)info.ssi_signo;
}

/* Tells why it waits, when that has changed. */
static void tell_why(struct waiting *w)
{
    CLEANUP(freep) char *path = cli_path("/v1/leases/", w->id, "/why");
    CLEANUP(client_reply_done) struct client_reply reply = {0};
    CLEANUP(buf_done) struct buf b = BUF_INIT(4096);

    if (client_request(w->client, "GET", path, NULL, CLIENT_TIMEOUT_MS, &reply, NULL) < 0 ||
        reply.status != 200 || strcmp(js_text(reply.body, "state", ""), "queued") != 0) {
        return;
    }
    buf_addf(&b, "%s waits", w->id);
    if (js_int(reply.body, "position", 0) > 0) {
        buf_addf(&b, " (number %lld in the queue)", (long long)js_int(reply.body, "position", 0));
    }
    buf_addf(&b, ": %s", js_text(reply.body, "reason", "the daemon gives no reason"));
    if (!w->reason || strcmp(w->reason, b.data) != 0) {
        cli_say("%s", b.data);
        free(w->reason);
        w->reason = buf_take(&b);
    }
}

/* The daemon cannot be reached while we wait: is it worth trying again? */
static int wait_out_absence(struct waiting *w, const struct error *err)
{
    struct pollfd fd = {.fd = w->signals, .events = POLLIN};
    int64_t now_ms = clock_mono_ms();

    if (!w->away_since_ms) {
        w->away_since_ms = now_ms;
        cli_say("the daemon went away; %s is kept, waiting for it to come back", w->id);
    }
    if (now_ms - w->away_since_ms > AWAY_MS) {
        return cli_fail(err);
    }
    if (poll(&fd, 1, 250) > 0) {
        cli_say("interrupted: %s could not be cancelled, the daemon is away", w->id);
        return 128 + SIGINT;
    }
    return 0;
}

/* The end of a request that was not granted. */
static int fail_ended(const struct waiting *w, const json_t *lease)
{
    const char *state = js_text(lease, "state", "gone");

    cli_say("%s was not granted: it is %s%s%s", w->id, state, js_str(lease, "reason") ? ": " : "",
            js_text(lease, "reason", ""));
    return !strcmp(state, "expired") ? CLI_WAIT : CLI_FAILED;
}

static int fail_too_long(struct waiting *w)
{
    cancel(w);
    cli_say("%s was not granted in time and is cancelled%s", w->id,
            w->reason ? "" : "; ask 'tangram plan' what is in the way");
    return CLI_WAIT;
}

/* Looks at the lease once, waiting for a change.  Returns an exit status, or 0 with the lease, or
 * 0 without one (look again). */
static int look(struct waiting *w, bool is_cutting, json_t **ret)
{
    int64_t left_ms = w->deadline_ms == INT64_MAX ? INT64_MAX : w->deadline_ms - clock_mono_ms();
    int64_t wait_s = is_cutting ? POLL_CUTTING_S : POLL_QUEUED_S;
    CLEANUP(client_reply_done) struct client_reply reply = {0};
    struct error err = {0};
    char suffix[32];

    if (!is_cutting && left_ms < wait_s * 1000) {
        /* The last stretch is waited for here: the daemon counts in seconds. */
        struct pollfd fd = {.fd = w->signals, .events = POLLIN};
        wait_s = left_ms > 0 ? left_ms / 1000 : 0;
        if (wait_s == 0 && left_ms > 0) {
            poll(&fd, 1, (int)left_ms);
        }
    }
    snprintf(suffix, sizeof(suffix), "?wait_s=%lld", (long long)wait_s);
    CLEANUP(freep) char *path = cli_path("/v1/leases/", w->id, suffix);
    int rc = client_request(w->client, "GET", path, NULL, wait_s * 1000 + CLIENT_TIMEOUT_MS,
                            &reply, &err);
    if (rc == -ECANCELED) {
        return cancel_on_signal(w);
    }
    if (rc == -ECONNREFUSED || (rc == 0 && reply.status == 503)) {
        return wait_out_absence(w, &err);
    }
    if (rc < 0) {
        return cli_fail(&err);
    }
    if (reply.status != 200 || !reply.body) {
        return cli_fail_reply(&reply);
    }
    w->away_since_ms = 0;
    *ret = TAKE_PTR(reply.body);
    return 0;
}

static int wait_for_grant(struct waiting *w, json_t *first, json_t **ret)
{
    CLEANUP(json_decrefp) json_t *lease = json_incref(first);

    for (;;) {
        const char *state = lease ? js_text(lease, "state", "") : "queued";
        bool is_cutting = !strcmp(state, "cutting");
        if (!strcmp(state, "active")) {
            *ret = TAKE_PTR(lease);
            return 0;
        }
        if (!is_cutting && strcmp(state, "queued") != 0) {
            return fail_ended(w, lease);
        }
        if (!is_cutting && lease) {
            if (clock_mono_ms() >= w->deadline_ms) {
                return fail_too_long(w);
            }
            tell_why(w);
        }
        json_decref(lease);
        lease = NULL;
        int rc = look(w, is_cutting, &lease);
        if (rc) {
            return rc;
        }
    }
}

/* Interrupted before the daemon has answered: it has the request perhaps, and would keep it.  Asks
 * what became of it, and cancels it. */
static int cancel_unanswered(struct waiting *w, const json_t *request)
{
    CLEANUP(client_reply_done) struct client_reply reply = {0};
    struct error err = {0};

    client_set_cancel_fd(w->client, -1);
    client_repeat_key(w->client);
    int rc = client_request(w->client, "POST", "/v1/leases", request, 3000, &reply, &err);
    if (rc < 0) {
        cli_say("interrupted before the daemon answered: see 'tangram leases'");
        return 128 + SIGINT;
    }
    if (reply.status > 299 || !js_str(reply.body, "id")) {
        cli_say("interrupted");
        return 128 + SIGINT;
    }
    w->id = xstrdup(js_str(reply.body, "id"));
    return cancel_on_signal(w);
}

int lease_obtain(struct cli *cli, json_t *request, int *ret_signals, json_t **ret)
{
    CLEANUP(waiting_done) struct waiting w = {.cli = cli, .signals = -1};
    CLEANUP(client_reply_done) struct client_reply reply = {0};
    struct error err = {0};
    int64_t wait_ms = 0;
    int rc = read_wait(cli, &wait_ms);

    w.client = rc ? NULL : cli_client(cli, &rc);
    if (!w.client) {
        return rc;
    }
    bool may_wait = cli_args_has(&cli->args, OPT_WAIT) && wait_ms > 0;
    w.deadline_ms = wait_ms == INT64_MAX ? INT64_MAX : clock_mono_ms() + (may_wait ? wait_ms : 0);
    json_object_set_new(request, "wait_s", json_integer(may_wait ? 0 : -1));
    w.signals = *ret_signals = lease_block_signals();
    client_set_cancel_fd(w.client, w.signals);
    if (client_request(w.client, "POST", "/v1/leases", request, CLIENT_TIMEOUT_MS, &reply, &err) <
        0) {
        return err.code == ECANCELED ? cancel_unanswered(&w, request) : cli_fail(&err);
    }
    if (reply.status < 200 || reply.status > 299) {
        bool is_busy = !strcmp(js_text(reply.body, "reason", ""), "does_not_fit");
        return cli_fail_reply_hint(&reply, is_busy ? "add --wait 5m to wait for it" : NULL);
    }
    if (!js_str(reply.body, "id")) {
        cli_say("the daemon's answer has no lease in it");
        return CLI_FAILED;
    }
    w.id = xstrdup(js_str(reply.body, "id"));
    return wait_for_grant(&w, reply.body, ret);
}
