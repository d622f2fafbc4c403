/* tangram events: what happened, and with -f what happens from now on.
 *
 * Following begins where the list ended (Last-Event-ID), also after the daemon was away: no event
 * is shown twice or left out, as long as the daemon still has it. */
#include "base/text.h"
#include "cli/cli.h"
#include <poll.h>
#include <stdio.h>
#include <string.h>

static const struct out_column columns[] = {
    {"ID", "id", NULL, COLUMN_WIDE | COLUMN_RIGHT},
    {"TIME", "time", NULL, 0},
    {"KIND", "kind", NULL, 0},
    {"LEASE", "lease", NULL, 0},
    {"TENANT", "tenant", NULL, 0},
    {"GPU UUID", "gpu_uuid", NULL, COLUMN_WIDE},
    {"MESSAGE", "message", NULL, COLUMN_LONG},
};

struct follow {
    struct cli *cli;
    int64_t last_id;
};

/* One event as it comes: a line of fixed columns, JSON or YAML. */
static void print_event(const struct out *out, const json_t *event)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(65536);

    if (out->format == OUT_JSON) {
        out_print_json(event, true);
    } else if (out->format == OUT_YAML) {
        printf("---\n");
        out_print_tree(out, event);
    } else if (out->format == OUT_CSV) {
        struct out one = *out;
        one.has_header = false;
        CLEANUP(json_decrefp) json_t *rows = json_pack("[O]", (json_t *)event);
        out_print_list(&one, rows, columns, ARRAY_SIZE(columns));
    } else {
        out_add_fitted(out, &b, js_text(event, "time", "-"), 24);
        buf_adds(&b, "  ");
        out_add_fitted(out, &b, js_text(event, "kind", "-"), 17);
        buf_adds(&b, "  ");
        text_add_escaped(&b, js_text(event, "message", ""));
        printf("%s\n", b.data);
    }
}

static int on_event(const json_t *event, void *userdata)
{
    struct follow *f = userdata;

    if (event) {
        f->last_id = js_int(event, "id", f->last_id);
        print_event(&f->cli->out, event);
    }
    out_end_if_unread();
    return out_flush() < 0;
}

static int follow(struct cli *cli, int64_t last_id)
{
    struct follow f = {.cli = cli, .last_id = last_id};
    CLEANUP(closep) int reader = out_reader_fd();
    bool was_reached = false;

    client_set_cancel_fd(cli->client, reader);
    for (;;) {
        CLEANUP(client_reply_done) struct client_reply reply = {0};
        struct error err = {0};
        int rc = client_stream(cli->client, f.last_id, on_event, &f, &reply, &err);
        if (rc > 0) {
            return CLI_FAILED; /* main() says that the output cannot be written */
        }
        if (rc == -EREMOTE) {
            return cli_fail_reply(&reply);
        }
        if (rc < 0 && rc != -ECONNREFUSED) {
            return cli_fail(&err);
        }
        if (rc == 0 || !was_reached) {
            cli_say("the daemon went away; waiting for it");
        }
        was_reached = true;
        poll(NULL, 0, 500);
    }
}

static int64_t last_of(const json_t *events, int64_t otherwise)
{
    size_t n = json_array_size(events);

    return n ? js_int(json_array_get(events, n - 1), "id", otherwise) : otherwise;
}

int cmd_events(struct cli *cli)
{
    CLEANUP(buf_done) struct buf path = BUF_INIT(256);
    CLEANUP(json_decrefp) json_t *answer = NULL;
    bool follows = cli_args_has(&cli->args, OPT_FOLLOW);
    int64_t after = 0, limit = follows ? 10 : 1000, given = -1;
    int rc = cli_opt_int(cli, OPT_AFTER, 0, INT64_MAX, &after);

    rc = rc ? rc : cli_opt_int(cli, OPT_LIMIT, 1, 1000, &given);
    buf_addf(&path, "/v1/events?limit=%lld", (long long)(given > 0 ? given : limit));
    if (cli_args_has(&cli->args, OPT_AFTER)) {
        buf_addf(&path, "&after=%lld", (long long)after);
    }
    rc = rc ? rc : cli_fetch_list(cli, path.data, "events", &answer);
    if (rc) {
        return rc;
    }
    const json_t *events = js_array(answer, "events");
    if (!follows) {
        out_print_list(&cli->out, events, columns, ARRAY_SIZE(columns));
        return CLI_OK;
    }
    size_t i = 0;
    json_t *event = NULL;
    json_array_foreach(events, i, event)
    {
        print_event(&cli->out, event);
    }
    return follow(cli, last_of(events, after));
}
