/* The edge: where failures become one line on standard error and an exit status. */
#include "cli/cli.h"
#include "base/text.h"
#include <curl/curl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static struct buf *caught; /* see cli_catch_says() */

void cli_catch_says(struct buf *b)
{
    caught = b;
}

static void say(const char *text, const char *more)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(65536);

    if (caught) {
        buf_addf(caught, "%s%s", caught->len ? "; " : "", text);
        return;
    }
    fflush(stdout);
    buf_adds(&b, "tangram: ");
    text_add_escaped(&b, text);
    buf_adds(&b, more);
    fprintf(stderr, "%s\n", b.data);
}

void cli_say(const char *fmt, ...)
{
    char text[4096];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    say(text, "");
}

int cli_usage(const struct cli *cli, const char *fmt, ...)
{
    const struct cli_command *c = cli->args.command;
    char text[1024], more[64];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    bool is_about_one = c && strcmp(c->name, "help") != 0;
    snprintf(more, sizeof(more), " (see 'tangram help%s%s')", is_about_one ? " " : "",
             is_about_one ? c->name : "");
    say(text, more);
    return CLI_USAGE;
}

int cli_fail(const struct error *err)
{
    if (err->code == ECANCELED) {
        say(err->msg, "");
        return 128 + SIGINT;
    }
    say(err->msg, "");
    return err->code == ECONNREFUSED || err->code == ETIMEDOUT ? CLI_UNREACHABLE : CLI_FAILED;
}

static const struct reason {
    const char *reason;
    int exit;
    const char *hint; /* what to do, where the daemon's sentence does not say it */
} reasons[] = {
    {"does_not_fit", CLI_WAIT, NULL},
    {"can_never_fit", CLI_WAIT, NULL},
    {"queue_full", CLI_WAIT, NULL},
    {"unauthorized", CLI_DENIED, "TANGRAM_TOKEN is where tangram looks for it"},
    {"forbidden", CLI_DENIED, NULL},
    {"not_allowed_by_configuration", CLI_DENIED, NULL},
    {"in_use", CLI_CONFLICT, NULL},
    {"already_ended", CLI_CONFLICT, NULL},
    {"idempotency_conflict", CLI_CONFLICT, NULL},
    {"bad_field", CLI_USAGE, NULL},
    {"unknown_profile", CLI_USAGE, "see 'tangram profiles'"},
    {"shutting_down", CLI_UNREACHABLE, "try again"},
    {"not_ready", CLI_UNREACHABLE, "try again"},
};

static const struct reason *find_reason(const struct client_reply *reply)
{
    const char *word = js_text(reply->body, "reason", "");

    for (size_t i = 0; i < ARRAY_SIZE(reasons); i++) {
        if (!strcmp(reasons[i].reason, word)) {
            return &reasons[i];
        }
    }
    return NULL;
}

int cli_reply_exit(const struct client_reply *reply)
{
    const struct reason *r = find_reason(reply);

    if (r) {
        return r->exit;
    }
    switch (reply->status) {
    case 401:
    case 403:
        return CLI_DENIED;
    case 409:
        return CLI_CONFLICT;
    case 503:
        return CLI_UNREACHABLE;
    default:
        return CLI_FAILED;
    }
}

/* "4g.40gb at 0:4 of GPU 0 (l-3 of vision, leased until released)" */
static void add_blocker(struct buf *b, const json_t *blocker)
{
    const char *lease = js_str(blocker, "lease"), *tenant = js_str(blocker, "tenant");
    const char *why = js_str(blocker, "why");

    if (!js_str(blocker, "profile")) {
        buf_addf(b, "GPU %lld", (long long)js_int(blocker, "gpu_index", -1));
    } else {
        buf_adds(b, js_str(blocker, "profile"));
    }
    if (json_is_object(json_object_get(blocker, "placement"))) {
        buf_adds(b, " at ");
        out_add_placement(json_object_get(blocker, "placement"), b);
    }
    if (js_str(blocker, "profile")) {
        buf_addf(b, " of GPU %lld", (long long)js_int(blocker, "gpu_index", -1));
    }
    if (!lease && !tenant && !why) {
        return;
    }
    buf_addf(b, " (%s%s%s%s%s)", lease ? lease : "", tenant && lease ? " of " : "",
             tenant ? tenant : "", (lease || tenant) && why ? ", " : "", why ? why : "");
}

int cli_fail_reply(const struct client_reply *reply)
{
    return cli_fail_reply_hint(reply, NULL);
}

int cli_fail_reply_hint(const struct client_reply *reply, const char *hint)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(16384);
    const struct reason *r = find_reason(reply);
    const char *detail = js_str(reply->body, "detail");
    const json_t *blocking = js_array(reply->body, "blocking"), *blocker = NULL;
    size_t i = 0;

    if (!detail) {
        detail = js_str(reply->body, "title");
    }
    if (!detail) {
        buf_addf(&b, "the daemon answered with status %d and no explanation", reply->status);
    } else {
        buf_adds(&b, detail);
    }
    if (strstr(b.data, "in the way: ")) {
        blocking = NULL; /* the sentence names them */
    }
    json_array_foreach(blocking, i, blocker)
    {
        if (i == 4) {
            buf_addf(&b, " and %zu more", json_array_size(blocking) - i);
            break;
        }
        buf_adds(&b, i ? ", " : "; in the way: ");
        add_blocker(&b, blocker);
    }
    if (hint || (r && r->hint)) {
        buf_addf(&b, "; %s", hint ? hint : r->hint);
    }
    say(b.data, "");
    return cli_reply_exit(reply);
}

struct client *cli_client(struct cli *cli, int *ret_exit)
{
    const char *given = cli_args_get(&cli->args, OPT_SOCKET);
    const char *url = getenv("TANGRAM_URL"), *token = getenv("TANGRAM_TOKEN");
    CLEANUP(freep) char *socket = client_default_socket(given);
    struct client_settings settings = {.socket = socket};
    struct error err = {0};

    if (cli->client) {
        return cli->client;
    }
    if (!given && url && *url) {
        settings = (struct client_settings){.url = url, .token = token};
    }
    if (client_new(&settings, &cli->client, &err) < 0) {
        *ret_exit = err.code == EINVAL ? cli_usage(cli, "%s", err.msg) : cli_fail(&err);
        return NULL;
    }
    return cli->client;
}

int cli_call(struct cli *cli, const char *method, const char *path, json_t *body, json_t **ret)
{
    CLEANUP(client_reply_done) struct client_reply reply = {0};
    struct error err = {0};
    int exit_code = CLI_FAILED;
    struct client *c = cli_client(cli, &exit_code);

    if (!c) {
        return exit_code;
    }
    if (client_request(c, method, path, body, CLIENT_TIMEOUT_MS, &reply, &err) < 0) {
        return cli_fail(&err);
    }
    if (reply.status < 200 || reply.status > 299) {
        return cli_fail_reply(&reply);
    }
    if (!reply.body) {
        cli_say("the daemon answered %s %s with nothing", method, path);
        return CLI_FAILED;
    }
    *ret = TAKE_PTR(reply.body);
    return CLI_OK;
}

int cli_fetch_list(struct cli *cli, const char *path, const char *key, json_t **ret)
{
    CLEANUP(json_decrefp) json_t *answer = NULL;
    int rc = cli_call(cli, "GET", path, NULL, &answer);

    if (rc) {
        return rc;
    }
    if (!js_array(answer, key)) {
        cli_say("the daemon's answer to %.*s has no list '%s' in it", (int)strcspn(path, "?"), path,
                key);
        return CLI_FAILED;
    }
    *ret = TAKE_PTR(answer);
    return CLI_OK;
}

int cli_list(struct cli *cli, const char *path, const char *key, const struct out_column *columns,
             size_t count)
{
    CLEANUP(json_decrefp) json_t *answer = NULL;
    int rc = cli_fetch_list(cli, path, key, &answer);

    if (rc) {
        return rc;
    }
    out_print_list(&cli->out, js_array(answer, key), columns, count);
    return CLI_OK;
}

int cli_opt_int(const struct cli *cli, enum cli_opt id, int64_t lo, int64_t hi, int64_t *ret)
{
    const char *value = cli_args_get(&cli->args, id);
    CLEANUP(freep) char *name = xasprintf("--%s", cli_option_find(id)->name);
    struct error err = {0};

    if (value && text_parse_int(value, name, lo, hi, ret, &err) < 0) {
        return cli_usage(cli, "%s", err.msg);
    }
    return 0;
}

int cli_opt_duration_ms(const struct cli *cli, enum cli_opt id, int64_t *ret_ms)
{
    const char *value = cli_args_get(&cli->args, id);
    struct error err = {0};

    if (value && text_parse_duration_ms(value, ret_ms, &err) < 0) {
        return cli_usage(cli, "--%s: %s", cli_option_find(id)->name, err.msg);
    }
    return 0;
}

char *cli_path(const char *prefix, const char *segment, const char *suffix)
{
    /* "." and ".." are not escaped by libcurl, and are nobody's id. */
    bool is_dots = !strcmp(segment, ".") || !strcmp(segment, "..");
    /* The number of a lease will do: 7 is l-7. */
    bool is_number = !segment[strspn(segment, "0123456789")] && *segment;
    bool is_lease = is_number && !strcmp(prefix, "/v1/leases/");
    char *escaped = curl_easy_escape(NULL, is_dots ? "%" : segment, 0);
    char *path = xasprintf("%s%s%s%s", prefix, is_lease ? "l-" : "", escaped ? escaped : "",
                           suffix);

    curl_free(escaped);
    return path;
}

void cli_add_query(struct cli *cli, struct buf *path, enum cli_opt id, const char *key)
{
    const char *value = cli_args_get(&cli->args, id);

    if (value) {
        char *escaped = curl_easy_escape(NULL, value, 0);
        buf_addf(path, "%c%s=%s", strchr(path->data, '?') ? '&' : '?', key, escaped ? escaped : "");
        curl_free(escaped);
    }
}
