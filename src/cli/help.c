/* Help and the man page's lists, from the table. */
#include "cli/cli.h"
#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* What people do with a command, as they type it. */
static const struct {
    const char *command, *line;
} examples[] = {
    {"status", "tangram status -w"},
    {"profiles", "tangram profiles -o csv --no-header"},
    {"leases", "tangram leases --state queued"},
    {"leases", "tangram leases l-7 -o json"},
    {"usage", "tangram usage --by day --since 7d"},
    {"usage", "tangram usage --advice"},
    {"run", "tangram run -p 2g.20gb -- python3 train.py"},
    {"run", "tangram run -p memory=12GiB --wait 1h -- ./job.sh"},
    {"lease", "eval \"$(tangram lease -p 1g --ttl 8h --env)\""},
    {"lease", "tangram lease -p 3g.40gb --wait forever --name train -l team=nlp"},
    {"release", "tangram release l-7 l-8"},
    {"renew", "tangram renew l-7 --ttl 2h"},
    {"move", "tangram move l-7 --confirm"},
    {"plan", "tangram plan 4g.40gb 1g.10gb:3 --explain"},
    {"why", "tangram why l-7"},
    {"apply", "tangram apply -f config.yaml -c mixed --dry-run"},
    {"export", "tangram export > today.yaml"},
    {"adopt", "tangram adopt 0:4"},
    {"events", "tangram events -f -o json"},
    {"token", "tangram token create --tenant ci --role viewer --name prometheus"},
    {"token", "tangram token revoke t-1"},
    {"completion", "source <(tangram completion bash)"},
};

static void print_examples(FILE *f, const struct cli_command *c)
{
    bool has_heading = false;

    for (size_t i = 0; i < ARRAY_SIZE(examples); i++) {
        if (!strcmp(examples[i].command, c->name)) {
            fprintf(f, "%s  %s\n", has_heading ? "" : "\nExamples:\n", examples[i].line);
            has_heading = true;
        }
    }
}

#define HELP_COLUMN 29 /* where what an option does begins */

/* Folds text at 78 columns; it stands at column `indent`, where the other lines begin as well. */
static void print_folded(FILE *f, const char *text, size_t indent)
{
    size_t column = indent;

    while (*text) {
        size_t n = strcspn(text, " ");
        bool is_first = column == indent;
        if (!is_first && column + 1 + n > 78) {
            fprintf(f, "\n%*s", (int)indent, "");
            column = indent;
            is_first = true;
        }
        column += (size_t)fprintf(f, "%s%.*s", is_first ? "" : " ", (int)n, text);
        text += n + (text[n] == ' ');
    }
    fputs("\n", f);
}

static void print_option(FILE *f, const struct cli_option *o)
{
    CLEANUP(freep) char *left = xasprintf("--%s%s%s", o->name, o->arg ? " " : "",
                                          o->arg ? o->arg : "");
    char letter[] = "-x,";

    letter[1] = o->letter;
    fprintf(f, "  %s %-22s ", o->letter ? letter : "   ", left);
    print_folded(f, o->help, HELP_COLUMN);
}

static void print_globals(FILE *f)
{
    for (size_t i = 0; i < cli_option_count; i++) {
        if (cli_options[i].is_global) {
            print_option(f, &cli_options[i]);
        }
    }
}

static void print_command(FILE *f, const struct cli_command *c)
{
    fprintf(f, "Usage: tangram %s%s%s%s\n\n", c->name, *c->options ? " [OPTIONS]" : "",
            *c->args ? " " : "", c->args);
    fprintf(f, "%c%s.\n", toupper((unsigned char)c->summary[0]), c->summary + 1);
    if (c->about) {
        fputs("\n", f);
        print_folded(f, c->about, 0);
    }
    bool has_heading = false;
    for (const enum cli_opt *o = c->options; *o != OPT_END; o++) {
        if (!cli_option_find(*o)->is_hidden) {
            fputs(has_heading ? "" : "\nOptions:\n", f);
            has_heading = true;
            print_option(f, cli_option_find(*o));
        }
    }
    print_examples(f, c);
    fputs("\nEverywhere:\n", f);
    print_globals(f);
}

void help_print(FILE *f, const struct cli_command *command)
{
    if (command) {
        print_command(f, command);
        return;
    }
    fputs("Usage: tangram COMMAND [OPTIONS] [ARGUMENTS]\n\n"
          "Shares the GPUs of this machine by cutting them into slices on demand.\n\n"
          "Commands:\n",
          f);
    for (size_t i = 0; i < cli_command_count; i++) {
        fprintf(f, "  %-11s %s\n", cli_commands[i].name, cli_commands[i].summary);
    }
    fputs("\nOptions everywhere:\n", f);
    print_globals(f);
    fputs("\nTry 'tangram status', 'tangram run -p 1g -- COMMAND', or 'tangram help run'.\n"
          "Exit status: 0 done, 1 failed, 2 usage, 3 would have to wait or does not fit or\n"
          "differs, 4 not allowed, 5 conflict, 6 the daemon cannot be reached.\n",
          f);
}

/* --- scdoc --- */

static void print_scdoc_text(const char *text)
{
    for (const char *p = text; *p; p++) {
        /* At the start of a line these would begin a list or a table. */
        if (strchr("_*\\#<>", *p) || (strchr("-[|.", *p) && p == text)) {
            putchar('\\');
        }
        putchar(*p);
    }
}

/* What stands in the table as part of a line is a sentence of its own here; but `values`, if it
 * begins with one of them, are written as they are. */
static void print_scdoc_sentence(const char *text, const char *values)
{
    size_t word = strcspn(text, " ,;:");
    bool is_plain = !values || strncmp(text, values, word) != 0;

    for (size_t i = 0; i < word; i++) {
        is_plain = is_plain && islower((unsigned char)text[i]);
    }
    if (is_plain && word) {
        putchar(toupper((unsigned char)*text++));
    }
    print_scdoc_text(text);
    printf(".\n\n");
}

static void print_scdoc_option(const struct cli_option *o)
{
    if (o->letter) {
        printf("*-%c*, ", o->letter);
    }
    printf("*--%s*", o->name);
    if (o->arg) {
        printf(" _%s_", o->arg);
    }
    printf("\n\t");
    print_scdoc_sentence(o->help, o->words);
}

static void print_scdoc(void)
{
    printf("# COMMANDS\n\n");
    for (size_t i = 0; i < cli_command_count; i++) {
        const struct cli_command *c = &cli_commands[i];
        /* A heading is taken as it is. */
        printf("## tangram %s%s%s\n\n", c->name, *c->args ? " " : "", c->args);
        print_scdoc_sentence(c->summary, NULL);
        if (c->about) {
            print_scdoc_text(c->about);
            printf("\n\n");
        }
        for (const enum cli_opt *o = c->options; *o != OPT_END; o++) {
            if (!cli_option_find(*o)->is_hidden) {
                print_scdoc_option(cli_option_find(*o));
            }
        }
    }
    printf("# OPTIONS EVERYWHERE\n\n");
    for (size_t i = 0; i < cli_option_count; i++) {
        if (cli_options[i].is_global) {
            print_scdoc_option(&cli_options[i]);
        }
    }
}

int cmd_help(struct cli *cli)
{
    const struct cli_command *c = NULL;

    if (cli_args_has(&cli->args, OPT_SCDOC)) {
        print_scdoc();
        return CLI_OK;
    }
    if (cli->args.arg_count) {
        const char *name = cli->args.args[0];
        c = cli_command_find(name);
        if (!c) {
            const struct cli_command *guess = cli_command_guess(name);
            return cli_usage(cli, "there is no command '%.60s'%s%s%s", name,
                             guess ? "; did you mean '" : "", guess ? guess->name : "",
                             guess ? "'?" : "");
        }
    }
    help_print(stdout, c);
    return CLI_OK;
}
