/* tangram doctor: the daemon's checks, and what can be seen from here: the version of this program,
 * who has a GPU open whose MIG mode should change, and, when the daemon cannot be asked, why. */
#include "base/text.h"
#include "cli/cli.h"
#include "cli/procs.h"
#include <stdio.h>
#include <string.h>

#define TEXT_AT 25 /* column where the sentences begin */

static void print_check(const struct out *out, const json_t *check)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(65536);
    const char *state = js_text(check, "state", "error");

    out_add_fitted(out, &b, js_text(check, "name", "?"), 14);
    buf_adds(&b, "  ");
    out_add_folded(out, &b, js_text(check, "what", ""), TEXT_AT, TEXT_AT);
    printf("%s%-7s%s  %s", out_color(out, out_state_color(state)), state,
           out_color(out, COLOR_NONE), b.data);
    if (js_str(check, "do")) {
        buf_clear(&b);
        out_add_folded(out, &b, js_str(check, "do"), TEXT_AT + 3, TEXT_AT + 3);
        printf("%*s%s %s", TEXT_AT, "", out->is_utf8 ? "→ " : "->", b.data);
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

/* Another socket than the one that was tried? */
static void add_running_daemon(json_t *checks)
{
    char socket[256];
    pid_t pid = procs_find_daemon("/proc", socket, sizeof(socket));
    CLEANUP(freep) char *what = xasprintf("tangramd runs (process %d)", (int)pid);
    CLEANUP(freep)
    char *todo = xasprintf("it listens at another socket%s%s: name it with --socket or "
                           "TANGRAM_SOCKET, or see its log ('journalctl -u tangramd')",
                           *socket ? ", " : "", socket);

    add_check(checks, "process", false, pid ? what : "no tangramd runs on this machine",
              pid ? todo : "start it: 'systemctl start tangramd', or 'tangramd --simulate "
                           "H100-SXM5-80GB:2' to try it; 'journalctl -u tangramd' tells why it "
                           "ended");
}

/* The daemon does not answer: say so, with what this machine shows. */
static json_t *look_around(const struct error *err)
{
    json_t *checks = json_array();
    bool has_driver = access("/proc/driver/nvidia/version", R_OK) == 0;
    bool has_device = access("/dev/nvidiactl", R_OK | W_OK) == 0;

    json_array_append_new(checks, json_pack("{s:s, s:s, s:s, s:n}", "name", "daemon", "state",
                                            "error", "what", err->msg, "do"));
    add_running_daemon(checks);
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

static void add_versions(json_t *checks, const json_t *root)
{
    const char *theirs = js_text(root, "version", TANGRAM_VERSION);
    CLEANUP(freep) char *what = xasprintf("this program is %s, the daemon is %s", TANGRAM_VERSION,
                                          theirs);

    if (strcmp(theirs, TANGRAM_VERSION) != 0) {
        add_check(checks, "versions", false, what,
                  "one of them is left from before an update: 'systemctl restart tangramd', or "
                  "look which tangram your PATH finds ('type -a tangram')");
    }
}

/* Programs that are known to keep GPUs open, and how to make them let go. */
static const char *holder_todo(const char *name)
{
    static const struct {
        const char *name, *todo;
    } known[] = {
        {"nvidia-persiste",
         "'systemctl stop nvidia-persistenced', change the mode, start it again"},
        {"nv-hostengine", "'systemctl stop nvidia-dcgm', change the mode, start it again"},
        {"dcgm-exporter", "stop the exporter, change the mode, start it again"},
        {"nvsm", "'systemctl stop nvsm', change the mode, start it again"},
        {"Xorg", "a GPU that drives a display cannot change its mode: end the session, or leave "
                 "this GPU out ('managed: false')"},
        {"nvidia-smi", "it ends by itself, or somebody runs it in a loop: end that"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
        if (!strncmp(name, known[i].name, strlen(known[i].name))) {
            return known[i].todo;
        }
    }
    return "end it, or wait for it, before the mode is changed";
}

/* Is there a GPU whose MIG mode is to change, or would have to for a slice? */
static bool wants_mode(const json_t *gpus)
{
    size_t i = 0;
    json_t *gpu = NULL;

    json_array_foreach(gpus, i, gpu)
    {
        const json_t *mig = json_object_get(gpu, "mig");
        bool is_off = strcmp(js_text(mig, "mode", ""), "enabled") != 0;
        bool is_pending = strcmp(js_text(mig, "mode", ""), js_text(mig, "pending", "")) != 0;
        if (js_true(gpu, "managed") && js_true(mig, "capable") && (is_off || is_pending)) {
            return true;
        }
    }
    return false;
}

static void add_holders(json_t *checks, const json_t *gpus)
{
    struct proc_holder list[16];
    size_t count = wants_mode(gpus) ? procs_find_holders("/proc", list, ARRAY_SIZE(list)) : 0;

    for (size_t i = 0; i < count; i++) {
        CLEANUP(buf_done) struct buf what = BUF_INIT(256);
        buf_addf(&what, "%s (process %d) has /dev/%s open: the GPU's MIG mode cannot change",
                 list[i].name, (int)list[i].pid, list[i].device);
        add_check(checks, "mig mode", false, what.data, holder_todo(list[i].name));
    }
}

/* What the daemon does not know. */
static void look_here(struct client *c, json_t *checks)
{
    CLEANUP(client_reply_done) struct client_reply root = {0}, gpus = {0};
    struct error err = {0};

    if (client_request(c, "GET", "/v1", NULL, CLIENT_TIMEOUT_MS, &root, &err) < 0 ||
        root.status != 200) {
        return;
    }
    add_versions(checks, root.body);
    if (!js_true(root.body, "simulated") &&
        client_request(c, "GET", "/v1/gpus", NULL, CLIENT_TIMEOUT_MS, &gpus, &err) == 0) {
        add_holders(checks, js_array(gpus.body, "gpus"));
    }
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
        if (json_is_array(checks)) {
            look_here(c, checks);
        }
        rc = has_error(checks) ? CLI_FAILED : CLI_OK;
    }
    if (!json_is_array(checks)) {
        cli_say("the daemon's answer to /v1/doctor has no list 'checks' in it");
        return CLI_FAILED;
    }
    print_checks(&cli->out, checks);
    return rc;
}
