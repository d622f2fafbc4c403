#include "cli/cli.h"

int cmd_export(struct cli *cli)
{
    CLEANUP(json_decrefp) json_t *layout = NULL;
    int rc = cli_call(cli, "GET", "/v1/layout", NULL, &layout);

    if (rc) {
        return rc;
    }
    if (cli->out.format != OUT_JSON) {
        cli->out.format = OUT_YAML; /* what mig-parted reads */
    }
    out_print_tree(&cli->out, layout);
    return CLI_OK;
}
