#include "cli/cli.h"
#include "cli/lease.h"
#include "cli/usage.h"

static void add_expiry(const json_t *lease, struct buf *b)
{
    if (!js_str(lease, "ended_at")) {
        lease_add_left(lease, "expires_at", "now", b);
    }
}

static const struct out_column columns[] = {
    {"ID", "id", NULL, 0},
    {"STATE", "state", NULL, COLUMN_STATE},
    {"PROFILE", NULL, lease_add_profile, 0},
    {"TENANT", "tenant", NULL, 0},
    {"NAME", "name", NULL, COLUMN_LONG},
    {"WHERE", NULL, lease_add_where, COLUMN_LONG},
    {"AGE", NULL, lease_add_age, COLUMN_RIGHT},
    {"EXPIRES", NULL, add_expiry, COLUMN_RIGHT},
    {"CUDA_VISIBLE_DEVICES", "env.CUDA_VISIBLE_DEVICES", NULL, COLUMN_WIDE},
    {"PRIORITY", "priority", NULL, COLUMN_WIDE | COLUMN_RIGHT},
    {"CREATED", "created_at", NULL, COLUMN_WIDE},
    {"GRANTED", "granted_at", NULL, COLUMN_WIDE},
    {"ENDED", "ended_at", NULL, COLUMN_WIDE},
    {"GPU UUID", "gpu_uuid", NULL, COLUMN_WIDE},
    {"REASON", "reason", NULL, COLUMN_LONG},
};

static int draw_list(struct cli *cli)
{
    CLEANUP(buf_done) struct buf path = BUF_INIT(65536);

    buf_adds(&path, "/v1/leases");
    if (cli_args_has(&cli->args, OPT_ALL)) {
        buf_adds(&path, "?all=true");
    }
    cli_add_query(cli, &path, OPT_TENANT, "tenant");
    cli_add_query(cli, &path, OPT_STATE, "state");
    return cli_list(cli, path.data, "leases", columns, ARRAY_SIZE(columns));
}

static int draw_one(struct cli *cli)
{
    CLEANUP(freep) char *path = cli_path("/v1/leases/", cli->args.args[0], "");
    CLEANUP(json_decrefp) json_t *lease = NULL;
    int rc = cli_call(cli, "GET", path, NULL, &lease);

    if (rc) {
        return rc;
    }
    if (cli->out.format == OUT_CSV) {
        CLEANUP(json_decrefp) json_t *rows = json_pack("[O]", lease);
        out_print_list(&cli->out, rows, columns, ARRAY_SIZE(columns));
    } else if (out_is_tree(&cli->out)) {
        out_print_tree(&cli->out, lease);
    } else {
        CLEANUP(buf_done) struct buf used = BUF_INIT(256);
        usage_of_lease(cli, js_text(lease, "id", "?"), &used);
        lease_print(&cli->out, lease, used.data);
    }
    return CLI_OK;
}

int cmd_leases(struct cli *cli)
{
    return cli_watch(cli, cli->args.arg_count ? draw_one : draw_list);
}
