/* Completion scripts, from the table.
 *
 * What only the daemon knows (leases, slices, profiles) is asked for while completing, through the
 * same program: `tangram completion leases` and so on print plain words and nothing else. */
#include "cli/cli.h"
#include <stdio.h>
#include <string.h>

static const char *hint_words(enum cli_hint hint)
{
    switch (hint) {
    case HINT_LEASES:
        return "leases";
    case HINT_SLICES:
        return "slices";
    case HINT_PROFILES:
        return "profiles";
    default:
        return NULL;
    }
}

/* --- bash --- */

/* What to offer, as the words after `COMPREPLY=` would have it: one shell statement. */
static void bash_offer(enum cli_hint hint, const char *words)
{
    if (hint == HINT_FILE) {
        printf("COMPREPLY=($(compgen -f -- \"$cur\")); compopt -o filenames 2>/dev/null");
    } else if (hint == HINT_COMMAND) {
        printf("COMPREPLY=($(compgen -c -- \"$cur\"))");
    } else if (hint == HINT_COMMANDS) {
        printf("COMPREPLY=($(compgen -W \"$commands\" -- \"$cur\"))");
    } else if (hint_words(hint)) {
        printf("COMPREPLY=($(compgen -W \"$(tangram completion %s 2>/dev/null)\" -- \"$cur\"))",
               hint_words(hint));
    } else if (words) {
        printf("COMPREPLY=($(compgen -W \"%s\" -- \"$cur\"))", words);
    } else {
        printf(":");
    }
}

static bool is_offered(const struct cli_command *c, const struct cli_option *o)
{
    return !o->is_hidden && (o->is_global || (c && cli_command_takes(c, o->id)));
}

static void bash_options(const struct cli_command *c)
{
    for (size_t i = 0; i < cli_option_count; i++) {
        if (is_offered(c, &cli_options[i])) {
            printf(" --%s", cli_options[i].name);
        }
    }
}

/* The options of one command that take a value, as cases of `prev`. */
static void bash_values(const struct cli_command *c)
{
    for (size_t i = 0; i < cli_option_count; i++) {
        const struct cli_option *o = &cli_options[i];
        if (!o->arg || !is_offered(c, o)) {
            continue;
        }
        printf("            %s:--%s", c->name, o->name);
        if (o->letter) {
            printf("|%s:-%c", c->name, o->letter);
        }
        printf(") ");
        bash_offer(o->hint, o->words);
        printf("; return;;\n");
    }
}

static void print_bash(void)
{
    printf("# bash completion for tangram; load it with: source <(tangram completion bash)\n"
           "_tangram() {\n"
           "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} cmd= i "
           "past=\n"
           "    local commands=\"");
    for (size_t i = 0; i < cli_command_count; i++) {
        printf("%s%s", i ? " " : "", cli_commands[i].name);
    }
    printf("\"\n"
           "    COMPREPLY=()\n"
           "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
           "        if [[ -z $cmd && \" $commands \" == *\" ${COMP_WORDS[i]} \"* ]]; then\n"
           "            cmd=${COMP_WORDS[i]}\n"
           "        elif [[ ${COMP_WORDS[i]} == -- ]]; then\n"
           "            past=$i; break\n"
           "        fi\n"
           "    done\n"
           "    if [[ -n $past ]]; then\n"
           "        if ((COMP_CWORD == past + 1)); then COMPREPLY=($(compgen -c -- \"$cur\"))\n"
           "        else COMPREPLY=($(compgen -f -- \"$cur\")); fi\n"
           "        return\n"
           "    fi\n"
           "    case $cmd:$prev in\n");
    for (size_t i = 0; i < cli_command_count; i++) {
        bash_values(&cli_commands[i]);
    }
    printf("    esac\n    if [[ $cur == -* ]]; then\n        case $cmd in\n");
    for (size_t i = 0; i < cli_command_count; i++) {
        printf("            %s) COMPREPLY=($(compgen -W \"", cli_commands[i].name);
        bash_options(&cli_commands[i]);
        printf("\" -- \"$cur\"));;\n");
    }
    printf("            *) COMPREPLY=($(compgen -W \"");
    bash_options(NULL);
    printf("\" -- \"$cur\"));;\n        esac\n        return\n    fi\n    case $cmd in\n");
    for (size_t i = 0; i < cli_command_count; i++) {
        printf("        %s) ", cli_commands[i].name);
        bash_offer(cli_commands[i].hint, cli_commands[i].words);
        printf(";;\n");
    }
    printf("        *) COMPREPLY=($(compgen -W \"$commands\" -- \"$cur\"));;\n"
           "    esac\n}\ncomplete -F _tangram tangram\n");
}

/* --- zsh --- */

/* Text inside single quotes, with the characters that _arguments reads escaped. */
static void zsh_text(const char *text)
{
    for (const char *p = text; *p; p++) {
        if (*p == '\'') {
            printf("'\\''");
        } else {
            printf("%s%c", strchr("[]:\\", *p) ? "\\" : "", *p);
        }
    }
}

static void zsh_action(enum cli_hint hint, const char *words)
{
    if (hint == HINT_FILE) {
        printf("_files");
    } else if (hint == HINT_COMMAND) {
        printf("_normal");
    } else if (hint == HINT_COMMANDS) {
        printf("_tangram_commands");
    } else if (hint_words(hint)) {
        printf("($(tangram completion %s 2>/dev/null))", hint_words(hint));
    } else if (words) {
        printf("(%s)", words);
    }
}

static void zsh_option(const struct cli_option *o)
{
    char letter[] = "-x";

    letter[1] = o->letter;
    for (int is_long = 0; is_long < 2; is_long++) {
        if (!is_long && !o->letter) {
            continue;
        }
        printf(" \\\n            '%s%s%s[", is_long ? "--" : letter, is_long ? o->name : "",
               o->arg && is_long ? "=" : "");
        zsh_text(o->help);
        printf("]");
        if (o->arg) {
            printf(":%s:", o->arg);
            zsh_action(o->hint, o->words);
        }
        printf("'");
    }
}

static void zsh_command(const struct cli_command *c)
{
    printf("        %s) _arguments -s", c->name);
    for (size_t i = 0; i < cli_option_count; i++) {
        if (is_offered(c, &cli_options[i])) {
            zsh_option(&cli_options[i]);
        }
    }
    if (c->max_args != 0) {
        printf(" \\\n            '%s:argument:", c->hint == HINT_COMMAND ? "*:" : "*");
        zsh_action(c->hint, c->words);
        printf("'");
    }
    printf(" ;;\n");
}

static void print_zsh(void)
{
    printf("#compdef tangram\n# zsh completion for tangram; put it into a directory of $fpath as "
           "_tangram\n"
           "_tangram_commands() {\n    local -a commands=(");
    for (size_t i = 0; i < cli_command_count; i++) {
        printf("\n        '%s:", cli_commands[i].name);
        zsh_text(cli_commands[i].summary);
        printf("'");
    }
    printf(")\n    _describe command commands\n}\n"
           "_tangram() {\n"
           "    local line state\n"
           "    _arguments -C '1:command:_tangram_commands' '*::argument:->rest'\n"
           "    [[ $state == rest ]] || return\n"
           "    case $words[1] in\n");
    for (size_t i = 0; i < cli_command_count; i++) {
        zsh_command(&cli_commands[i]);
    }
    printf("    esac\n}\ncompdef _tangram tangram\n");
}

/* --- fish --- */

static void fish_text(const char *text)
{
    for (const char *p = text; *p; p++) {
        printf("%s%c", *p == '\'' || *p == '\\' ? "\\" : "", *p);
    }
}

static void fish_offer(enum cli_hint hint, const char *words)
{
    if (hint == HINT_FILE) {
        printf(" -F");
    } else if (hint == HINT_COMMAND) {
        printf(" -a '(__fish_complete_subcommand)'");
    } else if (hint_words(hint)) {
        printf(" -a '(tangram completion %s 2>/dev/null)'", hint_words(hint));
    } else if (words) {
        printf(" -a '%s'", words);
    }
}

static void fish_option(const struct cli_command *c, const struct cli_option *o)
{
    printf("complete -c tangram -n '%s%s' -l %s", c ? "__fish_seen_subcommand_from " : "",
           c ? c->name : "true", o->name);
    if (o->letter) {
        printf(" -s %c", o->letter);
    }
    printf(" -d '");
    fish_text(o->help);
    printf("'");
    if (o->arg) {
        printf(" -x");
        fish_offer(o->hint, o->words);
    }
    printf("\n");
}

static void print_fish(void)
{
    printf("# fish completion for tangram; put it into ~/.config/fish/completions/tangram.fish\n"
           "complete -c tangram -f\n");
    for (size_t i = 0; i < cli_option_count; i++) {
        if (cli_options[i].is_global) {
            fish_option(NULL, &cli_options[i]);
        }
    }
    for (size_t i = 0; i < cli_command_count; i++) {
        const struct cli_command *c = &cli_commands[i];
        printf("complete -c tangram -n __fish_use_subcommand -a %s -d '", c->name);
        fish_text(c->summary);
        printf("'\n");
        for (const enum cli_opt *o = c->options; *o != OPT_END; o++) {
            if (!cli_option_find(*o)->is_hidden) {
                fish_option(c, cli_option_find(*o));
            }
        }
        if (c->hint != HINT_NONE) {
            printf("complete -c tangram -n '__fish_seen_subcommand_from %s'", c->name);
            fish_offer(c->hint, c->words);
            printf("\n");
        }
    }
}

/* --- what only the daemon knows --- */

/* Ids and UUIDs are words; anything else is not offered. */
static void print_word(const char *text)
{
    if (text && *text &&
        !text[strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.+-")]) {
        printf("%s\n", text);
    }
}

static void print_profiles(const json_t *gpus)
{
    size_t i = 0, k = 0;
    json_t *gpu = NULL, *profile = NULL;

    json_array_foreach(gpus, i, gpu)
    {
        json_array_foreach(js_array(gpu, "profiles"), k, profile)
        {
            print_word(js_str(profile, "name"));
        }
    }
    print_word("gpu");
}

static void print_slices(const json_t *slices)
{
    size_t i = 0, k = 0;
    json_t *slice = NULL, *ci = NULL;

    json_array_foreach(slices, i, slice)
    {
        json_array_foreach(js_array(slice, "compute_instances"), k, ci)
        {
            print_word(js_str(ci, "mig_uuid"));
        }
    }
}

static int print_words(struct cli *cli, const char *what)
{
    const char *key = !strcmp(what, "profiles") ? "gpus" : what;
    CLEANUP(freep) char *path = xasprintf("/v1/%s", key);
    CLEANUP(client_reply_done) struct client_reply reply = {0};
    struct error err = {0};
    int rc = CLI_OK;
    struct client *c = cli_client(cli, &rc);

    if (!c || client_request(c, "GET", path, NULL, 2000, &reply, &err) < 0) {
        return c ? CLI_UNREACHABLE : rc;
    }
    const json_t *list = js_array(reply.body, key);
    size_t i = 0;
    json_t *row = NULL;
    if (!strcmp(what, "profiles")) {
        print_profiles(list);
    } else if (!strcmp(what, "slices")) {
        print_slices(list);
    } else {
        json_array_foreach(list, i, row)
        {
            print_word(js_str(row, "id"));
        }
    }
    return CLI_OK;
}

int cmd_completion(struct cli *cli)
{
    const char *what = cli->args.args[0];

    if (!strcmp(what, "bash")) {
        print_bash();
    } else if (!strcmp(what, "zsh")) {
        print_zsh();
    } else if (!strcmp(what, "fish")) {
        print_fish();
    } else if (!strcmp(what, "leases") || !strcmp(what, "slices") || !strcmp(what, "profiles")) {
        return print_words(cli, what);
    } else {
        return cli_usage(cli, "there is completion for bash, zsh and fish, not for '%.40s'", what);
    }
    return CLI_OK;
}
