/* tangram doctor: the daemon's checks, and, when it cannot be asked, what can be seen from here. */
#include "base/text.h"
#include "cli/cli.h"
#include <stdio.h>
#include <string.h>

static void print_check(const struct out *out, const json_t *check)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(65536);
    const char *state = js_text(check, "state", "error");

    out_add_fitted(out, &b, js_text(check, "name", "?"), 14);
    buf_adds(&b, "  ");
    text_add_escaped(&b, js_text(check, "what", ""));
    printf("%s%-7s%s  %s\n", out_color(out, out_state_color(state)), state,
           out_color(out, COLOR_NONE), b.data);
    if (js_str(check, "do")) {
        buf_clear(&b);
        text_add_escaped(&b, js_str(check, "do"));
        printf("%-25s%s %s\n", "", out->is_utf8 ? "→" : "->", b.data);
    }
}

static bool has_error(const json_t *checks)
{
    size_t i = 0;
    json_t *check = NULL;

    json_array_foreach(checks, i, check)
    {
        if (!strcmp(js_text(check, "state", "error"), "error")) {
            return true;
        }
    }
    return false;
}

static void add_check(json_t *checks, const char *name, bool is_good, const char *what,
                      const char *what_to_do)
{
    json_array_append_new(checks, json_pack("{s:s, s:s, s:s, s:s?}", "name", name, "state",
                                            is_good ? "ok" : "warning", "what", what, "do",
                                            is_good ? NULL : what_to_do));
}

/* The daemon does not answer: say so, with what this machine shows. */
static json_t *look_around(const struct error *err)
{
    json_t *checks = json_array();
    bool has_driver = access("/proc/driver/nvidia/version", R_OK) == 0;
    bool has_device = access("/dev/nvidiactl", R_OK | W_OK) == 0;

    json_array_append_new(checks, json_pack("{s:s, s:s, s:s, s:n}", "name", "daemon", "state",
                                            "error", "what", err->msg, "do"));
    add_check(checks, "kernel driver", has_driver,
              has_driver ? "NVIDIA's kernel driver is loaded"
                         : "NVIDIA's kernel driver is not loaded",
              "on a machine with NVIDIA GPUs install their driver; without one tangramd can "
              "simulate GPUs (--simulate)");
    if (has_driver) {
        add_check(checks, "devices", has_device,
                  has_device ? "/dev/nvidiactl can be opened"
                             : "/dev/nvidiactl cannot be opened by this user",
                  "run 'nvidia-modprobe' as root, or ask to be let in");
    }
    return checks;
}

static void print_checks(const struct out *out, const json_t *checks)
{
    static const struct out_column columns[] = {{"STATE", "state", NULL, COLUMN_STATE},
                                                {"CHECK", "name", NULL, 0},
                                                {"WHAT", "what", NULL, 0},
                                                {"DO", "do", NULL, 0}};
    size_t i = 0;
    json_t *check = NULL;

    if (out->format != OUT_TABLE) {
        out_print_list(out, checks, columns, ARRAY_SIZE(columns));
        return;
    }
    json_array_foreach(checks, i, check)
    {
        print_check(out, check);
    }
}

int cmd_doctor(struct cli *cli)
{
    CLEANUP(client_reply_done) struct client_reply reply = {0};
    CLEANUP(json_decrefp) json_t *checks = NULL;
    struct error err = {0};
    int rc = CLI_OK;
    struct client *c = cli_client(cli, &rc);

    if (!c) {
        return rc;
    }
    if (client_request(c, "GET", "/v1/doctor", NULL, CLIENT_TIMEOUT_MS, &reply, &err) < 0) {
        checks = look_around(&err);
        rc = err.code == ECONNREFUSED || err.code == ETIMEDOUT ? CLI_UNREACHABLE : CLI_FAILED;
    } else if (reply.status != 200) {
        return cli_fail_reply(&reply);
    } else {
        checks = json_incref(json_object_get(reply.body, "checks"));
        rc = has_error(checks) ? CLI_FAILED : CLI_OK;
    }
    if (!json_is_array(checks)) {
        cli_say("the daemon's answer to /v1/doctor has no list 'checks' in it");
        return CLI_FAILED;
    }
    print_checks(&cli->out, checks);
    return rc;
}
