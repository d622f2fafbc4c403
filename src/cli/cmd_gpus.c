#include "cli/cli.h"

static void add_mig(const json_t *gpu, struct buf *b)
{
    const json_t *mig = json_object_get(gpu, "mig");
    const char *mode = js_text(mig, "mode", "disabled"), *pending = js_text(mig, "pending", mode);

    if (!js_true(mig, "capable")) {
        buf_adds(b, "not capable");
    } else if (strcmp(mode, pending) != 0) {
        buf_addf(b, "%s, %s pending", mode, pending);
    } else {
        buf_adds(b, mode);
    }
}

/* Compute slots in slices that are leased, of all. */
static void add_leased(const json_t *gpu, struct buf *b)
{
    int64_t leased = 0, total = js_int(gpu, "compute_slots", 0);
    size_t i = 0;
    json_t *slice = NULL;

    json_array_foreach(js_array(gpu, "slices"), i, slice)
    {
        if (!strcmp(js_text(slice, "state", ""), "leased")) {
            leased += js_int(slice, "compute_slots", 0);
        }
    }
    if (js_str(gpu, "lease")) {
        buf_addf(b, "whole (%s)", js_str(gpu, "lease"));
    } else if (total > 0) {
        buf_addf(b, "%lld/%lld", (long long)leased, (long long)total);
    }
}

static void add_slices(const json_t *gpu, struct buf *b)
{
    buf_addf(b, "%zu", json_array_size(js_array(gpu, "slices")));
}

static void add_note(const json_t *gpu, struct buf *b)
{
    const char *health = js_str(gpu, "health_reason"), *note = js_str(gpu, "note");

    buf_adds(b, health ? health : "");
    buf_adds(b, health && note ? "; " : "");
    buf_adds(b, note ? note : "");
}

static const struct out_column columns[] = {
    {"GPU", "index", NULL, COLUMN_RIGHT},
    {"NAME", "name", NULL, COLUMN_LONG},
    {"MIG", NULL, add_mig, 0},
    {"HEALTH", "health", NULL, COLUMN_STATE},
    {"MANAGED", "managed", NULL, 0},
    {"SLICES", NULL, add_slices, COLUMN_RIGHT},
    {"LEASED", NULL, add_leased, COLUMN_RIGHT},
    {"UUID", "uuid", NULL, COLUMN_WIDE},
    {"PCI", "pci", NULL, COLUMN_WIDE},
    {"MEMORY MIB", "memory_mib", NULL, COLUMN_WIDE | COLUMN_RIGHT},
    {"PROCESSES", "processes", NULL, COLUMN_WIDE | COLUMN_RIGHT},
    {"POLICY", "mig.policy", NULL, COLUMN_WIDE},
    {"NOTE", NULL, add_note, COLUMN_LONG},
};

static int draw(struct cli *cli)
{
    return cli_list(cli, "/v1/gpus", "gpus", columns, ARRAY_SIZE(columns));
}

int cmd_gpus(struct cli *cli)
{
    return cli_watch(cli, draw);
}
