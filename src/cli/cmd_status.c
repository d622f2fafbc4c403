/* tangram status: every GPU as a picture, totals, and who waits. */
#include "base/clock.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/lease.h"
#include "cli/picture.h"
#include <stdio.h>
#include <string.h>

#define MAX_STATUS_BYTES (4u * 1024 * 1024)

struct totals {
    int64_t compute, leased, idle, whole;
};

static void count_gpu(const json_t *gpu, struct totals *t)
{
    const json_t *slice = NULL;
    size_t i = 0;

    t->compute += js_int(gpu, "compute_slots", 0);
    t->whole += js_str(gpu, "lease") != NULL;
    json_array_foreach(js_array(gpu, "slices"), i, slice)
    {
        const char *state = js_text(slice, "state", "");
        int64_t n = js_int(slice, "compute_slots", 0);
        t->leased += !strcmp(state, "leased") ? n : 0;
        t->idle += !strcmp(state, "idle") ? n : 0;
    }
}

static void add_machine(const struct out *out, const json_t *root, struct buf *b)
{
    const json_t *you = json_object_get(root, "you");
    CLEANUP(buf_done) struct buf line = BUF_INIT(4096);

    buf_addf(&line, "%s", js_text(root, "machine", "this machine"));
    if (js_true(root, "simulated")) {
        buf_adds(&line, "  SIMULATED GPUs");
    }
    buf_addf(&line, "  driver %s  tangram %s", js_text(root, "driver_version", "?"),
             js_text(root, "version", "?"));
    if (js_str(you, "tenant")) {
        buf_addf(&line, "  you are %s (%s)", js_str(you, "tenant"), js_text(you, "role", "?"));
    }
    buf_adds(b, out_color(out, COLOR_DIM));
    out_add_folded(out, b, line.data, 0, 0);
    buf_addf(b, "%s\n", out_color(out, COLOR_NONE));
}

static void add_totals(const struct out *out, const json_t *gpus, const json_t *leases,
                       const json_t *queue, struct buf *b)
{
    struct totals t = {0};
    const json_t *row = NULL;
    size_t i = 0, active = 0;

    json_array_foreach(gpus, i, row)
    {
        count_gpu(row, &t);
    }
    json_array_foreach(leases, i, row)
    {
        active += !strcmp(js_text(row, "state", ""), "active");
    }
    CLEANUP(buf_done) struct buf line = BUF_INIT(4096);
    buf_addf(&line, "%zu GPU%s, %lld compute slots: %lld leased, %lld idle", json_array_size(gpus),
             json_array_size(gpus) == 1 ? "" : "s", (long long)t.compute, (long long)t.leased,
             (long long)t.idle);
    if (t.whole) {
        buf_addf(&line, "; %lld GPU%s leased whole", (long long)t.whole, t.whole == 1 ? "" : "s");
    }
    buf_addf(&line, "; %zu lease%s, ", active, active == 1 ? "" : "s");
    buf_addf(&line, json_array_size(queue) ? "%zu waiting" : "nobody waits",
             json_array_size(queue));
    out_add_folded(out, b, line.data, 0, 0);
}

/* One that waits: a line of facts and one with the reason. */
static void add_waiting(const struct out *out, const json_t *row, struct buf *b)
{
    CLEANUP(buf_done) struct buf line = BUF_INIT(65536);
    int64_t since = js_time_ms(row, "created_at");

    buf_addf(&line, "%lld. %s  ", (long long)js_int(row, "position", 0), js_text(row, "id", "?"));
    lease_add_profile(row, &line);
    buf_addf(&line, "  %s", js_text(row, "tenant", "?"));
    if (js_str(row, "name")) {
        buf_addf(&line, "  %s", js_str(row, "name"));
    }
    if (since >= 0) {
        buf_adds(&line, "  for ");
        out_add_span(&line, clock_real_ms() - since);
    }
    buf_addf(b, "  %s", out_color(out, COLOR_YELLOW));
    out_add_folded(out, b, line.data, 2, 5);
    buf_addf(b, "%s     ", out_color(out, COLOR_NONE));
    out_add_folded(out, b, js_text(row, "reason", "no reason given"), 5, 5);
}

static void add_gpus(const struct out *out, const json_t *gpus, const json_t *leases,
                     bool is_compact, struct buf *b)
{
    const char *name = NULL;
    const json_t *row = NULL;
    size_t i = 0;

    json_array_foreach(gpus, i, row)
    {
        const char *its = js_text(row, "name", "?");
        if (!is_compact) {
            picture_add_gpu(out, row, leases, b);
            continue;
        }
        if (!name || strcmp(name, its) != 0) {
            /* One heading for those of a kind. */
            CLEANUP(buf_done) struct buf head = BUF_INIT(1024);
            buf_addf(&head, "GPU  %s%s", its,
                     name ? "" : ": who has what, and how much compute is free");
            buf_adds(b, out_color(out, COLOR_BOLD));
            out_add_folded(out, b, head.data, 0, 5);
            buf_adds(b, out_color(out, COLOR_NONE));
            name = its;
        }
        picture_add_row(out, row, leases, b);
    }
}

static void add_status(const struct out *out, const json_t *status, bool is_compact, struct buf *b)
{
    const json_t *gpus = js_array(status, "gpus"), *leases = js_array(status, "leases");
    const json_t *queue = js_array(status, "queue"), *row = NULL;
    size_t i = 0;

    add_machine(out, json_object_get(status, "machine"), b);
    add_gpus(out, gpus, leases, is_compact, b);
    if (json_array_size(gpus)) {
        picture_add_legend(out, b);
    } else {
        buf_adds(b, "There is no GPU here. See 'tangram doctor'.\n");
    }
    buf_adds(b, "\n");
    add_totals(out, gpus, leases, queue, b);
    if (json_array_size(queue)) {
        buf_adds(b, "\nWaiting:\n");
    }
    json_array_foreach(queue, i, row)
    {
        add_waiting(out, row, b);
    }
}

/* Fetches one list into status[key]. */
static int fetch_list(struct cli *cli, const char *key, json_t *status)
{
    CLEANUP(freep) char *path = xasprintf("/v1/%s", key);
    CLEANUP(json_decrefp) json_t *answer = NULL;
    int rc = cli_fetch_list(cli, path, key, &answer);

    if (!rc) {
        json_object_set(status, key, js_array(answer, key));
    }
    return rc;
}

static int count_lines(const struct buf *b)
{
    int lines = 0;

    for (const char *p = b->data; p && (p = strchr(p, '\n')) != NULL; p++) {
        lines++;
    }
    return lines;
}

/* What does not fit on the terminal is drawn with a line for each GPU; -o wide insists. */
static void print_status(const struct cli *cli, const json_t *status)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(MAX_STATUS_BYTES);
    bool is_compact = cli_args_has(&cli->args, OPT_COMPACT);

    add_status(&cli->out, status, is_compact, &b);
    if (!is_compact && cli->out.is_tty && cli->out.format != OUT_WIDE &&
        count_lines(&b) >= cli->out.height) {
        buf_clear(&b);
        add_status(&cli->out, status, true, &b);
    }
    fputs(b.data, stdout);
}

static int draw(struct cli *cli)
{
    CLEANUP(json_decrefp) json_t *status = json_object();
    CLEANUP(json_decrefp) json_t *root = NULL;
    int rc = cli_call(cli, "GET", "/v1", NULL, &root);

    rc = rc ? rc : fetch_list(cli, "gpus", status);
    rc = rc ? rc : fetch_list(cli, "leases", status);
    rc = rc ? rc : fetch_list(cli, "queue", status);
    if (rc) {
        return rc;
    }
    json_object_set(status, "machine", root);
    if (out_is_tree(&cli->out)) {
        out_print_tree(&cli->out, status);
        return CLI_OK;
    }
    print_status(cli, status);
    return CLI_OK;
}

int cmd_status(struct cli *cli)
{
    return cli_watch(cli, draw);
}
