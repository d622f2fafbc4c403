/* From a configuration to a running daemon.
 *
 * The journal first (nothing is done that cannot be written down), then the driver, then the pool
 * from both; clients are let in last.  /readyz answers 503 until every GPU has been read once, or
 * has shown that it cannot be. */
#include "base/log.h"
#include "base/text.h"
#include "daemon/daemon.h"
#include <grp.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>

#define FLUSH_MS 5000
#define OPEN_LEAST_MS 5000 /* a driver that has to wake its GPUs is slow */

static int open_store(struct daemon *d, struct error *err)
{
    struct store_settings settings = {.dir = d->config.state_dir,
                                      .events_max = d->config.keep_events};
    int rc = store_open(&settings, &d->store, &d->store_report, err);

    if (rc < 0) {
        return err_wrap(err, "state directory");
    }
    for (unsigned i = 0; i < d->store_report.count; i++) {
        log_warn("journal: %s", d->store_report.lines[i]);
    }
    if (facts_state_problem(d)) {
        log_warn("state directory: %s %s", d->config.state_dir, facts_state_problem(d));
    }
    d->event_seq = store_last_event(d->store);
    return 0;
}

static int add_gpus(struct daemon *d, struct error *err)
{
    struct driver_settings settings = {.path = d->config.driver, .event_wait_ms = 500};

    settings.open_timeout_ms = d->config.call_timeout_ms > OPEN_LEAST_MS
                                   ? (uint32_t)d->config.call_timeout_ms : OPEN_LEAST_MS;
    int rc = driver_open(&settings, &d->driver, err);

    if (rc < 0 && d->is_simulated) {
        return err_wrap(err, "the simulated machine %.200s/machine cannot be used; one that "
                        "another version has made has to be removed", d->config.state_dir);
    }
    if (rc < 0) {
        return err_wrap(err, "driver");
    }
    for (uint32_t i = 0; i < driver_gpu_count(d->driver); i++) {
        const struct mig_gpu_info *info = driver_gpu_info(d->driver, i);
        struct config_gpu rule = config_gpu_rule_for(&d->config, info);
        if (d->config.simulate && !d->config.gpu_count) {
            /* Nothing to protect, and it starts with MIG off. */
            rule.mig_policy = POOL_MIG_ON_DEMAND;
        }
        unsigned id = 0;
        rc = pool_add_gpu(d->pool, info, driver_gpu_geometry(d->driver, i), rule.is_managed,
                          rule.mig_policy, &id, err);
        if (rc < 0) {
            return rc;
        }
        log_info("GPU %u: %s, %s%s%s", info->index, info->name,
                 !info->is_mig_capable ? "no MIG" : info->is_mig_enabled ? "MIG on" : "MIG off",
                 rule.is_managed ? "" : ", not managed", info->is_healthy ? "" : ", not healthy");
    }
    return 0;
}

/* --- records ---------------------------------------------------------------------------------- */

static int load_one(int kind, const char *id, const char *body, size_t len, void *userdata)
{
    struct daemon *d = userdata;
    struct error err = {0};
    int rc = 0;

    if (kind == DAEMON_RECORD_TOKEN) {
        rc = tokens_load(d, id, body, len);
    } else if (kind == DAEMON_RECORD_META) {
        rc = !strcmp(id, "clock") ? setclock_load(d, body, len) : tokens_load_meta(d, body, len);
    } else if (kind == DAEMON_RECORD_ACCOUNT) {
        rc = meter_load_record(d->meter, METER_RECORD_ACCOUNT, id, body, len, &err);
    } else if (kind == DAEMON_RECORD_USAGE) {
        rc = meter_load_record(d->meter, METER_RECORD_LEASE, id, body, len, &err);
    } else if (kind == DAEMON_RECORD_DAY) {
        rc = meter_load_record(d->meter, METER_RECORD_DAY, id, body, len, &err);
    } else {
        rc = pool_load_record(d->pool, (enum pool_record_kind)kind, strtoull(id, NULL, 10), body,
                              &err);
    }
    if (rc < 0) {
        log_error("a record of the journal is not usable (%d/%s): %s", kind, id, err.msg);
    }
    return 0;
}

/* META first, then SLICE, then the rest, as the pool wants it; the store has them by kind. */
static int load_slices(int kind, const char *id, const char *body, size_t len, void *userdata)
{
    bool is_first = kind == POOL_RECORD_META || kind == POOL_RECORD_SLICE;

    return is_first ? load_one(kind, id, body, len, userdata) : 0;
}

static int load_others(int kind, const char *id, const char *body, size_t len, void *userdata)
{
    bool is_first = kind == POOL_RECORD_META || kind == POOL_RECORD_SLICE;

    return is_first ? 0 : load_one(kind, id, body, len, userdata);
}

static int load_records(struct daemon *d, struct error *err)
{
    int rc = store_load(d->store, load_slices, d, err);

    return rc < 0 ? rc : store_load(d->store, load_others, d, err);
}

/* --- the API's side --------------------------------------------------------------------------- */

static int64_t host_now_ms(void *userdata)
{
    return daemon_now_ms(userdata);
}

static void host_step(void *userdata, struct pool_event *event)
{
    daemon_step(userdata, event);
}

static int host_identify(void *userdata, const struct http_peer *peer, struct api_identity *ret)
{
    return identity_find(userdata, peer, ret);
}

static uint64_t host_process_start(void *userdata, int pid)
{
    (void)userdata;
    return watch_process_start(pid);
}

static int host_events_after(void *userdata, int64_t after_seq, unsigned limit,
                             void (*each)(int64_t seq, int64_t time_ms, const char *body,
                                          size_t len, void *arg),
                             void *arg)
{
    const struct daemon *d = userdata;
    struct error err = {0};

    return store_events(d->store, after_seq, limit, each, arg, &err);
}

/* The socket's group, by name or number. */
static int set_socket_group(const struct daemon_config *c, struct error *err)
{
    const struct group *g = getgrnam(c->socket_group);
    int64_t number = 0;

    if (!g && text_parse_int(c->socket_group, "group", 0, UINT32_MAX - 1, &number, NULL) < 0) {
        return err_set(err, ENOENT, "socket: group: there is no group '%s'", c->socket_group);
    }
    if (chown(c->socket_path, (uid_t)-1, g ? g->gr_gid : (gid_t)number) < 0) {
        return err_set(err, errno, "cannot give %s to group %s: %s", c->socket_path,
                       c->socket_group, strerror(errno));
    }
    return 0;
}

static int open_doors(struct daemon *d, struct error *err)
{
    struct api_host host = {
        .userdata = d, .pool = d->pool, .meter = d->meter,
        .counters = &d->counters, .boards = d->boards, .board_count = driver_gpu_count(d->driver),
        .sample_interval_ms = d->config.sample_interval_ms,
        .advice_after_ms = d->config.advice_after_ms, .idle_after_ms = d->config.idle_after_ms,
        .now_ms = host_now_ms, .step = host_step,
        .identify = host_identify, .facts = facts_fill, .process_start = host_process_start,
        .doctor = facts_doctor, .events_after = host_events_after, .token_create = tokens_create,
        .token_revoke = tokens_revoke, .tokens = tokens_each,
    };
    struct http_settings settings = {
        .socket_path = d->config.socket_path, .socket_mode = d->config.socket_mode,
        .listen = d->config.listen, .inherited_fd = -1,
        .connections_max = d->config.connections_max, .authenticate = tokens_check,
        .authenticate_data = d, .counted_as = identity_counted_as, .counted_as_data = d,
    };
    int rc = api_new(&host, &d->api, err);

    if (rc < 0) {
        return rc;
    }
    api_set_last_event(d->api, d->event_seq);
    if (sd_listen_fds(1) > 0) {
        settings.inherited_fd = SD_LISTEN_FDS_START;
        settings.socket_path = NULL;
    }
    rc = http_server_new(d->event, &settings, api_routes(), d->api, &d->http, err);
    if (rc < 0) {
        return err_wrap(err, "cannot open the API");
    }
    return d->config.socket_group && settings.socket_path ? set_socket_group(&d->config, err) : 0;
}

/* From here on the loop hears them.  Before it, while the driver may hang, they end the process at
 * once, which is no worse than any other crash; threads have them blocked in any case. */
static void take_signals(void)
{
    sigset_t blocked;

    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    sigaddset(&blocked, SIGINT);
    sigprocmask(SIG_BLOCK, &blocked, NULL);
}

int daemon_open(struct daemon *d, struct error *err)
{
    int rc = sd_event_default(&d->event);

    TAILQ_INIT(&d->pending);
    LIST_INIT(&d->watches);
    gethostname(d->machine, sizeof(d->machine) - 1);
    if (rc < 0) {
        return err_set(err, -rc, "cannot make an event loop: %s", strerror(-rc));
    }
    sd_event_set_watchdog(d->event, true);
    if (d->config.simulate && (rc = simulate_prepare(d, err)) < 0) {
        return rc;
    }
    if ((rc = open_store(d, err)) < 0) {
        return rc;
    }
    d->pool = pool_new(&d->config.pool);
    d->meter = meter_new(&d->config.rates, d->config.keep_usage_days);
    if ((rc = add_gpus(d, err)) < 0 || (rc = load_records(d, err)) < 0) {
        return rc;
    }
    take_signals();
    if ((rc = loop_init(d, err)) < 0 || (rc = work_init(d, err)) < 0 ||
        (rc = identity_init(d, err)) < 0 || (rc = sampling_init(d, err)) < 0 ||
        (rc = open_doors(d, err)) < 0) {
        return rc;
    }
    snprintf(d->not_ready, sizeof(d->not_ready), "the GPUs are still being read");
    daemon_tell(d, "daemon.started", d->store_report.is_damaged
                                         ? "tangramd has started; the journal was damaged (see "
                                           "doctor)"
                                         : "tangramd has started");
    setclock_mend(d);
    account_resume(d);
    pool_start(d->pool, daemon_now_ms(d), &d->actions);
    daemon_finish_step(d);
    log_info("listening on %s%s%s", d->config.socket_path, d->config.listen ? " and " : "",
             d->config.listen ? d->config.listen : "");
    return 0;
}

void daemon_close(struct daemon *d)
{
    struct error err = {0};

    d->is_stopping = true;
    sd_notify(0, "STOPPING=1");
    if (d->store && d->sampler) {
        sampling_settle(d);
    }
    if (d->store && d->api) {
        daemon_tell(d, "daemon.stopped", "tangramd has stopped; slices and leases stay");
    }
    if (d->http) {
        http_server_stop_listening(d->http);
        api_shut_down(d->api);
    }
    /* First, because the last of the driver's threads closes the descriptor. */
    d->driver_source = sd_event_source_disable_unref(d->driver_source);
    driver_close(d->driver);
    if (d->store && store_close(d->store, FLUSH_MS, &err) < 0) {
        log_error("the journal was not written to its end: %s", err.msg);
    }
    watch_done(d);
    sampling_done(d);
    count_done(d);
    http_server_free(d->http);
    work_done(d);
    loop_done(d);
    api_free(d->api);
    pool_free(d->pool);
    meter_free(d->meter);
    tokens_done(d);
    identity_done(d);
    config_done(&d->config);
    sd_event_unref(d->event);
}
