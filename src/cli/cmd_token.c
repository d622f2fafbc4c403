#include "cli/cli.h"
#include <stdio.h>
#include <string.h>

static const struct out_column columns[] = {{"ID", "id", NULL, 0},
                                            {"TENANT", "tenant", NULL, 0},
                                            {"ROLE", "role", NULL, 0},
                                            {"NAME", "name", NULL, 0},
                                            {"CREATED", "created_at", NULL, 0}};

static int create(struct cli *cli)
{
    const char *tenant = cli_args_get(&cli->args, OPT_TENANT);
    const char *role = cli_args_get(&cli->args, OPT_ROLE);
    const char *name = cli_args_get(&cli->args, OPT_NAME);
    CLEANUP(json_decrefp) json_t *answer = NULL;

    if (cli->args.arg_count > 1) {
        return cli_usage(cli, "token create takes options only: --tenant, --role, --name");
    }
    if (!tenant) {
        return cli_usage(cli, "say whose token it is: --tenant NAME");
    }
    CLEANUP(json_decrefp)
    json_t *body = json_pack("{s:s, s:s, s:s}", "tenant", tenant, "role", role ? role : "tenant",
                             "name", name ? name : tenant);
    if (!body) {
        return cli_usage(cli, "--tenant, --role and --name must be valid UTF-8");
    }
    int rc = cli_call(cli, "POST", "/v1/tokens", body, &answer);
    if (rc) {
        return rc;
    }
    if (out_is_tree(&cli->out)) {
        out_print_tree(&cli->out, answer);
        return CLI_OK;
    }
    printf("%s\n", js_text(answer, "token", ""));
    cli_say("this is token %s; it is not stored and will not be shown again",
            js_text(answer, "id", "?"));
    return CLI_OK;
}

static int revoke_tokens(struct cli *cli)
{
    int worst = CLI_OK;

    if (cli->args.arg_count < 2) {
        return cli_usage(cli, "say which: tangram token revoke ID...");
    }
    for (size_t i = 1; i < cli->args.arg_count && worst != CLI_UNREACHABLE; i++) {
        CLEANUP(freep) char *path = cli_path("/v1/tokens/", cli->args.args[i], "");
        CLEANUP(client_reply_done) struct client_reply reply = {0};
        struct error err = {0};
        int rc = CLI_OK;
        struct client *c = cli_client(cli, &rc);
        if (!c) {
            return rc;
        }
        if (client_request(c, "DELETE", path, NULL, CLIENT_TIMEOUT_MS, &reply, &err) < 0) {
            rc = cli_fail(&err);
        } else if (reply.status > 299) {
            rc = cli_fail_reply(&reply);
        } else {
            printf("%s is revoked\n", cli->args.args[i]);
        }
        worst = rc > worst ? rc : worst;
    }
    return worst;
}

int cmd_token(struct cli *cli)
{
    const char *action = cli->args.args[0];

    if (!strcmp(action, "create")) {
        return create(cli);
    }
    if (!strcmp(action, "revoke")) {
        return revoke_tokens(cli);
    }
    if (!strcmp(action, "list")) {
        if (cli->args.arg_count > 1) {
            return cli_usage(cli, "token list: '%.60s' is one argument too many",
                             cli->args.args[1]);
        }
        return cli_list(cli, "/v1/tokens", "tokens", columns, ARRAY_SIZE(columns));
    }
    return cli_usage(cli, "token knows create, list and revoke, not '%.40s'", action);
}
