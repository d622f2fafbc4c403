#include "cli/usage.h"
#include "base/clock.h"
#include "base/text.h"
#include "cli/cli.h"
#include <math.h>

/* "12.3", from a member that may be null. */
static void add_percent(const json_t *row, const char *key, struct buf *b)
{
    const json_t *v = json_object_get(row, key);

    if (json_is_number(v)) {
        buf_addf(b, "%.1f", json_number_value(v));
    }
}

static void add_sm(const json_t *row, struct buf *b)
{
    add_percent(row, "sm_mean_percent", b);
}

static void add_sm_peak(const json_t *row, struct buf *b)
{
    add_percent(row, "sm_peak_percent", b);
}

static void add_sm_p95(const json_t *row, struct buf *b)
{
    add_percent(row, "sm_p95_percent", b);
}

static void add_memory(const json_t *row, struct buf *b)
{
    add_percent(row, "memory_peak_percent", b);
}

static void add_idle(const json_t *row, struct buf *b)
{
    add_percent(row, "idle_percent", b);
}

#define HELD                                                                                       \
    {"COMPUTE-HOURS", "compute_slot_hours", NULL, COLUMN_RIGHT},                                   \
    {"GIB-HOURS", "memory_gib_hours", NULL, COLUMN_RIGHT}, {"COST", "cost", NULL, COLUMN_RIGHT}
#define DONE                                                                                       \
    {"SM%", NULL, add_sm, COLUMN_RIGHT}, {"MEM-PEAK%", NULL, add_memory, COLUMN_RIGHT},            \
    {"IDLE%", NULL, add_idle, COLUMN_RIGHT},                                                       \
    {"SM-PEAK%", NULL, add_sm_peak, COLUMN_WIDE | COLUMN_RIGHT},                                   \
    {"SAMPLED-HOURS", "sampled_hours", NULL, COLUMN_WIDE | COLUMN_RIGHT}
#define NOW                                                                                        \
    {"NOW", "active_leases", NULL, COLUMN_RIGHT},                                                  \
    {"COMPUTE-NOW", "active_compute_slots", NULL, COLUMN_WIDE | COLUMN_RIGHT},                     \
    {"MIB-NOW", "active_memory_mib", NULL, COLUMN_WIDE | COLUMN_RIGHT}
#define LEASES {"LEASES", "leases", NULL, COLUMN_RIGHT}

static const struct out_column by_tenant[] = {
    {"TENANT", "tenant", NULL, 0}, LEASES, NOW, HELD, DONE,
};
static const struct out_column by_profile[] = {
    {"TENANT", "tenant", NULL, 0}, {"PROFILE", "profile", NULL, 0}, LEASES, NOW, HELD, DONE,
};
static const struct out_column by_day[] = {
    {"DAY", "day", NULL, 0}, {"TENANT", "tenant", NULL, 0}, LEASES, HELD, DONE,
};
static const struct out_column by_lease[] = {
    {"LEASE", "lease", NULL, 0},
    {"TENANT", "tenant", NULL, 0},
    {"PROFILE", "profile", NULL, 0},
    HELD,
    DONE,
    {"SM-P95%", NULL, add_sm_p95, COLUMN_WIDE | COLUMN_RIGHT},
    {"MEM-PEAK-MIB", "memory_peak_mib", NULL, COLUMN_WIDE | COLUMN_RIGHT},
    {"SAMPLES", "samples", NULL, COLUMN_WIDE | COLUMN_RIGHT},
    {"GRANTED", "granted_at", NULL, COLUMN_WIDE},
    {"ENDED", "ended_at", NULL, COLUMN_WIDE},
};

#define TABLE(columns) {columns, ARRAY_SIZE(columns)}

static const struct {
    const char *by;
    struct {
        const struct out_column *columns;
        size_t count;
    } table;
} tables[] = {
    {"tenant", TABLE(by_tenant)},
    {"profile", TABLE(by_profile)},
    {"day", TABLE(by_day)},
    {"lease", TABLE(by_lease)},
};

/* For which time the sums are: they grow to whole days, and that is said. */
static void print_range(const json_t *answer)
{
    const char *since = js_str(answer, "since"), *until = js_str(answer, "until");

    if (since || until) {
        CLEANUP(buf_done) struct buf b = BUF_INIT(1024);
        buf_addf(&b, "from %.16s until %.16s (UTC)", since ? since : "the first",
                 until ? until : "now");
        CLEANUP(buf_done) struct buf safe = BUF_INIT(4096);
        text_add_escaped(&safe, b.data);
        printf("%s\n", safe.data);
    }
}

static int draw_usage(struct cli *cli)
{
    CLEANUP(buf_done) struct buf path = BUF_INIT(65536);
    CLEANUP(json_decrefp) json_t *answer = NULL;
    const char *by = cli_args_get(&cli->args, OPT_BY);
    size_t table = 0;

    while (by && table < ARRAY_SIZE(tables) && strcmp(tables[table].by, by) != 0) {
        table++;
    }
    if (table == ARRAY_SIZE(tables)) {
        return cli_usage(cli, "--by takes tenant, profile, day or lease, not '%.40s'", by);
    }
    buf_adds(&path, "/v1/usage");
    cli_add_query(cli, &path, OPT_BY, "by");
    cli_add_query(cli, &path, OPT_SINCE, "since");
    cli_add_query(cli, &path, OPT_UNTIL, "until");
    cli_add_query(cli, &path, OPT_TENANT, "tenant");
    cli_add_query(cli, &path, OPT_ONLY_PROFILE, "profile");
    int rc = cli_fetch_list(cli, path.data, "usage", &answer);
    if (rc) {
        return rc;
    }
    if (cli->out.format == OUT_TABLE || cli->out.format == OUT_WIDE) {
        print_range(answer);
    }
    out_print_list(&cli->out, js_array(answer, "usage"), tables[table].table.columns,
                   tables[table].table.count);
    return CLI_OK;
}

/* --- advice --------------------------------------------------------------------------------- */

static const struct out_column advice_columns[] = {
    {"LEASE", "lease", NULL, 0},
    {"TENANT", "tenant", NULL, 0},
    {"IS", "profile", NULL, 0},
    {"BETTER", "better_profile", NULL, 0},
    {"SAVES-COMPUTE-HOURS", "saves_compute_slot_hours", NULL, COLUMN_RIGHT},
    {"SAVES-GIB-HOURS", "saves_memory_gib_hours", NULL, COLUMN_WIDE | COLUMN_RIGHT},
    {"SAVES", "saves_cost", NULL, COLUMN_RIGHT},
    {"SAMPLES", "samples", NULL, COLUMN_WIDE | COLUMN_RIGHT},
    {"WHY", "message", NULL, COLUMN_LONG},
};

static int draw_advice(struct cli *cli)
{
    CLEANUP(buf_done) struct buf path = BUF_INIT(65536);
    CLEANUP(json_decrefp) json_t *answer = NULL;

    if (cli_args_has(&cli->args, OPT_BY) || cli_args_has(&cli->args, OPT_SINCE) ||
        cli_args_has(&cli->args, OPT_UNTIL) || cli_args_has(&cli->args, OPT_ONLY_PROFILE)) {
        return cli_usage(cli, "--advice goes with --tenant and --all only");
    }
    buf_addf(&path, "/v1/advice?all=%s", cli_args_has(&cli->args, OPT_ALL) ? "true" : "false");
    cli_add_query(cli, &path, OPT_TENANT, "tenant");
    int rc = cli_fetch_list(cli, path.data, "advice", &answer);
    if (rc) {
        return rc;
    }
    const json_t *rows = js_array(answer, "advice");
    if (!json_array_size(rows) && (cli->out.format == OUT_TABLE || cli->out.format == OUT_WIDE)) {
        bool has_all = cli_args_has(&cli->args, OPT_ALL);
        printf("Nothing to advise%s.\n",
               has_all ? "" : " about leases that run (--all: ended ones too)");
        return CLI_OK;
    }
    out_print_list(&cli->out, rows, advice_columns, ARRAY_SIZE(advice_columns));
    return CLI_OK;
}

int cmd_usage(struct cli *cli)
{
    if (cli_args_has(&cli->args, OPT_ADVICE)) {
        return cli_watch(cli, draw_advice);
    }
    if (cli_args_has(&cli->args, OPT_ALL)) {
        return cli_usage(cli, "--all goes with --advice");
    }
    return cli_watch(cli, draw_usage);
}

/* --- one lease ------------------------------------------------------------------------------ */

static void add_sample(const json_t *sample, struct buf *b)
{
    const json_t *sm = json_object_get(sample, "sm_percent");
    int64_t used = js_int(sample, "memory_used_mib", -1);
    int64_t total = js_int(sample, "memory_total_mib", -1);
    int64_t processes = js_int(sample, "processes", -1), t = js_time_ms(sample, "time");

    if (json_is_number(sm)) {
        buf_addf(b, "%.0f %% of its multiprocessors, ", json_number_value(sm));
    }
    if (used >= 0 && total >= 0) {
        buf_addf(b, "%.1f of %.1f GiB, ", (double)used / 1024, (double)total / 1024);
    }
    if (processes >= 0) {
        buf_addf(b, "%lld process%s, ", (long long)processes, processes == 1 ? "" : "es");
    }
    if (t >= 0) {
        out_add_span(b, clock_real_ms() - t);
        buf_adds(b, " ago");
    }
}

void usage_of_lease(struct cli *cli, const char *id, struct buf *ret)
{
    CLEANUP(client_reply_done) struct client_reply reply = {0};
    CLEANUP(freep) char *path = cli_path("/v1/leases/", id, "/usage");
    struct error err = {0};

    if (!cli->client ||
        client_request(cli->client, "GET", path, NULL, CLIENT_TIMEOUT_MS, &reply, &err) < 0 ||
        reply.status != 200) {
        return; /* another's, or an older daemon: then there is nothing to show */
    }
    const json_t *sample = json_object_get(reply.body, "last_sample");
    if (json_is_object(sample)) {
        add_sample(sample, ret);
    }
}
