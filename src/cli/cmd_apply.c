#include "cli/layout.h"
#include "cli/lease.h"
#include <stdio.h>
#include <string.h>

/* Follows the operation to its end. */
static int follow(struct cli *cli, const char *id)
{
    CLEANUP(freep) char *path = cli_path("/v1/operations/", id, "?wait_s=10");

    CLEANUP(closep) int signals = lease_block_signals();

    client_set_cancel_fd(cli->client, signals);
    for (;;) {
        CLEANUP(json_decrefp) json_t *op = NULL;
        int rc = cli_call(cli, "GET", path, NULL, &op);
        if (rc) {
            cli_say("%s goes on without this command; 'tangram events -f' follows it, and 'tangram "
                    "diff' tells what is still missing",
                    id);
            return rc;
        }
        const char *state = js_text(op, "state", "");
        const char *why = js_str(op, "error");
        if (!strcmp(state, "done")) {
            return CLI_OK;
        }
        if (strcmp(state, "running") != 0) {
            if (!why) {
                why = js_text(json_object_get(op, "error"), "detail", "the daemon gives no reason");
            }
            cli_say("%s failed after %lld of %lld steps: %s", id, (long long)js_int(op, "done", 0),
                    (long long)js_int(op, "total", 0), why);
            return CLI_FAILED;
        }
    }
}

int cmd_apply(struct cli *cli)
{
    bool is_dry_run = cli_args_has(&cli->args, OPT_DRY_RUN);
    CLEANUP(json_decrefp) json_t *answer = NULL;
    int status = 0, rc = layout_put(cli, is_dry_run, false, &status, &answer);

    if (rc) {
        return rc;
    }
    bool is_table = !out_is_tree(&cli->out), is_any = js_true(answer, "changes");
    if (is_table) {
        is_any = layout_print_changes(&cli->out, answer, true);
        fflush(stdout);
    }
    const char *op = js_str(answer, "operation");
    rc = op && !is_dry_run ? follow(cli, op) : CLI_OK;
    if (!is_table) {
        out_print_tree(&cli->out, answer);
    } else if (rc == CLI_OK) {
        puts(!is_any      ? "Nothing to do."
             : is_dry_run ? "Nothing was changed (--dry-run)."
                          : "Done.");
    }
    return rc;
}
