#include "cli/cli.h"
#include "cli/lease.h"

/* Nothing when it is not known. */
static void add_start(const json_t *row, struct buf *b)
{
    lease_add_left(row, "expected_start", "soon", b);
}

static const struct out_column columns[] = {
    {"POSITION", "position", NULL, COLUMN_RIGHT},
    {"ID", "id", NULL, 0},
    {"PROFILE", NULL, lease_add_profile, 0},
    {"TENANT", "tenant", NULL, 0},
    {"NAME", "name", NULL, COLUMN_LONG},
    {"WAITS", NULL, lease_add_age, COLUMN_RIGHT},
    {"STARTS", NULL, add_start, COLUMN_RIGHT},
    {"PRIORITY", "priority", NULL, COLUMN_WIDE | COLUMN_RIGHT},
    {"CREATED", "created_at", NULL, COLUMN_WIDE},
    {"EXPECTED", "expected_start", NULL, COLUMN_WIDE},
    {"REASON", "reason", NULL, COLUMN_LONG},
};

static int draw(struct cli *cli)
{
    return cli_list(cli, "/v1/queue", "queue", columns, ARRAY_SIZE(columns));
}

int cmd_queue(struct cli *cli)
{
    return cli_watch(cli, draw);
}
