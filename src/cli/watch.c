/* -w: draws again whenever the daemon says that something happened.
 *
 * The event stream only says when; what is shown is fetched anew, so that it is always whole.  The
 * first drawing is made after the stream has been opened: nothing falls in between.  When the
 * daemon goes away the last picture stays, with a line below it, until the daemon is back. */
#include "base/clock.h"
#include "cli/cli.h"
#include <poll.h>
#include <stdio.h>

#define RETRY_MS 500

struct watch {
    struct cli *cli;
    int (*draw)(struct cli *cli);
    int exit;
    bool is_drawn;
    bool is_away; /* said that the daemon went away */
};

static int on_change(const json_t *event, void *userdata)
{
    struct watch *w = userdata;

    if (event) {
        return 0;
    }
    if (w->cli->out.is_tty) {
        fputs("\033[H\033[2J\033[3J", stdout);
    } else if (w->is_drawn) {
        fputs("\n", stdout);
    }
    w->is_drawn = true;
    w->is_away = false;
    w->exit = w->draw(w->cli);
    fflush(stdout);
    /* Gone for a moment is no reason to stop; anything else is. */
    return (w->exit && w->exit != CLI_UNREACHABLE) || ferror(stdout);
}

int cli_watch(struct cli *cli, int (*draw)(struct cli *cli))
{
    struct watch w = {.cli = cli, .draw = draw};

    if (!cli_args_has(&cli->args, OPT_WATCH)) {
        return draw(cli);
    }
    for (;;) {
        /* Its own connection: the drawing uses the other one meanwhile. */
        struct cli second = {.args = cli->args, .out = cli->out};
        CLEANUP(client_reply_done) struct client_reply reply = {0};
        struct error err = {0};
        struct client *c = cli_client(&second, &w.exit);
        if (!c) {
            return w.exit;
        }
        int rc = client_stream(c, -1, on_change, &w, &reply, &err);
        client_free(c);
        if (rc > 0) {
            return w.exit;
        }
        if (rc == -EREMOTE) {
            return cli_fail_reply(&reply);
        }
        if (rc < 0 && !w.is_drawn) {
            return cli_fail(&err);
        }
        if (!w.is_away) {
            cli_say("the daemon went away; waiting for it");
            w.is_away = true;
        }
        poll(NULL, 0, RETRY_MS);
    }
}
