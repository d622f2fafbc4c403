#include "base/text.h"
#include "cli/cli.h"
#include <stdio.h>

static void print_line(const char *name, const char *value, const char *more)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(4096);

    text_add_escaped(&b, value);
    printf("%-9s%s%s\n", name, b.data ? b.data : "", more);
}

/* Works without a daemon, too; then it says so and still succeeds: the question was answered. */
int cmd_version(struct cli *cli)
{
    CLEANUP(client_reply_done) struct client_reply reply = {0};
    struct error err = {0};
    int rc = 0;
    struct client *c = cli_client(cli, &rc);

    if (!c) {
        return rc;
    }
    rc = client_request(c, "GET", "/v1", NULL, 5000, &reply, &err);
    bool is_there = rc == 0 && reply.status == 200 && reply.body;
    if (out_is_tree(&cli->out)) {
        CLEANUP(json_decrefp) json_t *all = json_object();
        json_object_set_new(all, "client", json_string(TANGRAM_VERSION));
        json_object_set_new(all, "daemon", is_there ? json_incref(reply.body) : json_null());
        out_print_tree(&cli->out, all);
        return CLI_OK;
    }
    printf("client   %s\n", TANGRAM_VERSION);
    if (!is_there) {
        print_line("daemon", rc < 0 ? err.msg : js_text(reply.body, "detail", "it does not say"),
                   "");
        return CLI_OK;
    }
    print_line("daemon", js_text(reply.body, "version", "?"), "");
    print_line("driver", js_text(reply.body, "driver_version", "?"),
               js_true(reply.body, "simulated") ? " (simulated)" : "");
    print_line("NVML", js_text(reply.body, "nvml_version", "?"), "");
    return CLI_OK;
}
