#include "base/log.h"
#include "base/clock.h"
#include "base/text.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static enum log_level threshold = LOG_LEVEL_INFO;

void log_set_level(enum log_level level)
{
    threshold = level;
}

void log_msg(enum log_level level, const char *fmt, ...)
{
    static const struct {
        const char *name;
        int priority;
    } levels[LOG_LEVEL_COUNT] = {{"error", 3}, {"warning", 4}, {"info", 6}, {"debug", 7}};
    char text[1024], when[32];
    va_list ap;

    if (level > threshold) {
        return;
    }
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);

    CLEANUP(buf_done) struct buf line = BUF_INIT(8192);
    if (getenv("JOURNAL_STREAM")) {
        buf_addf(&line, "<%d>", levels[level].priority);
    } else {
        buf_addf(&line, "%s %s: ", text_format_time_ms(clock_real_ms(), when), levels[level].name);
    }
    text_add_escaped(&line, text);
    buf_adds(&line, "\n");
    /* One write, so that lines of several threads do not mix; nobody to tell if it fails. */
    if (write(STDERR_FILENO, line.data, line.len) < 0) {
        return;
    }
}
