#include "base/text.h"
#include "cli/cli.h"
#include <stdio.h>
#include <string.h>

/* {"slice": "MIG-..."} or {"gpu": "0", "start": 4} from what was typed; NULL after saying so. */
static json_t *name_slice(struct cli *cli, const char *text)
{
    const char *colon = strrchr(text, ':');
    struct error err = {0};
    int64_t start = 0;

    if (!colon) {
        json_t *named = json_pack("{s:s}", "slice", text);
        if (!named) {
            cli_usage(cli, "'%.60s' is not valid UTF-8", text);
        }
        return named;
    }
    if (text_parse_int(colon + 1, "the start after the ':'", 0, 255, &start, &err) < 0) {
        cli_usage(cli, "%s", err.msg);
        return NULL;
    }
    CLEANUP(freep) char *gpu = xasprintf("%.*s", (int)(colon - text), text);
    json_t *named = json_pack("{s:s, s:I}", "gpu", gpu, "start", (json_int_t)start);
    if (!named) {
        cli_usage(cli, "'%.60s' is not valid UTF-8", gpu);
    }
    return named;
}

static int change_owner(struct cli *cli, const char *path, const char *done)
{
    int worst = CLI_OK;

    for (size_t i = 0; i < cli->args.arg_count && worst != CLI_UNREACHABLE; i++) {
        CLEANUP(json_decrefp) json_t *body = name_slice(cli, cli->args.args[i]);
        CLEANUP(json_decrefp) json_t *slice = NULL;
        int rc = body ? cli_call(cli, "POST", path, body, &slice) : CLI_USAGE;
        if (rc == 0) {
            CLEANUP(buf_done) struct buf b = BUF_INIT(4096);
            text_add_escaped(&b, js_text(slice, "profile", "a slice"));
            buf_adds(&b, " at ");
            out_add_placement(json_object_get(slice, "placement"), &b);
            printf("%s of GPU %lld %s\n", b.data, (long long)js_int(slice, "gpu_index", -1), done);
        }
        worst = rc > worst ? rc : worst;
    }
    return worst;
}

int cmd_adopt(struct cli *cli)
{
    return change_owner(cli, "/v1/slices/adopt", "is tangram's now");
}

int cmd_disown(struct cli *cli)
{
    return change_owner(cli, "/v1/slices/disown", "is foreign now: tangram leaves it alone");
}
