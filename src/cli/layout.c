#include "cli/layout.h"
#include "base/tree.h"
#include "base/text.h"
#include <stdio.h>
#include <string.h>

static int read_stream(const char *path, char **ret, size_t *ret_len, struct error *err)
{
    return strcmp(path, "-")
               ? tree_read_file(path, TREE_MAX_BYTES, ret, ret_len, err)
               : tree_read_fd(STDIN_FILENO, "<stdin>", TREE_MAX_BYTES, ret, ret_len, err);
}

/* Reads -f into a document and makes the request's body from it.  0 or an exit status. */
static int read_file(struct cli *cli, struct tree_doc **ret_doc, json_t **ret_body)
{
    const char *path = cli_args_get(&cli->args, OPT_FILE);
    const char *config = cli_args_get(&cli->args, OPT_CONFIG);
    CLEANUP(tree_doc_freep) struct tree_doc *doc = NULL;
    CLEANUP(freep) char *data = NULL;
    struct error err = {0};
    size_t len = 0;

    if (!path || !*path) {
        return cli_usage(cli, "say which file: -f FILE (or -f - for standard input)");
    }
    const char *name = strcmp(path, "-") ? path : "<stdin>";
    if (read_stream(path, &data, &len, &err) < 0 || tree_from_yaml(data, len, name, &doc, &err)) {
        return cli_fail(&err);
    }
    if (!json_is_object(tree_doc_root(doc))) {
        tree_doc_fail(doc, "", &err, "not a mig-parted file: it must have 'version: v1' and "
                                     "'mig-configs:'");
        return cli_fail(&err);
    }
    CLEANUP(json_decrefp) json_t *body = json_copy(tree_doc_root(doc));
    if (config && json_object_set_new(body, "config", json_string(config)) < 0) {
        return cli_usage(cli, "--config is not valid UTF-8");
    }
    *ret_doc = TAKE_PTR(doc);
    *ret_body = TAKE_PTR(body);
    return 0;
}

/* A problem with the file, at its line and column. */
static int fail_in_file(const struct cli *cli, const struct tree_doc *doc,
                        const struct client_reply *reply)
{
    const char *pointer = js_str(reply->body, "pointer");
    const char *detail = js_text(reply->body, "detail", "not accepted");
    struct error err = {0};

    if (!pointer) {
        return cli_fail_reply(reply);
    }
    if (!strncmp(detail, "config: ", 8)) {
        return cli_usage(cli, "%s: %s; choose with -c NAME", tree_doc_name(doc), detail + 8);
    }
    tree_doc_fail(doc, pointer, &err, "%s", detail);
    cli_say("%s", err.msg);
    return CLI_FAILED;
}

int layout_put(struct cli *cli, bool is_dry_run, bool may_conflict, int *ret_status, json_t **ret)
{
    CLEANUP(client_reply_done) struct client_reply reply = {0};
    CLEANUP(tree_doc_freep) struct tree_doc *doc = NULL;
    CLEANUP(json_decrefp) json_t *body = NULL;
    struct error err = {0};
    int rc = read_file(cli, &doc, &body);
    struct client *c = rc ? NULL : cli_client(cli, &rc);

    if (!c) {
        return rc;
    }
    if (client_request(c, "PUT", is_dry_run ? "/v1/layout?dry_run=true" : "/v1/layout", body,
                       CLIENT_TIMEOUT_MS, &reply, &err) < 0) {
        return cli_fail(&err);
    }
    bool is_conflict = !strcmp(js_text(reply.body, "reason", ""), "in_use");
    if ((reply.status < 200 || reply.status > 299) && !(is_conflict && may_conflict)) {
        return fail_in_file(cli, doc, &reply);
    }
    if (!reply.body) {
        cli_say("the daemon answered with nothing");
        return CLI_FAILED;
    }
    *ret_status = reply.status;
    *ret = TAKE_PTR(reply.body);
    return 0;
}

static void print_slices(const struct out *out, const char *what, enum out_color color,
                         const json_t *slices)
{
    size_t i = 0;
    json_t *slice = NULL;

    json_array_foreach(slices, i, slice)
    {
        CLEANUP(buf_done) struct buf b = BUF_INIT(4096);
        text_add_escaped(&b, js_text(slice, "profile", "?"));
        buf_adds(&b, " at ");
        out_add_placement(json_object_get(slice, "placement"), &b);
        printf("  %s%s%s %s\n", out_color(out, color), what, out_color(out, COLOR_NONE), b.data);
    }
}

static bool has_changes(const json_t *gpu)
{
    return js_str(gpu, "mig_mode") || json_array_size(js_array(gpu, "create")) ||
           json_array_size(js_array(gpu, "destroy"));
}

bool layout_print_changes(const struct out *out, const json_t *answer, bool shows_kept)
{
    bool is_any = false;
    size_t i = 0;
    json_t *gpu = NULL;

    json_array_foreach(js_array(answer, "gpus"), i, gpu)
    {
        if (!has_changes(gpu) && !shows_kept) {
            continue;
        }
        is_any = is_any || has_changes(gpu);
        printf("GPU %lld%s\n", (long long)js_int(gpu, "gpu_index", -1),
               has_changes(gpu) ? "" : "  stays as it is");
        if (js_str(gpu, "mig_mode")) {
            printf("  %sMIG mode: %s%s\n", out_color(out, COLOR_YELLOW),
                   js_str(gpu, "mig_mode"), out_color(out, COLOR_NONE));
        }
        if (shows_kept) {
            print_slices(out, "  keep   ", COLOR_DIM, js_array(gpu, "keep"));
        }
        print_slices(out, "- destroy", COLOR_RED, js_array(gpu, "destroy"));
        print_slices(out, "+ create ", COLOR_GREEN, js_array(gpu, "create"));
    }
    return is_any || js_true(answer, "changes");
}
