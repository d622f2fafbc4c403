/* One table tells the parser, the help and the completion what there is; the shells only ask.
 *
 * The line is read like args.c reads it, but leniently: it is not finished, and may be wrong. */
#include "cli/complete.h"
#include "base/text.h"
#include <stdio.h>
#include <string.h>

#define ANSWER_MS 700 /* somebody sits there and waits */

struct line {
    struct cli *cli;
    const struct cli_command *command;
    const struct cli_option *pending; /* wants a value, which is being typed */
    const char *word;                 /* being typed, without "--name=" */
    const char *before;               /* "--name=" of it, or "" */
    const char *args[64];             /* of the command, so far */
    size_t arg_count, arg_at;         /* where the first of them stands */
    bool is_past;                     /* "--" was there */
    enum cli_opt given[64];
    size_t given_count;
    size_t at; /* index of the word being typed */
};

/* --- reading the line --- */

static bool is_known(const struct line *l, const struct cli_option *o)
{
    return o->is_global || (l->command && cli_command_takes(l->command, o->id));
}

static const struct cli_option *find_long(const struct line *l, const char *name, size_t len)
{
    for (size_t i = 0; i < cli_option_count; i++) {
        const struct cli_option *o = &cli_options[i];
        if (is_known(l, o) && strlen(o->name) == len && !strncmp(o->name, name, len)) {
            return o;
        }
    }
    return NULL;
}

static const struct cli_option *find_letter(const struct line *l, char letter)
{
    for (size_t i = 0; letter && i < cli_option_count; i++) {
        if (is_known(l, &cli_options[i]) && cli_options[i].letter == letter) {
            return &cli_options[i];
        }
    }
    return NULL;
}

static void add_given(struct line *l, const struct cli_option *o)
{
    if (o && l->given_count < ARRAY_SIZE(l->given)) {
        l->given[l->given_count++] = o->id;
    }
}

/* A finished word that begins with "-". */
static void take_option(struct line *l, const char *word)
{
    const char *equals = strchr(word, '=');
    const struct cli_option *o = NULL;

    if (word[1] == '-') {
        o = find_long(l, word + 2, equals ? (size_t)(equals - word) - 2 : strlen(word) - 2);
        add_given(l, o);
        l->pending = o && o->arg && !equals ? o : NULL;
        return;
    }
    for (const char *p = word + 1; *p; p++) {
        o = find_letter(l, *p);
        add_given(l, o);
        if (o && o->arg) {
            l->pending = p[1] ? NULL : o;
            return;
        }
    }
}

static void take_word(struct line *l, const char *word, size_t at)
{
    bool is_raw = l->is_past || (l->arg_count && l->command->stops_at_arg);

    if (l->pending) {
        if (!strcmp(word, "=")) {
            return; /* bash takes "--name=" apart */
        }
        if (l->pending->id == OPT_SOCKET) {
            setenv("TANGRAM_SOCKET", word, 1);
        }
        l->pending = NULL;
    } else if (!is_raw && !strcmp(word, "--")) {
        l->is_past = true;
    } else if (!is_raw && word[0] == '-' && word[1]) {
        take_option(l, word);
    } else if (!l->command) {
        l->command = cli_command_find(word);
    } else if (l->arg_count < ARRAY_SIZE(l->args)) {
        l->arg_at = l->arg_count ? l->arg_at : at;
        l->args[l->arg_count++] = word;
    }
}

/* --- candidates --- */

static bool is_command(const struct line *l, const char *name)
{
    return l->command && !strcmp(l->command->name, name);
}

static void offer(const struct line *l, const char *word, const char *about)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(65536);

    if (!word || !*word || text_has_control(word) ||
        strncmp(word, l->word, strlen(l->word)) != 0) {
        return;
    }
    buf_addf(&b, "%s%s\t", l->before, word);
    text_add_escaped(&b, about ? about : "");
    printf("%s\n", b.data);
}

static bool has_arg(const struct line *l, const char *word)
{
    for (size_t i = 0; i < l->arg_count; i++) {
        if (!strcmp(l->args[i], word)) {
            return true;
        }
    }
    return false;
}

static void offer_words(const struct line *l, const char *words, const char *about)
{
    for (const char *p = words; p && *p;) {
        size_t n = strcspn(p, " ");
        CLEANUP(freep) char *word = xasprintf("%.*s", (int)n, p);
        offer(l, word, about);
        p += n + (p[n] == ' ');
    }
}

static void offer_commands(const struct line *l)
{
    for (size_t i = 0; i < cli_command_count; i++) {
        offer(l, cli_commands[i].name, cli_commands[i].summary);
    }
}

/* The list at /v1/KEY; NULL when there is none to be had, without a word. */
static json_t *ask(const struct line *l, const char *key)
{
    CLEANUP(freep) char *path = xasprintf("/v1/%s", key);
    CLEANUP(client_reply_done) struct client_reply reply = {0};
    CLEANUP(buf_done) struct buf unsaid = BUF_INIT(65536);
    struct error err = {0};
    int rc = 0;

    cli_catch_says(&unsaid);
    struct client *c = cli_client(l->cli, &rc);
    cli_catch_says(NULL);
    if (!c || client_request(c, "GET", path, NULL, ANSWER_MS, &reply, &err) < 0) {
        return NULL;
    }
    return json_incref(js_array(reply.body, key));
}

static bool suits(const struct line *l, const char *state)
{
    if (is_command(l, "why")) {
        return !strcmp(state, "queued") || !strcmp(state, "cutting");
    }
    return !is_command(l, "renew") || !strcmp(state, "active");
}

static void offer_leases(const struct line *l)
{
    CLEANUP(json_decrefp) json_t *leases = ask(l, "leases");
    size_t i = 0;
    json_t *lease = NULL;

    json_array_foreach(leases, i, lease)
    {
        const char *id = js_text(lease, "id", ""), *state = js_text(lease, "state", "?");
        CLEANUP(freep)
        char *about = xasprintf("%s  %s  %s  %s", js_text(lease, "profile", "?"), state,
                                js_text(lease, "tenant", "?"), js_text(lease, "name", ""));
        if (!has_arg(l, id) && suits(l, state)) {
            offer(l, id, about);
        }
    }
}

static void offer_slices(const struct line *l)
{
    CLEANUP(json_decrefp) json_t *slices = ask(l, "slices");
    const char *wanted = is_command(l, "adopt") ? "foreign" : "idle";
    size_t i = 0, k = 0;
    json_t *slice = NULL, *ci = NULL;

    json_array_foreach(slices, i, slice)
    {
        CLEANUP(buf_done) struct buf about = BUF_INIT(4096);
        buf_addf(&about, "%s at GPU %lld ", js_text(slice, "profile", "?"),
                 (long long)js_int(slice, "gpu_index", -1));
        out_add_placement(json_object_get(slice, "placement"), &about);
        json_array_foreach(js_array(slice, "compute_instances"), k, ci)
        {
            const char *uuid = js_text(ci, "mig_uuid", "");
            if (!strcmp(js_text(slice, "state", ""), wanted) && !has_arg(l, uuid)) {
                offer(l, uuid, about.data);
            }
        }
    }
}

static bool is_first(const json_t *gpus, size_t end, const char *name)
{
    size_t i = 0, k = 0;
    json_t *gpu = NULL, *profile = NULL;

    for (i = 0; i < end && (gpu = json_array_get(gpus, i)) != NULL; i++) {
        json_array_foreach(js_array(gpu, "profiles"), k, profile)
        {
            if (!strcmp(js_text(profile, "name", ""), name)) {
                return false;
            }
        }
    }
    return true;
}

static void offer_profiles(const struct line *l)
{
    CLEANUP(json_decrefp) json_t *gpus = ask(l, "gpus");
    size_t i = 0, k = 0;
    json_t *gpu = NULL, *profile = NULL;

    json_array_foreach(gpus, i, gpu)
    {
        json_array_foreach(js_array(gpu, "profiles"), k, profile)
        {
            const char *name = js_text(profile, "name", "");
            CLEANUP(freep)
            char *about = xasprintf("%lld compute, %.1f GiB",
                                    (long long)js_int(profile, "compute", 0),
                                    (double)js_int(profile, "memory_mib", 0) / 1024);
            if (is_first(gpus, i, name)) {
                offer(l, name, about);
            }
        }
    }
    offer(l, "gpu", "the whole GPU");
    offer(l, "memory=", "the smallest that has it, as in memory=12GiB");
}

/* What the members of a list have under `member`, each once. */
static void offer_each(const struct line *l, const char *list, const char *member,
                       const char *about)
{
    CLEANUP(json_decrefp) json_t *rows = ask(l, list), *seen = json_object();
    size_t i = 0;
    json_t *row = NULL;

    json_array_foreach(rows, i, row)
    {
        const char *text = js_text(row, member, "");
        if (!json_object_get(seen, text)) {
            json_object_set_new(seen, text, json_true());
            offer(l, text, about);
        }
    }
}

static void offer_hint(const struct line *l, enum cli_hint hint, const char *words,
                       const char *about)
{
    switch (hint) {
    case HINT_FILE:
        printf(":files\n");
        break;
    case HINT_COMMAND:
        printf(":command %zu\n", l->arg_count ? l->arg_at : l->at);
        break;
    case HINT_WORDS:
        offer_words(l, words, about);
        break;
    case HINT_PROFILES:
        offer_profiles(l);
        break;
    case HINT_LEASES:
        offer_leases(l);
        break;
    case HINT_SLICES:
        offer_slices(l);
        break;
    case HINT_COMMANDS:
        offer_commands(l);
        break;
    case HINT_MODELS:
        offer_each(l, "gpus", "name", "");
        break;
    case HINT_TENANTS:
        offer_each(l, "leases", "tenant", "");
        break;
    case HINT_NONE:
        break;
    }
}

static bool may_repeat(const struct line *l, enum cli_opt id)
{
    return id == OPT_LABEL || (id == OPT_PROFILE && is_command(l, "plan"));
}

static void offer_options(const struct line *l)
{
    for (size_t i = 0; i < cli_option_count; i++) {
        const struct cli_option *o = &cli_options[i];
        CLEANUP(freep) char *name = xasprintf("--%s", o->name);
        bool is_there = false;
        for (size_t k = 0; k < l->given_count; k++) {
            is_there = is_there || (l->given[k] == o->id && !may_repeat(l, o->id));
        }
        if (is_known(l, o) && !o->is_hidden && !is_there) {
            offer(l, name, o->help);
        }
    }
}

static void offer_arguments(const struct line *l)
{
    const struct cli_command *c = l->command;
    bool is_full = c->max_args >= 0 && l->arg_count >= (size_t)c->max_args;

    if (c->hint == HINT_WORDS && l->arg_count == 1 && is_command(l, "token") &&
        !strcmp(l->args[0], "revoke")) {
        offer_each(l, "tokens", "id", "");
    } else if (!is_full && !(c->hint == HINT_WORDS && l->arg_count)) {
        offer_hint(l, c->hint, c->words, "");
    }
}

/* The word being typed, when it is "--name=value". */
static bool split_value(const struct line *l)
{
    const char *equals = strchr(l->word, '=');
    size_t n = equals ? (size_t)(equals - l->word) : 0;
    const struct cli_option *o = n > 2 && !strncmp(l->word, "--", 2)
                                     ? find_long(l, l->word + 2, n - 2)
                                     : NULL;

    if (o && o->arg) {
        CLEANUP(freep) char *before = xasprintf("%.*s", (int)n + 1, l->word);
        struct line value = {
            .cli = l->cli, .command = l->command, .word = equals + 1, .before = before};
        offer_hint(&value, o->hint, o->words, o->help);
    }
    return o != NULL;
}

void complete_print(struct cli *cli, const char *const *words, size_t count)
{
    struct line l = {.cli = cli, .word = "", .before = "", .at = count ? count - 1 : 0};

    for (size_t i = 0; i + 1 < count; i++) {
        take_word(&l, words[i], i);
    }
    l.word = count ? words[count - 1] : "";
    bool is_raw = l.is_past || (l.arg_count && l.command->stops_at_arg);
    if (l.pending) {
        l.word += !strcmp(l.word, "="); /* bash: the value is still empty */
        offer_hint(&l, l.pending->hint, l.pending->words, l.pending->help);
    } else if (!is_raw && *l.word == '-') {
        if (!split_value(&l)) {
            offer_options(&l);
        }
    } else if (!l.command && !l.is_past) {
        offer_commands(&l);
    } else if (l.command) {
        offer_arguments(&l);
    }
}
