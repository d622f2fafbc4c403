#include "base/text.h"
#include "cli/blocking.h"
#include "cli/plan_steps.h"
#include <stdio.h>
#include <string.h>

/* "2g.20gb:3" asks for three; a profile has no colon of its own. */
static int add_request(struct cli *cli, json_t *requests, const char *text)
{
    const char *colon = strrchr(text, ':');
    CLEANUP(freep)
    char *profile = xasprintf("%.*s", (int)(colon ? (size_t)(colon - text) : strlen(text)), text);
    int64_t count = 1;
    struct error err = {0};

    if (!*profile) {
        return cli_usage(cli, "'%.60s' names no profile", text);
    }
    if (colon && text_parse_int(colon + 1, "the number after the ':'", 1, 64, &count, &err) < 0) {
        return cli_usage(cli, "%s", err.msg);
    }
    json_t *request = json_pack("{s:s, s:I}", "profile", profile, "count", (json_int_t)count);
    if (!request) {
        return cli_usage(cli, "'%.60s' is not valid UTF-8", text);
    }
    json_array_append_new(requests, request);
    return 0;
}

static int make_body(struct cli *cli, json_t *body)
{
    json_t *requests = json_array();
    const char *model = cli_args_get(&cli->args, OPT_MODEL);
    int rc = 0;

    json_object_set_new(body, "requests", requests);
    for (size_t i = 0; !rc && i < cli->args.given_count; i++) {
        if (cli->args.given[i].id == OPT_PROFILE) {
            rc = add_request(cli, requests, cli->args.given[i].value);
        }
    }
    for (size_t i = 0; !rc && i < cli->args.arg_count; i++) {
        rc = add_request(cli, requests, cli->args.args[i]);
    }
    if (!rc && !json_array_size(requests)) {
        rc = cli_usage(cli, "say what to plan for: tangram plan -p 2g.20gb -p 1g.10gb:3");
    }
    if (!rc && model && json_object_set_new(body, "model", json_string(model)) < 0) {
        rc = cli_usage(cli, "--model is not valid UTF-8");
    }
    return rc;
}

static void add_place(const json_t *step, struct buf *b)
{
    if (json_is_object(json_object_get(step, "placement"))) {
        out_add_placement(json_object_get(step, "placement"), b);
    } else {
        buf_adds(b, "whole");
    }
}

static void add_does(const json_t *step, struct buf *b)
{
    const json_t *destroys = js_array(step, "destroys"), *slice = NULL;
    size_t i = 0;

    if (!json_is_object(json_object_get(step, "placement"))) {
        buf_adds(b, "is taken whole");
    } else if (js_true(step, "reuses")) {
        buf_adds(b, "takes the idle slice that is there");
    } else {
        buf_adds(b, "is cut");
    }
    if (js_true(step, "switches_mig")) {
        buf_adds(b, ", after the GPU's MIG mode is switched on");
    }
    json_array_foreach(destroys, i, slice)
    {
        buf_addf(b, "%s%s at ", i ? ", " : ", for which idle ones go: ",
                 js_text(slice, "profile", "?"));
        out_add_placement(json_object_get(slice, "placement"), b);
    }
}

/* How good the places are, when there was a choice between several ways. */
static void print_proof(const json_t *plan)
{
    long long opened = (long long)js_int(plan, "gpus_opened", 0);
    long long least = (long long)js_int(plan, "gpus_opened_least", 0);

    if (js_true(plan, "proven")) {
        printf("\nProven: no other way for all of it together takes fewer empty GPUs (%lld), or "
               "destroys fewer idle slices with as many.\n", opened);
    } else if (json_is_false(json_object_get(plan, "proven"))) {
        printf("\nNot proven to be the best: it takes %lld empty GPUs, and at least %lld are "
               "needed.\n", opened, least);
    }
}

static bool is_asked(const json_t *moves, const char *lease)
{
    const json_t *move = NULL;
    size_t i = 0;

    json_array_foreach(moves, i, move)
    {
        if (lease && !strcmp(js_text(move, "lease", ""), lease)) {
            return true;
        }
    }
    return false;
}

/* What is in the way, without those who would be asked to move: they have been told of. */
static json_t *others_in_the_way(const json_t *plan)
{
    json_t *others = json_array(), *blocker = NULL;
    size_t i = 0;

    json_array_foreach(js_array(plan, "blocking"), i, blocker)
    {
        if (!is_asked(js_array(plan, "moves"), js_str(blocker, "lease"))) {
            json_array_append(others, blocker);
        }
    }
    return others;
}

static void print_plan(const struct out *out, const json_t *plan, bool is_explained)
{
    static const struct out_column columns[] = {{"PROFILE", "profile", NULL, 0},
                                                {"GPU", "gpu_index", NULL, COLUMN_RIGHT},
                                                {"PLACE", NULL, add_place, 0},
                                                {"WHAT", NULL, add_does, COLUMN_LONG}};
    CLEANUP(json_decrefp) json_t *others = others_in_the_way(plan);
    CLEANUP(buf_done) struct buf b = BUF_INIT(65536);
    bool does_fit = js_true(plan, "fits");

    text_add_escaped(&b, js_text(plan, "reason", ""));
    bool says_so = b.len && strstr(b.data, " fit now"); /* the reason, by itself */
    printf("%s%s%s", out_color(out, does_fit ? COLOR_GREEN : COLOR_YELLOW),
           does_fit ? "It fits now" : (says_so ? "No" : "It does not fit now"),
           out_color(out, COLOR_NONE));
    double estimate_ms = json_number_value(json_object_get(plan, "estimate_ms")); /* 0 unless one */
    if (does_fit && estimate_ms >= 0.5) {
        printf("; it would take about %.0f ms", estimate_ms);
    }
    printf("%s%s\n", b.len ? ": " : ".", b.len ? b.data : "");
    if (json_array_size(js_array(plan, "steps"))) {
        printf("\n");
        out_print_list(out, js_array(plan, "steps"), columns, ARRAY_SIZE(columns));
    }
    print_proof(plan);
    plan_print_moves(out, plan);
    if (is_explained) {
        plan_print_steps(plan);
    }
    blocking_print(out, others);
}

int cmd_plan(struct cli *cli)
{
    CLEANUP(json_decrefp) json_t *body = json_object();
    CLEANUP(json_decrefp) json_t *plan = NULL;
    int rc = make_body(cli, body);

    rc = rc ? rc : cli_call(cli, "POST", "/v1/plan", body, &plan);
    if (rc) {
        return rc;
    }
    if (out_is_tree(&cli->out)) {
        out_print_tree(&cli->out, plan);
    } else {
        print_plan(&cli->out, plan, cli_args_has(&cli->args, OPT_EXPLAIN));
    }
    return js_true(plan, "fits") ? CLI_OK : CLI_WAIT;
}
