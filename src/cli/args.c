/* Parsing a command line against the table.
 *
 * Options may stand anywhere on the line, before or after arguments, up to "--"; a command that
 * runs another program ends its own options at the first argument.  Values come as --name=V,
 * --name V, -xV or -x V; switches may be joined (-wa).  No abbreviations of long names: a name
 * added later would change what an old script means. */
#include "cli/args.h"
#include "base/cleanup.h"
#include <stdio.h>
#include <string.h>

void cli_args_done(struct cli_args *a)
{
    free(a->given);
    free(a->args);
    *a = (struct cli_args){0};
}

const struct cli_option *cli_option_find(enum cli_opt id)
{
    for (size_t i = 0; i < cli_option_count; i++) {
        if (cli_options[i].id == id) {
            return &cli_options[i];
        }
    }
    return NULL;
}

const struct cli_command *cli_command_find(const char *name)
{
    for (size_t i = 0; i < cli_command_count; i++) {
        if (!strcmp(cli_commands[i].name, name)) {
            return &cli_commands[i];
        }
    }
    return NULL;
}

bool cli_command_takes(const struct cli_command *command, enum cli_opt id)
{
    for (const enum cli_opt *o = command->options; *o != OPT_END; o++) {
        if (*o == id) {
            return true;
        }
    }
    return false;
}

#define GUESS_MAX 24

/* Edits (insert, delete, replace, swap neighbours) from a to b; both shorter than GUESS_MAX. */
static int edit_distance(const char *a, const char *b)
{
    int d[GUESS_MAX + 1][GUESS_MAX + 1] = {{0}};
    int la = (int)strlen(a), lb = (int)strlen(b);

    for (int i = 0; i <= la; i++) {
        for (int j = 0; j <= lb; j++) {
            if (!i || !j) {
                d[i][j] = i + j;
                continue;
            }
            int best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            best = d[i - 1][j] + 1 < best ? d[i - 1][j] + 1 : best;
            best = d[i][j - 1] + 1 < best ? d[i][j - 1] + 1 : best;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                d[i - 2][j - 2] + 1 < best) {
                best = d[i - 2][j - 2] + 1;
            }
            d[i][j] = best;
        }
    }
    return d[la][lb];
}

const struct cli_command *cli_command_guess(const char *name)
{
    static const struct {
        const char *said, *meant;
    } synonyms[] = {{"ps", "status"},      {"top", "status"},   {"ls", "status"},
                    {"list", "leases"},    {"free", "release"}, {"delete", "release"},
                    {"exec", "run"},       {"get", "leases"},   {"explain", "why"},
                    {"describe", "leases"}, {"logs", "events"},  {"cancel", "release"},
                    {"stop", "release"},   {"info", "status"},  {"sinfo", "status"},
                    {"srun", "run"},       {"sbatch", "run"},   {"salloc", "lease"},
                    {"scancel", "release"}, {"squeue", "queue"}, {"sacct", "usage"}};
    const struct cli_command *best = NULL;
    int best_distance = 3;
    size_t len = strlen(name);

    for (size_t i = 0; i < ARRAY_SIZE(synonyms); i++) {
        if (!strcmp(synonyms[i].said, name)) {
            return cli_command_find(synonyms[i].meant);
        }
    }
    if (len == 0 || len > GUESS_MAX) {
        return NULL;
    }
    for (size_t i = 0; i < cli_command_count; i++) {
        const struct cli_command *c = &cli_commands[i];
        int d = edit_distance(name, c->name);
        if (len >= 2 && !strncmp(c->name, name, len)) {
            d = 1;
        }
        /* Half the word wrong is another word. */
        if (d < best_distance && d * 2 <= (int)strlen(c->name)) {
            best_distance = d;
            best = c;
        }
    }
    return best;
}

bool cli_args_has(const struct cli_args *a, enum cli_opt id)
{
    for (size_t i = 0; i < a->given_count; i++) {
        if (a->given[i].id == id) {
            return true;
        }
    }
    return false;
}

const char *cli_args_get(const struct cli_args *a, enum cli_opt id)
{
    for (size_t i = a->given_count; i > 0; i--) {
        if (a->given[i - 1].id == id) {
            return a->given[i - 1].value;
        }
    }
    return NULL;
}

static void add_given(struct cli_args *a, enum cli_opt id, const char *value)
{
    a->given = xreallocarray(a->given, a->given_count + 1, sizeof(*a->given));
    a->given[a->given_count++] = (struct cli_given){.id = id, .value = value};
}

/* Does this option belong here: before the command, or with it? */
static bool is_known_here(const struct cli_args *a, const struct cli_option *o)
{
    return o->is_global || (a->command && cli_command_takes(a->command, o->id));
}

static const struct cli_option *find_long(const struct cli_args *a, const char *name, size_t len)
{
    for (size_t i = 0; i < cli_option_count; i++) {
        const struct cli_option *o = &cli_options[i];
        if (is_known_here(a, o) && strlen(o->name) == len && !strncmp(o->name, name, len)) {
            return o;
        }
    }
    return NULL;
}

static const struct cli_option *find_letter(const struct cli_args *a, char letter)
{
    for (size_t i = 0; i < cli_option_count; i++) {
        const struct cli_option *o = &cli_options[i];
        if (is_known_here(a, o) && o->letter == letter) {
            return o;
        }
    }
    return NULL;
}

/* What a word that is no long option here may have meant; "" nothing. */
static const char *guess_option(const struct cli_args *a, const char *word, char ret[static 64])
{
    static const struct {
        const char *said, *meant;
        enum cli_opt id;
    } others[] = {{"--json", "-o json", OPT_OUTPUT},   {"--yaml", "-o yaml", OPT_OUTPUT},
                  {"--csv", "-o csv", OPT_OUTPUT},     {"--wide", "-o wide", OPT_OUTPUT},
                  {"--format", "-o", OPT_OUTPUT},      {"--noheader", "--no-header", OPT_NO_HEADER},
                  {"--timeout", "--wait", OPT_WAIT},   {"--time", "--ttl", OPT_TTL},
                  {"--duration", "--ttl", OPT_TTL},    {"--user", "--tenant", OPT_TENANT},
                  {"--gpu", "--model", OPT_MODEL},     {"--filename", "--file", OPT_FILE}};
    size_t len = strcspn(word, "=");
    char said[GUESS_MAX];
    int best = 3;

    ret[0] = '\0';
    if (len >= sizeof(said)) {
        return ret;
    }
    snprintf(said, sizeof(said), "%.*s", (int)len, word);
    for (size_t i = 0; a->command && i < ARRAY_SIZE(others); i++) {
        if (!strcmp(others[i].said, said) && cli_command_takes(a->command, others[i].id)) {
            snprintf(ret, 64, "; did you mean '%s'?", others[i].meant);
            return ret;
        }
    }
    for (size_t i = 0; i < cli_option_count; i++) {
        const struct cli_option *o = &cli_options[i];
        int d = GUESS_MAX;
        if (is_known_here(a, o) && !o->is_hidden && strlen(o->name) < GUESS_MAX && len > 2) {
            d = edit_distance(said + 2, o->name);
        }
        if (d < best && d * 2 < (int)strlen(o->name)) {
            best = d;
            snprintf(ret, 64, "; did you mean '--%s'?", o->name);
        }
    }
    return ret;
}

static int fail_unknown(const struct cli_args *a, const char *word, struct error *err)
{
    char guess[64] = "";

    if (word[1] == '-') {
        guess_option(a, word, guess);
    }
    if (!a->command) {
        return err_set(err, EINVAL, "unknown option '%.60s' before the command%s", word, guess);
    }
    return err_set(err, EINVAL, "%s has no option '%.60s'%s", a->command->name, word, guess);
}

/* One word that starts with "--"; *i is moved over a value that stands in the next word. */
static int parse_long(struct cli_args *a, int argc, char **argv, int *i, struct error *err)
{
    const char *name = argv[*i] + 2;
    const char *equals = strchr(name, '=');
    size_t len = equals ? (size_t)(equals - name) : strlen(name);
    const struct cli_option *o = find_long(a, name, len);

    if (!o) {
        return fail_unknown(a, argv[*i], err);
    }
    if (!o->arg) {
        if (equals) {
            return err_set(err, EINVAL, "--%s takes no value", o->name);
        }
        add_given(a, o->id, NULL);
        return 0;
    }
    if (equals) {
        add_given(a, o->id, equals + 1);
        return 0;
    }
    if (*i + 1 >= argc) {
        return err_set(err, EINVAL, "--%s needs a value: --%s %s", o->name, o->name, o->arg);
    }
    add_given(a, o->id, argv[++*i]);
    return 0;
}

/* One word of short options. */
static int parse_letters(struct cli_args *a, int argc, char **argv, int *i, struct error *err)
{
    for (const char *p = argv[*i] + 1; *p; p++) {
        const struct cli_option *o = find_letter(a, *p);
        if (!o) {
            char word[3] = {'-', *p, '\0'};
            return fail_unknown(a, word, err);
        }
        if (!o->arg) {
            add_given(a, o->id, NULL);
            continue;
        }
        if (p[1]) {
            add_given(a, o->id, p[1] == '=' ? p + 2 : p + 1);
            return 0;
        }
        if (*i + 1 >= argc) {
            return err_set(err, EINVAL, "-%c needs a value: -%c %s", o->letter, o->letter, o->arg);
        }
        add_given(a, o->id, argv[++*i]);
        return 0;
    }
    return 0;
}

static int take_command(struct cli_args *a, const char *word, struct error *err)
{
    a->command = cli_command_find(word);
    if (a->command) {
        return 0;
    }
    const struct cli_command *guess = cli_command_guess(word);
    if (guess) {
        return err_set(err, EINVAL, "there is no command '%.60s'; did you mean '%s'?", word,
                       guess->name);
    }
    return err_set(err, EINVAL, "there is no command '%.60s'", word);
}

int cli_args_parse(struct cli_args *a, int argc, char **argv, struct error *err)
{
    bool is_options_over = false;

    a->args = xcalloc((size_t)argc + 1, sizeof(*a->args));
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        int rc = 0;
        if (is_options_over || word[0] != '-' || !word[1]) {
            if (!a->command) {
                rc = take_command(a, word, err);
            } else {
                a->args[a->arg_count++] = word;
                is_options_over = is_options_over || a->command->stops_at_arg;
            }
        } else if (!strcmp(word, "--")) {
            is_options_over = true;
        } else if (word[1] == '-') {
            rc = parse_long(a, argc, argv, &i, err);
        } else {
            rc = parse_letters(a, argc, argv, &i, err);
        }
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

int cli_args_check(const struct cli_args *a, struct error *err)
{
    const struct cli_command *c = a->command;

    if (a->arg_count < (size_t)c->min_args) {
        return err_set(err, EINVAL, "%s needs %s", c->name, c->args);
    }
    if (c->max_args == 0 && a->arg_count == 1 && cli_command_takes(c, OPT_PROFILE)) {
        return err_set(err, EINVAL, "%s takes the profile as -p %.60s", c->name, a->args[0]);
    }
    if (c->max_args >= 0 && a->arg_count > (size_t)c->max_args) {
        return err_set(err, EINVAL, "%s: '%.60s' is one argument too many", c->name,
                       a->args[c->max_args]);
    }
    for (size_t i = 0; i < a->arg_count; i++) {
        if (!a->args[i][0] && !c->stops_at_arg) {
            return err_set(err, EINVAL, "%s: an argument is empty", c->name);
        }
    }
    return 0;
}
