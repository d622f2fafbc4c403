#pragma once

enum log_level {
    LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG, LOG_LEVEL_COUNT
};

/* One line on standard error, escaped, from any thread.  Under systemd (JOURNAL_STREAM is set) it
 * starts with the syslog priority, "<4>"; else with the time and level.  A message never carries a
 * token. */
void log_msg(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Messages above `level` are dropped; LOG_LEVEL_INFO at start.  Call before threads start. */
void log_set_level(enum log_level level);

#define log_error(...) log_msg(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...) log_msg(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...) log_msg(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_msg(LOG_LEVEL_DEBUG, __VA_ARGS__)
