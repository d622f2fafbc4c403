#include "cli/cli.h"

static void add_placement(const json_t *slice, struct buf *b)
{
    out_add_placement(json_object_get(slice, "placement"), b);
}

/* What the compute instances of a slice have under `key`, separated by commas. */
static void add_each(const json_t *slice, const char *key, struct buf *b)
{
    size_t i = 0;
    json_t *ci = NULL;
    const char *before = "";

    json_array_foreach(js_array(slice, "compute_instances"), i, ci)
    {
        const char *text = js_str(ci, key);
        if (text) {
            buf_addf(b, "%s%s", before, text);
            before = ",";
        }
    }
}

static void add_lease(const json_t *slice, struct buf *b)
{
    if (js_str(slice, "lease")) {
        buf_adds(b, js_str(slice, "lease"));
    } else {
        add_each(slice, "lease", b);
    }
}

static void add_uuids(const json_t *slice, struct buf *b)
{
    add_each(slice, "mig_uuid", b);
}

static const struct out_column columns[] = {
    {"GPU", "gpu_index", NULL, COLUMN_RIGHT},
    {"PLACE", NULL, add_placement, 0},
    {"PROFILE", "profile", NULL, 0},
    {"STATE", "state", NULL, COLUMN_STATE},
    {"TENANT", "tenant", NULL, 0},
    {"LEASE", NULL, add_lease, 0},
    {"PROCESSES", "processes", NULL, COLUMN_RIGHT},
    {"MIG UUID", NULL, add_uuids, COLUMN_WIDE},
    {"GI", "gpu_instance_id", NULL, COLUMN_WIDE | COLUMN_RIGHT},
    {"OWNER", "owner", NULL, COLUMN_WIDE},
    {"GPU UUID", "gpu_uuid", NULL, COLUMN_WIDE},
    {"REASON", "reason", NULL, COLUMN_LONG},
};

static int draw(struct cli *cli)
{
    return cli_list(cli, "/v1/slices", "slices", columns, ARRAY_SIZE(columns));
}

int cmd_slices(struct cli *cli)
{
    return cli_watch(cli, draw);
}
