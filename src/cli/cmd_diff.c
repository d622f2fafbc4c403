#include "cli/blocking.h"
#include "cli/layout.h"
#include <stdio.h>

int cmd_diff(struct cli *cli)
{
    CLEANUP(json_decrefp) json_t *answer = NULL;
    int status = 0, rc = layout_put(cli, true, true, &status, &answer);

    if (rc) {
        return rc;
    }
    if (out_is_tree(&cli->out)) {
        out_print_tree(&cli->out, answer);
        return status == 409 || js_true(answer, "changes") ? CLI_WAIT : CLI_OK;
    }
    bool is_any = layout_print_changes(&cli->out, answer, false);
    if (status == 409) {
        printf("It differs, and slices in use stand in the way of applying it.\n");
        blocking_print(&cli->out, js_array(answer, "blocking"));
        return CLI_WAIT;
    }
    return is_any ? CLI_WAIT : CLI_OK;
}
