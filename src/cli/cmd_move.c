/* tangram move: what a movable lease is asked, and the holder's answer.  The answer names the move
 * that is meant, by its id or the new slice; without one, the move that is asked when the command
 * begins, so that it never counts for another that is asked meanwhile. */
#include "base/text.h"
#include "cli/cli.h"

static void print_escaped(const char *before, const char *text, const char *after)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(65536);

    text_add_escaped(&b, text);
    printf("%s%s%s", before, b.data ? b.data : "", after);
}

static void print_asked(const json_t *lease, const json_t *move)
{
    CLEANUP(buf_done) struct buf where = BUF_INIT(256);
    const char *state = js_text(move, "state", "");

    out_add_placement(json_object_get(move, "placement"), &where);
    printf("%s ", js_text(lease, "id", "it"));
    if (js_true(move, "stop") && !strcmp(state, "asked")) {
        print_escaped("is asked to stop until ", js_text(move, "until", "?"), "");
        print_escaped(", so that ", js_text(move, "request", "another request"), " fits; ");
        printf("it gets another slice then.\nWhen its work has stopped: tangram move %s %s "
               "--confirm\n", js_text(lease, "id", "ID"), js_text(move, "id", ""));
    } else if (!strcmp(state, "asked")) {
        printf("is asked to move to GPU %lld %s", (long long)js_int(move, "gpu_index", -1),
               where.data ? where.data : "");
        print_escaped(", ", js_text(move, "mig_uuid", "?"), "");
        if (js_int(lease, "count", 1) > 1) {
            print_escaped(", with its slice ", js_text(move, "from_mig_uuid", "?"), "");
        }
        print_escaped(", until ", js_text(move, "until", "?"), "");
        if (js_str(move, "request")) {
            print_escaped(", so that ", js_text(move, "request", ""), " fits");
        }
        printf(".\nWhen its work is there, or has stopped: tangram move %s %s --confirm\n",
               js_text(lease, "id", "ID"), js_text(move, "id", ""));
    } else if (!strcmp(state, "making")) {
        printf("will be asked to move to GPU %lld %s: the slice is being made\n",
               (long long)js_int(move, "gpu_index", -1), where.data ? where.data : "");
    } else if (js_true(move, "stop")) {
        printf("is to stop; its slice on GPU %lld %s goes when no process uses it\n",
               (long long)js_int(move, "gpu_index", -1), where.data ? where.data : "");
    } else {
        printf("%s; its %s slice on GPU %lld %s goes when no process uses it\n",
               js_true(move, "confirmed") ? "has moved" : "does not move",
               js_true(move, "confirmed") ? "old" : "other",
               (long long)js_int(move, "gpu_index", -1), where.data ? where.data : "");
    }
}

static int show(struct cli *cli, const json_t *lease)
{
    const json_t *move = json_object_get(lease, "move");

    if (out_is_tree(&cli->out)) {
        out_print_tree(&cli->out, lease);
    } else if (json_is_object(move)) {
        print_asked(lease, move);
    } else {
        printf("%s is not asked to move%s\n", js_text(lease, "id", "it"),
               js_true(lease, "movable") ? "" : " (it is not movable)");
    }
    return CLI_OK;
}

static int answer(struct cli *cli, const json_t *lease, bool is_confirmed)
{
    CLEANUP(freep) char *path = cli_path("/v1/leases/", cli->args.args[0], "/move");
    CLEANUP(json_decrefp) json_t *body = json_object(), *after = NULL;
    const char *meant = cli->args.arg_count > 1 ? cli->args.args[1]
                                                : js_str(json_object_get(lease, "move"), "id");

    json_object_set_new(body, "answer", json_string(is_confirmed ? "confirm" : "refuse"));
    if (meant) {
        json_object_set_new(body, !strncmp(meant, "MIG-", 4) ? "mig_uuid" : "move",
                            json_string(meant));
    }
    int rc = cli_call(cli, "POST", path, body, &after);
    if (rc) {
        return rc;
    }
    if (out_is_tree(&cli->out)) {
        out_print_tree(&cli->out, after);
    } else if (is_confirmed && js_true(json_object_get(lease, "move"), "stop")) {
        printf("%s gets another slice; follow it with tangram leases %s\n",
               js_text(after, "id", "it"), js_text(after, "id", "ID"));
    } else if (is_confirmed) {
        print_escaped(js_text(after, "id", "it"), " has ", "");
        print_escaped("", js_text(after, "mig_uuid", "?"), " now\n");
    } else {
        print_escaped(js_text(after, "id", "it"), " keeps ", "");
        print_escaped("", js_text(after, "mig_uuid", "?"), "\n");
    }
    return CLI_OK;
}

int cmd_move(struct cli *cli)
{
    CLEANUP(freep) char *path = cli_path("/v1/leases/", cli->args.args[0], "");
    CLEANUP(json_decrefp) json_t *lease = NULL;
    bool confirms = cli_args_has(&cli->args, OPT_CONFIRM);
    bool refuses = cli_args_has(&cli->args, OPT_REFUSE);

    if (confirms && refuses) {
        return cli_usage(cli, "--confirm and --refuse exclude each other");
    }
    if (cli->args.arg_count > 1 && !confirms && !refuses) {
        return cli_usage(cli, "%s is for --confirm or --refuse", cli->args.args[1]);
    }
    int rc = cli_call(cli, "GET", path, NULL, &lease);
    if (rc) {
        return rc;
    }
    return confirms || refuses ? answer(cli, lease, confirms) : show(cli, lease);
}
