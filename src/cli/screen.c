/* The terminal's other screen.
 *
 * A command draws by printing, so its standard output is caught in memory while it does; what it
 * says on standard error, too.  The frame is then written in one piece over the old one, without
 * wiping first: nothing flickers.  Lines are cut at the right edge, and a frame that is too high
 * says so in its last line.
 *
 * Signals are blocked and come as data, so that the terminal is given back whatever ends us (but
 * SIGKILL). */
#include "cli/screen.h"
#include "base/text.h"
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <termios.h>

#define TICK_S 2
#define ENTER "\033[?1049h\033[?25l\033[H\033[2J"
#define LEAVE "\033[?25h\033[?1049l"

struct screen {
    struct cli *cli;
    int signals, timer, all; /* signals: those that end us, for requests */
    int others;              /* the terminal's: size, stop, continue */
    sigset_t before;
    struct termios saved;
    bool has_keys; /* saved is the terminal's mode, and ours is set */
    struct buf frame;
};

static void show(const struct screen *s, const char *text)
{
    (void)s;
    fputs(text, stdout);
    fflush(stdout);
}

/* Keys one by one and unseen, if the terminal is ours to set. */
static void take_keys(struct screen *s)
{
    struct termios mode;

    if (s->has_keys || !isatty(STDIN_FILENO) || tcgetpgrp(STDIN_FILENO) != getpgrp() ||
        tcgetattr(STDIN_FILENO, &s->saved) < 0) {
        return;
    }
    mode = s->saved;
    mode.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    mode.c_cc[VMIN] = 1;
    mode.c_cc[VTIME] = 0;
    s->has_keys = tcsetattr(STDIN_FILENO, TCSANOW, &mode) == 0;
}

static void give_keys_back(struct screen *s)
{
    if (s->has_keys) {
        tcsetattr(STDIN_FILENO, TCSANOW, &s->saved);
        s->has_keys = false;
    }
}

static int watch_fd(int epoll, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data = {.fd = fd}};

    return fd < 0 ? -1 : epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

static void open_fds(struct screen *s)
{
    struct itimerspec tick = {.it_interval = {.tv_sec = TICK_S}, .it_value = {.tv_sec = TICK_S}};
    sigset_t ending, others, both;

    sigemptyset(&ending);
    sigaddset(&ending, SIGINT);
    sigaddset(&ending, SIGTERM);
    sigaddset(&ending, SIGHUP);
    sigaddset(&ending, SIGQUIT);
    sigemptyset(&others);
    sigaddset(&others, SIGWINCH);
    sigaddset(&others, SIGTSTP);
    sigorset(&both, &ending, &others);
    sigprocmask(SIG_BLOCK, &both, &s->before);
    s->signals = signalfd(-1, &ending, SFD_CLOEXEC | SFD_NONBLOCK);
    s->others = signalfd(-1, &others, SFD_CLOEXEC | SFD_NONBLOCK);
    s->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    s->all = epoll_create1(EPOLL_CLOEXEC);
    timerfd_settime(s->timer, 0, &tick, NULL);
    watch_fd(s->all, s->signals);
    watch_fd(s->all, s->others);
    watch_fd(s->all, s->timer);
}

struct screen *screen_take(struct cli *cli)
{
    if (!cli->out.is_tty || out_is_tree(&cli->out) || cli->out.format == OUT_CSV) {
        return NULL;
    }
    struct screen *s = xcalloc(1, sizeof(*s));
    s->cli = cli;
    s->frame = BUF_INIT(8u * 1024 * 1024);
    open_fds(s);
    take_keys(s);
    if (s->has_keys) {
        watch_fd(s->all, STDIN_FILENO);
    }
    if (cli_client(cli, &(int){0})) {
        client_set_cancel_fd(cli->client, s->signals);
    }
    show(s, ENTER);
    return s;
}

void screen_free(struct screen *s)
{
    if (!s) {
        return;
    }
    show(s, LEAVE);
    give_keys_back(s);
    if (s->cli->client) {
        client_set_cancel_fd(s->cli->client, -1);
    }
    sigprocmask(SIG_SETMASK, &s->before, NULL);
    close(s->all);
    close(s->timer);
    close(s->others);
    close(s->signals);
    buf_done(&s->frame);
    free(s);
}

int screen_fd(const struct screen *s)
{
    return s->all;
}

/* Ctrl-Z: the shell gets its terminal back, and we get ours when we go on. */
static void stop(struct screen *s)
{
    show(s, LEAVE);
    give_keys_back(s);
    raise(SIGSTOP);
    take_keys(s);
    show(s, ENTER);
}

static int read_key(struct screen *s)
{
    char key = '\0';
    ssize_t n = s->has_keys ? read(STDIN_FILENO, &key, 1) : 0;

    if (n == 0 && s->has_keys) {
        return 0; /* the terminal is gone */
    }
    return key == 'q' || key == 'Q' || key == '\004' ? 0 : -1;
}

int screen_handle(struct screen *s)
{
    struct epoll_event events[4];
    struct signalfd_siginfo info;
    uint64_t ticks = 0;
    int n = epoll_wait(s->all, events, (int)ARRAY_SIZE(events), 0);

    for (int i = 0; i < n; i++) {
        if (events[i].data.fd == STDIN_FILENO && read_key(s) == 0) {
            return 0;
        }
        if (events[i].data.fd == s->timer && read(s->timer, &ticks, sizeof(ticks)) < 0) {
            continue;
        }
        if (events[i].data.fd == s->signals &&
            read(s->signals, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
            return 128 + (int)info.ssi_signo;
        }
        if (events[i].data.fd == s->others &&
            read(s->others, &info, sizeof(info)) == (ssize_t)sizeof(info) &&
            info.ssi_signo == SIGTSTP) {
            stop(s);
        }
    }
    out_measure(&s->cli->out);
    return -1;
}

void screen_note(struct screen *s, const char *text)
{
    const struct out *out = &s->cli->out;
    CLEANUP(buf_done) struct buf b = BUF_INIT(65536);

    buf_addf(&b, "\033[%d;1H%s", out->height, out_color(out, COLOR_RED));
    out_add_fitted(out, &b, text, out->width - 1);
    buf_addf(&b, "%s\033[K", out_color(out, COLOR_NONE));
    show(s, b.data);
}

static int count_lines(const char *text)
{
    int lines = 0;

    for (; *text; text += strcspn(text, "\n"), text += *text == '\n') {
        lines++;
    }
    return lines;
}

/* The text as one frame: each line replaces the one that was there. */
static void write_frame(struct screen *s, const char *text)
{
    const struct out *out = &s->cli->out;
    int lines = count_lines(text), most = lines > out->height ? out->height - 1 : lines;

    buf_clear(&s->frame);
    buf_adds(&s->frame, "\033[H");
    for (int i = 0; i < most; i++) {
        size_t n = strcspn(text, "\n");
        out_add_clipped(out, &s->frame, text, n);
        buf_addf(&s->frame, "%s\033[K%s", out_color(out, COLOR_NONE),
                 i + 1 < out->height ? "\n" : "");
        text += n + (text[n] == '\n');
    }
    if (most < lines) {
        buf_addf(&s->frame, "(%d more lines; a higher window shows them)\033[K", lines - most);
    } else if (lines < out->height) {
        buf_adds(&s->frame, "\033[J");
    }
    show(s, s->frame.data);
}

int screen_draw(struct screen *s, int (*draw)(struct cli *cli))
{
    CLEANUP(buf_done) struct buf said = BUF_INIT(65536);
    CLEANUP(freep) char *text = NULL;
    size_t len = 0;
    FILE *terminal = stdout, *memory = open_memstream(&text, &len);

    if (!memory) {
        return draw(s->cli);
    }
    stdout = memory;
    cli_catch_says(&said);
    int rc = draw(s->cli);
    cli_catch_says(NULL);
    stdout = terminal;
    fclose(memory);
    if (rc && said.len) {
        screen_note(s, said.data);
    } else {
        write_frame(s, text);
    }
    return rc;
}
