/* tangram profiles: what can be asked for, gathered from the profiles of all GPUs.  GPUs of one
 * model share their rows. */
#include "cli/cli.h"
#include <stdio.h>
#include <string.h>

static json_t *find_row(json_t *rows, const char *model, const char *profile)
{
    size_t i = 0;
    json_t *row = NULL;

    json_array_foreach(rows, i, row)
    {
        if (!strcmp(js_text(row, "model", ""), model) &&
            !strcmp(js_text(row, "profile", ""), profile)) {
            return row;
        }
    }
    return NULL;
}

/* The GPU's share of a row: its index, and how many are free there. */
static void add_to_row(json_t *row, const json_t *gpu, int64_t free)
{
    json_array_append_new(js_array(row, "gpus"), json_integer(js_int(gpu, "index", -1)));
    json_object_set_new(row, "free", json_integer(js_int(row, "free", 0) + free));
}

static void add_profile(json_t *rows, const json_t *gpu, const json_t *profile)
{
    const char *model = js_text(gpu, "name", "?"), *name = js_text(profile, "name", "?");
    json_t *row = find_row(rows, model, name);

    if (!row) {
        row = json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:i, s:[]}", "profile", name, "model",
                        model, "compute", (json_int_t)js_int(profile, "compute", 0), "memory_mib",
                        (json_int_t)js_int(profile, "memory_mib", 0), "multiprocessors",
                        (json_int_t)js_int(profile, "multiprocessors", 0), "max",
                        (json_int_t)js_int(profile, "max", 0), "free", 0, "gpus");
        json_array_append_new(rows, row);
    }
    add_to_row(row, gpu, js_int(profile, "free", 0));
}

static bool is_cut_or_leased(const json_t *gpu)
{
    return js_str(gpu, "lease") || json_array_size(js_array(gpu, "slices"));
}

/* The whole GPU, which every one of them has. */
static void add_whole(json_t *rows, const json_t *gpu)
{
    const char *model = js_text(gpu, "name", "?");
    json_t *row = find_row(rows, model, "gpu");

    if (!row) {
        /* Where it cannot be cut, or does not tell its profiles, nobody counts slots. */
        int64_t slots = js_int(gpu, "compute_slots", 0);
        row = json_pack("{s:s, s:s, s:o, s:I, s:n, s:i, s:i, s:[]}", "profile", "gpu", "model",
                        model, "compute", slots ? json_integer(slots) : json_null(), "memory_mib",
                        (json_int_t)js_int(gpu, "memory_mib", 0), "multiprocessors", "max", 1,
                        "free", 0, "gpus");
        json_array_append_new(rows, row);
    }
    add_to_row(row, gpu, !is_cut_or_leased(gpu) && !js_int(gpu, "processes", 0));
}

static json_t *gather(const json_t *gpus)
{
    json_t *rows = json_array(), *gpu = NULL, *profile = NULL;
    size_t i = 0, k = 0;

    json_array_foreach(gpus, i, gpu)
    {
        if (!js_true(gpu, "managed")) {
            continue; /* only shown: nothing of it can be had */
        }
        json_array_foreach(js_array(gpu, "profiles"), k, profile)
        {
            add_profile(rows, gpu, profile);
        }
        add_whole(rows, gpu);
    }
    return rows;
}

static void add_memory(const json_t *row, struct buf *b)
{
    buf_addf(b, "%.1f GiB", (double)js_int(row, "memory_mib", 0) / 1024);
}

static void add_gpus(const json_t *row, struct buf *b)
{
    size_t i = 0;
    json_t *index = NULL;

    json_array_foreach(js_array(row, "gpus"), i, index)
    {
        buf_addf(b, "%s%lld", i ? "," : "", (long long)json_integer_value(index));
    }
}

static const struct out_column columns[] = {
    {"PROFILE", "profile", NULL, 0},
    {"COMPUTE", "compute", NULL, COLUMN_RIGHT},
    {"MEMORY", NULL, add_memory, COLUMN_RIGHT},
    {"SMS", "multiprocessors", NULL, COLUMN_RIGHT},
    {"MAX", "max", NULL, COLUMN_RIGHT},
    {"FREE", "free", NULL, COLUMN_RIGHT},
    {"MODEL", "model", NULL, COLUMN_LONG},
    {"GPUS", NULL, add_gpus, COLUMN_LONG},
};

/* Some tell what they can be cut into only with MIG mode on: nothing is left out without a word. */
static void say_silent(const json_t *gpus)
{
    size_t i = 0;
    json_t *gpu = NULL;

    json_array_foreach(gpus, i, gpu)
    {
        if (js_true(gpu, "managed") && js_true(json_object_get(gpu, "mig"), "capable") &&
            !json_array_size(js_array(gpu, "profiles"))) {
            cli_say("GPU %lld (%s) tells its profiles only when its MIG mode is on",
                    (long long)js_int(gpu, "index", -1), js_text(gpu, "name", "?"));
        }
    }
}

static int draw(struct cli *cli)
{
    CLEANUP(json_decrefp) json_t *answer = NULL;
    int rc = cli_fetch_list(cli, "/v1/gpus", "gpus", &answer);

    if (rc) {
        return rc;
    }
    CLEANUP(json_decrefp) json_t *rows = gather(js_array(answer, "gpus"));
    out_print_list(&cli->out, rows, columns, ARRAY_SIZE(columns));
    if (!out_is_tree(&cli->out) && cli->out.format != OUT_CSV) {
        say_silent(js_array(answer, "gpus"));
    }
    return CLI_OK;
}

int cmd_profiles(struct cli *cli)
{
    return cli_watch(cli, draw);
}
