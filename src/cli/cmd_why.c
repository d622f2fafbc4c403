#include "base/text.h"
#include "cli/blocking.h"
#include <stdio.h>

static void print_escaped(const char *before, const char *text, const char *after)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(65536);

    text_add_escaped(&b, text);
    printf("%s%s%s", before, b.data ? b.data : "", after);
}

static void print_why(const struct out *out, const json_t *why)
{
    const json_t *help = js_array(why, "would_help"), *item = NULL;
    const char *state = js_text(why, "state", "?");
    size_t i = 0;

    printf("%s%s%s is %s%s%s", out_color(out, COLOR_BOLD), js_text(why, "id", "?"),
           out_color(out, COLOR_NONE), out_color(out, out_state_color(state)), state,
           out_color(out, COLOR_NONE));
    if (js_int(why, "position", 0) > 0) {
        printf(", number %lld in the queue", (long long)js_int(why, "position", 0));
    }
    if (js_str(why, "expected_start")) {
        print_escaped(", expected at ", js_str(why, "expected_start"), "");
    }
    if (js_str(why, "reason")) {
        print_escaped(": ", js_str(why, "reason"), "");
    }
    printf("\n");
    blocking_print(out, js_array(why, "blocking"));
    if (json_array_size(help)) {
        printf("\nWhat would let it through:\n");
    }
    json_array_foreach(help, i, item)
    {
        print_escaped("  - ", json_is_string(item) ? json_string_value(item) : "?", "\n");
    }
}

int cmd_why(struct cli *cli)
{
    CLEANUP(freep) char *path = cli_path("/v1/leases/", cli->args.args[0], "/why");
    CLEANUP(json_decrefp) json_t *why = NULL;
    int rc = cli_call(cli, "GET", path, NULL, &why);

    if (rc) {
        return rc;
    }
    if (out_is_tree(&cli->out)) {
        out_print_tree(&cli->out, why);
    } else {
        print_why(&cli->out, why);
    }
    return CLI_OK;
}
