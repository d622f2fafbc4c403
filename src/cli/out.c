/* What the terminal can show, and text that fits into it. */
#include "cli/out.h"
#include "base/text.h"
#include "cli/cli.h"
#include <langinfo.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

static int parse_format(const char *text, enum out_format *ret, struct error *err)
{
    static const char *const names[] = {"table", "wide", "json", "yaml", "csv"};

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        if (!strcmp(text, names[i])) {
            *ret = (enum out_format)i;
            return 0;
        }
    }
    return err_set(err, EINVAL, "'%.40s' is not an output format: use table, wide, json, yaml or "
                                "csv",
                   text);
}

/* What the environment says, else the terminal, else what terminals once had. */
static int measured(const char *variable, int64_t least, int terminal, int otherwise)
{
    const char *given = getenv(variable);
    int64_t n = 0;

    if (given && text_parse_int(given, variable, least, 1000, &n, NULL) == 0) {
        return (int)n;
    }
    return terminal >= least ? terminal : otherwise;
}

void out_measure(struct out *out)
{
    struct winsize size = {0};

    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0) {
        size = (struct winsize){0};
    }
    out->width = measured("COLUMNS", 20, size.ws_col, 80);
    out->height = measured("LINES", 5, size.ws_row, 24);
}

int out_init(struct out *out, const char *format, const char *color, bool is_ascii,
             struct error *err)
{
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
    bool is_dumb = !term || !*term || !strcmp(term, "dumb");

    setlocale(LC_CTYPE, ""); /* widths only: numbers and messages are the same everywhere */
    *out = (struct out){.has_header = true};
    out->is_tty = isatty(STDOUT_FILENO);
    out->is_utf8 = !is_ascii && !strcmp(nl_langinfo(CODESET), "UTF-8");
    out_measure(out);
    if (!strcmp(color, "always")) {
        out->has_color = true;
    } else if (!strcmp(color, "auto")) {
        out->has_color = out->is_tty && !is_dumb && !(no_color && *no_color);
    } else if (strcmp(color, "never")) {
        return err_set(err, EINVAL, "--color takes auto, always or never, not '%.40s'", color);
    }
    return format ? parse_format(format, &out->format, err) : 0;
}

const char *out_color(const struct out *out, enum out_color color)
{
    static const char *const codes[COLOR_COUNT] = {
        "\033[0m",  "\033[1m",  "\033[2m",  "\033[31m", "\033[32m",
        "\033[33m", "\033[34m", "\033[35m", "\033[36m"};

    return out->has_color ? codes[color] : "";
}

enum out_color out_state_color(const char *state)
{
    static const struct {
        const char *state;
        enum out_color color;
    } table[] = {
        {"active", COLOR_GREEN},      {"ok", COLOR_GREEN},        {"leased", COLOR_GREEN},
        {"done", COLOR_GREEN},        {"queued", COLOR_YELLOW},   {"cutting", COLOR_YELLOW},
        {"releasing", COLOR_YELLOW},  {"creating", COLOR_YELLOW}, {"destroying", COLOR_YELLOW},
        {"foreign", COLOR_MAGENTA},   {"warning", COLOR_YELLOW},  {"running", COLOR_YELLOW},
        {"unresponsive", COLOR_RED},  {"lost", COLOR_RED},        {"failed", COLOR_RED},
        {"quarantined", COLOR_RED},   {"error", COLOR_RED},       {"rejected", COLOR_RED},
        {"idle", COLOR_CYAN},         {"released", COLOR_DIM},    {"expired", COLOR_DIM}};

    for (size_t i = 0; state && i < ARRAY_SIZE(table); i++) {
        if (!strcmp(table[i].state, state)) {
            return table[i].color;
        }
    }
    return COLOR_NONE;
}

/* One character of escaped text: its bytes and its columns.  Without UTF-8 every character above
 * ASCII is shown as '?', one column. */
static size_t next_char(const struct out *out, const char *s, int *ret_columns)
{
    wchar_t c = 0;
    mbstate_t state = {0};
    size_t n = 1;

    *ret_columns = 1;
    if ((unsigned char)*s < 0x80) {
        return 1;
    }
    if (!out->is_utf8) {
        while ((s[n] & 0xc0) == 0x80) {
            n++;
        }
        return n;
    }
    n = mbrtowc(&c, s, strlen(s), &state);
    if (n == (size_t)-1 || n == (size_t)-2 || n == 0) {
        return 1;
    }
    int columns = wcwidth(c);
    *ret_columns = columns < 0 ? 1 : columns;
    return n;
}

/* The n bytes of one character, as they can be shown. */
static void add_char(const struct out *out, struct buf *b, const char *p, size_t n)
{
    if ((unsigned char)*p >= 0x80 && !out->is_utf8) {
        buf_adds(b, "?");
    } else {
        buf_add(b, p, n);
    }
}

static char *escape(const char *text)
{
    struct buf b = BUF_INIT(65536);

    text_add_escaped(&b, text);
    return buf_take(&b);
}

int out_width(const struct out *out, const char *text)
{
    CLEANUP(freep) char *safe = escape(text);
    int width = 0;

    for (const char *p = safe; *p;) {
        int columns = 0;
        p += next_char(out, p, &columns);
        width += columns;
    }
    return width;
}

void out_add_fitted(const struct out *out, struct buf *b, const char *text, int width)
{
    CLEANUP(freep) char *safe = escape(text);
    bool is_cut = out_width(out, text) > width;
    int room = is_cut ? width - 1 : width, used = 0;

    if (width <= 0) {
        return;
    }
    for (const char *p = safe; *p;) {
        int columns = 0;
        size_t n = next_char(out, p, &columns);
        if (used + columns > room) {
            break;
        }
        add_char(out, b, p, n);
        used += columns;
        p += n;
    }
    if (is_cut) {
        buf_adds(b, out->is_utf8 ? "…" : "~");
        used++;
    }
    for (; used < width; used++) {
        buf_adds(b, " ");
    }
}

/* Columns up to the next space. */
static int word_width(const struct out *out, const char *p)
{
    int width = 0, columns = 0;

    for (; *p && *p != ' '; width += columns) {
        p += next_char(out, p, &columns);
    }
    return width;
}

static const char *add_word(const struct out *out, struct buf *b, const char *p)
{
    int columns = 0;

    while (*p && *p != ' ') {
        size_t n = next_char(out, p, &columns);
        add_char(out, b, p, n);
        p += n;
    }
    return p;
}

void out_add_folded(const struct out *out, struct buf *b, const char *text, int used, int indent)
{
    CLEANUP(freep) char *safe = escape(text);

    for (const char *p = safe; *p;) {
        int gap = (int)strspn(p, " ");
        int width = word_width(out, p + gap);
        if (out->is_tty && used > indent && used + gap + width > out->width) {
            buf_addf(b, "\n%*s", indent, "");
            used = indent - gap;
        } else {
            buf_addf(b, "%*s", gap, "");
        }
        used += gap + width;
        p = add_word(out, b, p + gap);
    }
    buf_adds(b, "\n");
}

void out_add_clipped(const struct out *out, struct buf *b, const char *line, size_t len)
{
    CLEANUP(freep) char *copy = xasprintf("%.*s", (int)len, line);
    int used = 0, columns = 0;

    for (const char *p = copy; *p;) {
        size_t color = *p == '\033' ? strcspn(p, "m") : 0;
        if (color && p[color]) {
            buf_add(b, p, color + 1); /* takes no room */
            p += color + 1;
            continue;
        }
        size_t n = next_char(out, p, &columns);
        used += columns;
        if (used <= out->width) {
            buf_add(b, p, n);
        }
        p += n;
    }
}

void out_add_placement(const json_t *placement, struct buf *b)
{
    if (json_is_object(placement)) {
        buf_addf(b, "%lld:%lld", (long long)js_int(placement, "start", -1),
                 (long long)js_int(placement, "size", -1));
    }
}

int out_flush(void)
{
    static int why;

    errno = 0;
    if (fflush(stdout) != 0 || ferror(stdout)) {
        why = why ? why : errno ? errno : EIO;
    }
    return -why;
}

int out_reader_fd(void)
{
    struct epoll_event none = {.events = 0}; /* errors are told anyway */
    int fd = epoll_create1(EPOLL_CLOEXEC);

    if (fd >= 0 && epoll_ctl(fd, EPOLL_CTL_ADD, STDOUT_FILENO, &none) < 0) {
        close(fd); /* a file, say: always there */
        return -1;
    }
    return fd;
}

void out_end_if_unread(void)
{
    struct pollfd fd = {.fd = STDOUT_FILENO};

    if (poll(&fd, 1, 0) > 0 && fd.revents & POLLERR) {
        signal(SIGPIPE, SIG_DFL);
        raise(SIGPIPE);
    }
}

void out_add_span(struct buf *b, int64_t ms)
{
    char text[32];
    int64_t step = ms >= 86400000 ? 3600000 : ms >= 3600000 ? 60000 : 1000;

    ms = ms < 0 ? 0 : ms - ms % step;
    buf_adds(b, text_format_duration_ms(ms, text));
}
