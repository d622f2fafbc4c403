#include "cli/lease.h"
#include <stdio.h>

int cmd_renew(struct cli *cli)
{
    CLEANUP(freep) char *path = cli_path("/v1/leases/", cli->args.args[0], "");
    const char *ttl = cli_args_get(&cli->args, OPT_TTL);
    CLEANUP(json_decrefp) json_t *lease = NULL;
    int64_t ttl_ms = 0;

    if (!ttl) {
        return cli_usage(cli, "say until when: --ttl D, as in --ttl 2h, or --ttl never");
    }
    bool is_never = !strcmp(ttl, "never");
    int rc = is_never ? 0 : cli_opt_duration_ms(cli, OPT_TTL, &ttl_ms);
    if (rc) {
        return rc;
    }
    if (!is_never && ttl_ms == 0) {
        return cli_usage(cli, "--ttl 0 would end the lease; use 'tangram release'");
    }
    CLEANUP(json_decrefp) json_t *body = json_object();
    json_object_set_new(body, "ttl_s",
                        is_never ? json_null() : json_integer((ttl_ms + 999) / 1000));
    rc = cli_call(cli, "PATCH", path, body, &lease);
    if (rc) {
        return rc;
    }
    if (out_is_tree(&cli->out)) {
        out_print_tree(&cli->out, lease);
    } else if (js_str(lease, "expires_at")) {
        printf("%s now ends at %s\n", js_text(lease, "id", "it"), js_str(lease, "expires_at"));
    } else {
        printf("%s now has no time limit\n", js_text(lease, "id", "it"));
    }
    return CLI_OK;
}
