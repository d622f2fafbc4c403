#include "cli/lease.h"
#include <stdio.h>

int cmd_lease(struct cli *cli)
{
    CLEANUP(json_decrefp) json_t *request = NULL;
    CLEANUP(json_decrefp) json_t *lease = NULL;
    CLEANUP(closep) int signals = -1;
    char indent[] = "";
    int rc = lease_request_from_options(cli, &request);

    struct client *c = rc ? NULL : cli_client(cli, &rc);
    if (c && client_is_local(c) && cli_args_has(&cli->args, OPT_WAIT)) {
        /* Nobody waits for it any more when this process is gone, however that ends.  Over TCP the
         * daemon cannot see that: only what ends us politely cancels it there. */
        json_object_set_new(request, "lifetime", json_string("wait"));
    }
    rc = rc ? rc : lease_obtain(cli, request, &signals, &lease);
    if (rc) {
        return rc;
    }
    if (cli_args_has(&cli->args, OPT_ENV)) {
        lease_each_variable(lease, lease_print_export, indent);
    } else if (out_is_tree(&cli->out)) {
        out_print_tree(&cli->out, lease);
    } else {
        lease_print(&cli->out, lease, NULL);
    }
    return CLI_OK;
}
