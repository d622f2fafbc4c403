#include "replay/trace.h"
#include "base/text.h"
#include "mig/mig.h"
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BYTE_ORDER_MARK "\xef\xbb\xbf" /* what spreadsheets begin a file with */

#define JOBS_MAX 1000000
#define NAMES_MAX 1000

enum column { ARRIVAL, PROFILE, DURATION, TENANT, PRIORITY, MOVABLE, COLUMN_COUNT };

static const char *const column_names[COLUMN_COUNT] = {"arrival_ms", "profile",  "duration_ms",
                                                       "tenant",     "priority", "movable"};

struct names {
    uint32_t count;
    char *list[NAMES_MAX];
};

struct reader {
    struct replay_trace trace;
    size_t size;
    int order[COLUMN_COUNT]; /* which column stands where; -1: not there */
    int fields;
    const char *fault; /* the field that an error is about; NULL: the whole line */
    struct names tenants, profiles;
};

/* The number of a name, from 0; -1 when there are too many. */
static int intern(struct names *n, const char *name)
{
    for (uint32_t i = 0; i < n->count; i++) {
        if (strcmp(n->list[i], name) == 0) {
            return (int)i;
        }
    }
    if (n->count == NAMES_MAX) {
        return -1;
    }
    n->list[n->count] = xstrdup(name);
    return (int)n->count++;
}

/* Splits at commas, in place; a field may stand in double quotes ("memory=12GiB,compute=2").
 * More than COLUMN_COUNT: there are more; 0: a quote is not closed. */
static int split(char *line, char *fields[COLUMN_COUNT])
{
    int n = 0;
    char *at = line;

    while (n < COLUMN_COUNT) {
        char *end;
        while (isblank((unsigned char)*at)) {
            at++;
        }
        if (*at == '"') {
            fields[n++] = ++at;
            end = strchrnul(at, '"');
            if (!*end) {
                return 0;
            }
            *end++ = '\0';
            end = strchrnul(end, ',');
        } else {
            fields[n++] = at;
            end = strchrnul(at, ',');
        }
        bool is_last = !*end;
        *end = '\0';
        if (is_last) {
            return n;
        }
        at = end + 1;
    }
    return COLUMN_COUNT + 1;
}

static void trim(char *s)
{
    size_t n = strlen(s);

    while (n && isspace((unsigned char)s[n - 1])) {
        s[--n] = '\0';
    }
}

static int read_header(struct reader *r, char *fields[COLUMN_COUNT], int n, struct error *err)
{
    for (int c = 0; c < COLUMN_COUNT; c++) {
        r->order[c] = -1;
    }
    for (int i = 0; i < n; i++) {
        int c = 0;
        while (c < COLUMN_COUNT && strcmp(fields[i], column_names[c]) != 0) {
            c++;
        }
        if (c == COLUMN_COUNT || r->order[c] >= 0) {
            r->fault = fields[i];
            return err_set(err, EINVAL, "column \"%.40s\" is unknown or twice there", fields[i]);
        }
        r->order[c] = i;
    }
    for (int c = ARRIVAL; c <= DURATION; c++) {
        if (r->order[c] < 0) {
            return err_set(err, EINVAL, "there is no column %s", column_names[c]);
        }
    }
    r->trace.has_movable = r->order[MOVABLE] >= 0;
    r->fields = n;
    return 0;
}

/* What is read now is at fault should it be wrong. */
static const char *field(struct reader *r, char *fields[COLUMN_COUNT], int n, enum column c)
{
    bool is_there = r->order[c] >= 0 && r->order[c] < n;

    r->fault = is_there ? fields[r->order[c]] : NULL;
    return is_there ? fields[r->order[c]] : "";
}

static int read_optional(struct reader *r, char *fields[COLUMN_COUNT], int n,
                         struct replay_job *job, struct error *err)
{
    const char *tenant = field(r, fields, n, TENANT), *priority, *movable;
    int64_t value = 0;
    int id = *tenant ? intern(&r->tenants, tenant) : -1;

    if (*tenant && id < 0) {
        return err_set(err, E2BIG, "more than %d tenants", NAMES_MAX);
    }
    job->tenant = (uint32_t)(id + 1);
    priority = field(r, fields, n, PRIORITY);
    if (*priority) {
        int rc = text_parse_int(priority, "priority", -1000000, 1000000, &value, err);
        if (rc < 0) {
            return rc;
        }
        job->priority = (int32_t)value;
    }
    movable = field(r, fields, n, MOVABLE);
    job->is_movable = strcmp(movable, "1") == 0 || strcmp(movable, "true") == 0;
    if (*movable && !job->is_movable && strcmp(movable, "0") != 0 &&
        strcmp(movable, "false") != 0) {
        return err_set(err, EINVAL, "movable: \"%.20s\" is not 0, 1, false or true", movable);
    }
    r->trace.has_movable = r->trace.has_movable || *movable;
    return 0;
}

/* Names are looked at when they are first seen, so that the line is known. */
static int read_profile(struct reader *r, const char *name, struct replay_job *job,
                        struct error *err)
{
    uint32_t known = r->profiles.count;
    int profile = intern(&r->profiles, name);
    struct mig_want want;

    if (profile < 0 || r->trace.count == JOBS_MAX) {
        return err_set(err, E2BIG, "more than %d profiles or %d jobs", NAMES_MAX, JOBS_MAX);
    }
    job->profile = (uint32_t)profile;
    return job->profile < known ? 0 : mig_want_parse(name, &want, err);
}

static int read_job(struct reader *r, char *fields[COLUMN_COUNT], int n, struct error *err)
{
    struct replay_job job = {0};
    int rc;

    if (n < DURATION + 1 || n > COLUMN_COUNT) {
        return err_set(err, EINVAL,
                       "%d fields; write arrival_ms,profile,duration_ms[,tenant,"
                       "priority,movable]",
                       n);
    }
    rc = text_parse_int(field(r, fields, n, ARRIVAL), "arrival_ms", 0, 1ll << 52, &job.arrival_ms,
                        err);
    if (rc == 0) {
        rc = text_parse_int(field(r, fields, n, DURATION), "duration_ms", 0, 1ll << 52,
                            &job.duration_ms, err);
    }
    if (rc == 0) {
        rc = read_optional(r, fields, n, &job, err);
    }
    if (rc == 0) {
        rc = read_profile(r, field(r, fields, n, PROFILE), &job, err);
    }
    if (rc < 0) {
        return rc;
    }
    if (r->trace.count == r->size) {
        r->size = r->size ? 2 * r->size : 1024;
        r->trace.jobs = xreallocarray(r->trace.jobs, r->size, sizeof(job));
    }
    r->trace.jobs[r->trace.count++] = job;
    return 0;
}

static int read_line(struct reader *r, char *line, bool is_first, struct error *err)
{
    char *fields[COLUMN_COUNT];
    int n;

    trim(line);
    if (!*line || *line == '#') {
        return 0;
    }
    n = split(line, fields);
    if (n == 0) {
        return err_set(err, EINVAL, "a quote is not closed");
    }
    for (int i = 0; i < n && i < COLUMN_COUNT; i++) {
        trim(fields[i]);
    }
    if (is_first && n <= COLUMN_COUNT && !isdigit((unsigned char)fields[0][0])) {
        return read_header(r, fields, n, err);
    }
    return read_job(r, fields, n, err);
}

/* Stable, as qsort() is not: the place in the file breaks ties. */
struct keyed {
    struct replay_job job;
    size_t at;
};

static int compare_arrivals(const void *va, const void *vb)
{
    const struct keyed *a = va, *b = vb;

    if (a->job.arrival_ms != b->job.arrival_ms) {
        return a->job.arrival_ms < b->job.arrival_ms ? -1 : 1;
    }
    return a->at < b->at ? -1 : a->at > b->at;
}

static void sort_jobs(struct replay_trace *t)
{
    CLEANUP(freep) struct keyed *k = xcalloc(t->count + 1, sizeof(*k));

    for (size_t i = 0; i < t->count; i++) {
        k[i] = (struct keyed){t->jobs[i], i};
    }
    qsort(k, t->count, sizeof(*k), compare_arrivals);
    for (size_t i = 0; i < t->count; i++) {
        t->jobs[i] = k[i].job;
    }
}

void replay_trace_done(struct replay_trace *t)
{
    for (uint32_t i = 0; i < t->profile_count; i++) {
        free(t->profiles[i]);
    }
    free(t->profiles);
    free(t->jobs);
    *t = (struct replay_trace){0};
}

static int read_lines(struct reader *r, FILE *f, const char *path, struct error *err)
{
    CLEANUP(freep) char *line = NULL;
    size_t size = 0, number = 0;
    bool is_first = true;
    ssize_t length;

    while ((length = getline(&line, &size, f)) >= 0) {
        char *start = line;
        if (++number == 1 && strncmp(line, BYTE_ORDER_MARK, strlen(BYTE_ORDER_MARK)) == 0) {
            start += strlen(BYTE_ORDER_MARK);
        }
        bool is_text = *start != '#' && *start != '\n' && *start != '\r';
        r->fault = NULL;
        if (strlen(line) != (size_t)length) {
            return err_set(err, EINVAL, "%s:%zu:%zu: a NUL byte", path, number, strlen(line) + 1);
        }
        if (read_line(r, start, is_first, err) < 0) {
            size_t column = r->fault ? (size_t)(r->fault - line) + 1 : 1;
            err_wrap(err, "%s:%zu:%zu", path, number, column);
            return -EINVAL;
        }
        is_first = is_first && !is_text;
    }
    return ferror(f) ? err_set(err, EIO, "cannot read %s", path) : 0;
}

int replay_trace_read(const char *path, struct replay_trace *ret, struct error *err)
{
    CLEANUP(freep) struct reader *r = xcalloc(1, sizeof(*r));
    FILE *f = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    int rc;

    if (!f) {
        return err_set(err, errno, "cannot open %s: %s", path, strerror(errno));
    }
    for (int c = 0; c < COLUMN_COUNT; c++) {
        r->order[c] = c;
    }
    rc = read_lines(r, f, path, err);
    if (f != stdin) {
        fclose(f);
    }
    for (uint32_t i = 0; i < r->tenants.count; i++) {
        free(r->tenants.list[i]);
    }
    r->trace.profile_count = r->profiles.count;
    r->trace.profiles = xcalloc(r->profiles.count + 1, sizeof(char *));
    memcpy(r->trace.profiles, r->profiles.list, r->profiles.count * sizeof(char *));
    if (rc < 0) {
        replay_trace_done(&r->trace);
        return rc;
    }
    sort_jobs(&r->trace);
    *ret = r->trace;
    return 0;
}
