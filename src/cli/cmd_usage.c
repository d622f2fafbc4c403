#include "cli/cli.h"

static const struct out_column columns[] = {
    {"TENANT", "tenant", NULL, 0},
    {"LEASES", "leases", NULL, COLUMN_RIGHT},
    {"NOW", "active_leases", NULL, COLUMN_RIGHT},
    {"COMPUTE-NOW", "active_compute_slots", NULL, COLUMN_RIGHT},
    {"MIB-NOW", "active_memory_mib", NULL, COLUMN_WIDE | COLUMN_RIGHT},
    {"COMPUTE-HOURS", "compute_slot_hours", NULL, COLUMN_RIGHT},
    {"GIB-HOURS", "memory_gib_hours", NULL, COLUMN_RIGHT},
    {"COST", "cost", NULL, COLUMN_RIGHT},
};

static int draw(struct cli *cli)
{
    return cli_list(cli, "/v1/usage", "usage", columns, ARRAY_SIZE(columns));
}

int cmd_usage(struct cli *cli)
{
    return cli_watch(cli, draw);
}
