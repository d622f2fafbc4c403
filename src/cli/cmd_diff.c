#include "cli/blocking.h"
#include "cli/layout.h"
#include <stdio.h>

int cmd_diff(struct cli *cli)
{
    CLEANUP(tree_doc_freep) struct tree_doc *doc = NULL;
    CLEANUP(json_decrefp) json_t *body = NULL;
    CLEANUP(json_decrefp) json_t *answer = NULL;
    int status = 0, rc = cli_no_csv(cli);

    rc = rc ? rc : layout_read(cli, &doc, &body);
    rc = rc ? rc : layout_put(cli, doc, body, true, true, &status, &answer);
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
