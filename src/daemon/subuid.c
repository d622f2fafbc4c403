#include "daemon/subuid.h"
#include "base/text.h"
#include "base/tree.h"
#include <string.h>

#define FILE_MAX_BYTES ((size_t)4 * 1024 * 1024)

static void forget(struct subuid *s)
{
    for (unsigned i = 0; i < s->count; i++) {
        free(s->ranges[i].owner);
    }
    free(TAKE_PTR(s->ranges));
    s->count = 0;
}

/* "alice:100000:65536"; the text is cut up. */
static void add_line(struct subuid *s, char *line)
{
    const char *owner = strsep(&line, ":");
    const char *first = line ? strsep(&line, ":") : NULL;
    int64_t from = 0, count = 0;

    if (!line || !*owner || *owner == '#' || !strcmp(owner, "root") || !strcmp(owner, "0") ||
        text_parse_int(first, "the first", 1, UINT32_MAX - 1, &from, NULL) < 0 ||
        text_parse_int(line, "the count", 1, UINT32_MAX - from, &count, NULL) < 0) {
        return;
    }
    s->ranges = xreallocarray(s->ranges, s->count + 1, sizeof(*s->ranges));
    s->ranges[s->count++] = (struct subuid_range){.first = (uid_t)from, .count = (uint32_t)count,
                                                  .owner = xstrdup(owner)};
}

static void read_ranges(struct subuid *s, const char *path)
{
    char *text = NULL, *line = NULL;
    size_t len = 0;

    if (tree_read_file(path, FILE_MAX_BYTES, &text, &len, NULL) < 0) {
        return;
    }
    for (char *rest = text; (line = strsep(&rest, "\n"));) {
        add_line(s, line);
    }
    free(text);
}

static bool is_as_read(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

void subuid_refresh(struct subuid *s, const char *path)
{
    struct stat now = {0};

    if (stat(path, &now) < 0) {
        now = (struct stat){0};
    }
    if (is_as_read(&now, &s->read)) {
        return;
    }
    forget(s);
    s->read = now;
    if (S_ISREG(now.st_mode)) {
        read_ranges(s, path);
    }
}

void subuid_done(struct subuid *s)
{
    forget(s);
    *s = (struct subuid){0};
}

const struct subuid_range *subuid_find(const struct subuid *s, uid_t uid)
{
    for (unsigned i = 0; i < s->count; i++) {
        if (uid >= s->ranges[i].first && uid - s->ranges[i].first < s->ranges[i].count) {
            return &s->ranges[i];
        }
    }
    return NULL;
}
