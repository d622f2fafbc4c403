/* -w: draws again whenever the daemon says that something happened.
 *
 * The event stream only says when; what is shown is fetched anew, so that it is always whole.  The
 * first drawing is made after the stream has been opened: nothing falls in between.  On a terminal
 * it has the screen for itself, is also drawn every two seconds (ages, processes), and when the
 * daemon goes away the last picture stays, with a line below it, until the daemon is back. */
#include "cli/screen.h"
#include <poll.h>
#include <stdio.h>

#define RETRY_MS 500

struct watch {
    struct cli *cli;
    int (*draw)(struct cli *cli);
    struct screen *screen; /* NULL: into a file or a pipe */
    int exit;
    bool is_drawn, is_over;
    bool is_away; /* said that the daemon went away */
};

/* Signals and keys: true when they end it. */
static bool is_ended(struct watch *w)
{
    int rc = w->screen ? screen_handle(w->screen) : -1;

    if (rc >= 0) {
        w->exit = rc;
        w->is_over = true;
    }
    return rc >= 0;
}

static int draw_plain(struct watch *w)
{
    if (w->is_drawn) {
        fputs("\n", stdout);
    }
    int rc = w->draw(w->cli);
    return out_flush() < 0 ? CLI_FAILED : rc;
}

static int on_change(const json_t *event, void *userdata)
{
    struct watch *w = userdata;

    if (event) {
        return 0;
    }
    if (is_ended(w)) {
        return 1;
    }
    out_end_if_unread();
    w->exit = w->screen ? screen_draw(w->screen, w->draw) : draw_plain(w);
    w->is_drawn = true;
    w->is_away = false;
    if (w->exit > 128 && is_ended(w)) {
        return 1; /* a signal while it was drawing */
    }
    /* Gone for a moment is no reason to stop; anything else is. */
    w->is_over = w->exit && w->exit != CLI_UNREACHABLE;
    return w->is_over || ferror(stdout);
}

static void say_away(struct watch *w)
{
    static const char text[] = "the daemon went away; waiting for it";

    if (w->screen) {
        screen_note(w->screen, text);
    } else if (!w->is_away) {
        cli_say(text);
    }
    w->is_away = true;
}

/* One stream, until it ends.  True when the watching is over. */
static bool follow(struct watch *w)
{
    /* Its own connection: the drawing uses the other one meanwhile. */
    struct cli second = {.args = w->cli->args, .out = w->cli->out};
    CLEANUP(client_reply_done) struct client_reply reply = {0};
    struct error err = {0};
    struct client *c = cli_client(&second, &w->exit);

    if (!c) {
        return true;
    }
    CLEANUP(closep) int reader = w->screen ? -1 : out_reader_fd();
    client_set_cancel_fd(c, w->screen ? screen_fd(w->screen) : reader);
    int rc = client_stream(c, -1, on_change, w, &reply, &err);
    client_free(c);
    if (rc > 0) {
        return true;
    }
    if (rc == -EREMOTE || (rc < 0 && !w->is_drawn)) {
        screen_freep(&w->screen);
        w->screen = NULL;
        w->exit = rc == -EREMOTE ? cli_fail_reply(&reply) : cli_fail(&err);
        return true;
    }
    return false;
}

static int watch(struct watch *w)
{
    while (!follow(w)) {
        struct pollfd fd = {.fd = w->screen ? screen_fd(w->screen) : -1, .events = POLLIN};
        say_away(w);
        poll(&fd, 1, RETRY_MS);
        if (fd.revents && is_ended(w)) {
            break;
        }
    }
    return w->exit;
}

int cli_watch(struct cli *cli, int (*draw)(struct cli *cli))
{
    struct watch w = {.cli = cli, .draw = draw};
    CLEANUP(buf_done) struct buf said = BUF_INIT(65536);

    if (!cli_args_has(&cli->args, OPT_WATCH)) {
        return draw(cli);
    }
    w.screen = screen_take(cli);
    int rc = watch(&w);
    screen_free(w.screen);
    if (w.is_over && rc && rc < 128) {
        /* What was said on the other screen is gone with it. */
        rc = draw(cli);
    }
    return rc;
}
