#include "cli/cli.h"
#include <stdio.h>

/* One of several: each is said, and one that fails does not stop the others. */
static int release(struct cli *cli, const char *id)
{
    CLEANUP(freep) char *path = cli_path("/v1/leases/", id, "");
    CLEANUP(json_decrefp) json_t *lease = NULL;
    int rc = cli_call(cli, "DELETE", path, NULL, &lease);

    if (rc == 0) {
        const char *state = js_text(lease, "state", "released");
        bool is_going = !strcmp(state, "releasing");
        printf("%s %s\n", js_text(lease, "id", id),
               is_going ? "is being released" : "is released");
    }
    return rc;
}

int cmd_release(struct cli *cli)
{
    int worst = CLI_OK;

    for (size_t i = 0; i < cli->args.arg_count; i++) {
        int rc = release(cli, cli->args.args[i]);
        worst = rc > worst ? rc : worst;
        if (rc == CLI_UNREACHABLE) {
            break; /* the others would say the same */
        }
    }
    return worst;
}
