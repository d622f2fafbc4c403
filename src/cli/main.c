/* tangram: the command line.  See args.h for how commands are found and cli.h for what they get. */
#include "cli/cli.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

/* What was written must have arrived: a full disk is not a success. */
static int check_output(int exit_code)
{
    int rc = out_flush();

    if (rc < 0) {
        cli_say("cannot write the output: %s", strerror(-rc));
        return exit_code == CLI_OK ? CLI_FAILED : exit_code;
    }
    return exit_code;
}

static int run_command(struct cli *cli)
{
    struct error err = {0};
    const struct cli_command *command = cli->args.command;

    if (cli_args_has(&cli->args, OPT_HELP)) {
        help_print(stdout, command);
        return CLI_OK;
    }
    if (cli_args_has(&cli->args, OPT_VERSION)) {
        printf("tangram %s\n", TANGRAM_VERSION);
        return CLI_OK;
    }
    if (!command) {
        help_print(stderr, NULL);
        return CLI_USAGE;
    }
    if (cli_args_check(&cli->args, &err) < 0) {
        return cli_usage(cli, "%s", err.msg);
    }
    return command->run(cli);
}

static int start(struct cli *cli, int argc, char **argv)
{
    struct error err = {0};

    if (cli_args_parse(&cli->args, argc, argv, &err) < 0) {
        return cli_usage(cli, "%s", err.msg);
    }
    const char *color = cli_args_get(&cli->args, OPT_COLOR);
    const char *format = cli_args_get(&cli->args, OPT_OUTPUT);
    const char *one_format = cli_args_get(&cli->args, OPT_ONE_OUTPUT);
    if (out_init(&cli->out, format ? format : one_format, color ? color : "auto",
                 cli_args_has(&cli->args, OPT_ASCII), &err) < 0) {
        return cli_usage(cli, "%s", err.msg);
    }
    if (one_format && cli->out.format == OUT_CSV) {
        return cli_usage(cli, "-o csv is for lists; %s takes table, json or yaml",
                         cli->args.command->name);
    }
    cli->out.has_header = !cli_args_has(&cli->args, OPT_NO_HEADER);
    return run_command(cli);
}

/* A standard descriptor that is closed (`>&-`) would become a socket's.  For the command of `run`
 * it is closed as before. */
static void fill_standard_fds(void)
{
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

    while (fd >= 0 && fd <= STDERR_FILENO) {
        fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    }
    closep(&fd);
}

int main(int argc, char **argv)
{
    fill_standard_fds();
    struct cli cli = {0};
    int exit_code = check_output(start(&cli, argc, argv));

    client_free(cli.client);
    cli_args_done(&cli.args);
    return exit_code;
}
