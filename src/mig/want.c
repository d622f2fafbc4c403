/* What people write for a slice, and which profile answers it. */
#include "base/buf.h"
#include "base/text.h"
#include "mig/mig.h"
#include <ctype.h>
#include <stdio.h>
#include <string.h>

static int refuse(const char *text, struct error *err)
{
    return err_set(err, EINVAL,
                   "\"%.60s\" is not a profile; write 2g.20gb, 1g.10gb+me, 2g, 1c.3g.40gb, "
                   "memory=12GiB, memory=12GiB,compute=2 or gpu",
                   text);
}

/* Reads "<digits><letter>"; 0 when it does not stand there. */
static int read_count(const char **s, char letter)
{
    const char *p = *s;
    int n = 0;

    while (isdigit((unsigned char)*p) && n < 100) {
        n = n * 10 + (*p++ - '0');
    }
    if (p == *s || *p != letter || n >= 100) {
        return 0;
    }
    *s = p + 1;
    return n;
}

static bool is_suffix(const char *s)
{
    if ((*s != '+' && *s != '-') || !s[1]) {
        return false;
    }
    for (s++; *s; s++) {
        if (!islower((unsigned char)*s) && !isdigit((unsigned char)*s) && *s != '.') {
            return false;
        }
    }
    return true;
}

static int parse_profile(const char *text, struct mig_want *w)
{
    const char *s = text, *name;

    if (strncmp(s, "MIG ", 4) == 0) { /* as nvidia-smi prints it */
        s += 4;
    }
    name = s;
    w->compute_instance_slices = (uint8_t)read_count(&s, 'c');
    if (w->compute_instance_slices) {
        if (*s++ != '.') {
            return -EINVAL;
        }
        name = s;
    }
    w->slices = (uint8_t)read_count(&s, 'g');
    if (!w->slices) {
        return -EINVAL;
    }
    if (*s == '\0' || is_suffix(s)) {
        w->kind = MIG_WANT_SLICES;
        text_copy(w->suffix, sizeof(w->suffix), s);
        return 0;
    }
    w->kind = MIG_WANT_PROFILE;
    if (*s++ != '.' || !isdigit((unsigned char)*s)) {
        return -EINVAL;
    }
    while (isdigit((unsigned char)*s)) {
        s++;
    }
    if (strncmp(s, "gb", 2) != 0 || (s[2] && !is_suffix(s + 2))) {
        return -EINVAL;
    }
    text_copy(w->name, sizeof(w->name), name);
    return 0;
}

static int parse_resource(const char *key, struct mig_want *w, struct error *err)
{
    int64_t n = 0;
    int r;

    if (strncmp(key, "memory=", 7) == 0 && !w->memory_bytes) {
        r = text_parse_size(key + 7, &w->memory_bytes, err);
        if (r == 0 && w->memory_bytes < 1 << 20) {
            r = err_set(err, EINVAL, "%.40s: less than a MiB is wanted; write a unit, as in "
                                     "memory=12GiB", key);
        }
        return r < 0 ? -EINVAL : 0;
    }
    if (strncmp(key, "compute=", 8) == 0 && !w->slices) {
        r = text_parse_int(key + 8, "compute", 1, MIG_SLOTS_MAX, &n, err);
        w->slices = (uint8_t)n;
        return r < 0 ? -EINVAL : 0;
    }
    return err_set(err, EINVAL,
                   "\"%.40s\" is not understood; write memory=SIZE, compute=SLICES or "
                   "both with a comma between",
                   key);
}

static int parse_resources(const char *text, struct mig_want *w, struct error *err)
{
    char copy[96];
    char *rest = copy, *key;
    int r = 0;

    w->kind = MIG_WANT_RESOURCES;
    text_copy(copy, sizeof(copy), text);
    while (r == 0 && (key = strsep(&rest, ","))) {
        r = parse_resource(key, w, err);
    }
    return r;
}

int mig_want_parse(const char *text, struct mig_want *ret, struct error *err)
{
    struct mig_want w = {0};
    int r;

    if (strcmp(text, "gpu") == 0) {
        w.kind = MIG_WANT_GPU;
    } else if (strlen(text) > 90) {
        return refuse(text, err);
    } else if (strchr(text, '=')) {
        r = parse_resources(text, &w, err);
        if (r < 0) {
            return r;
        }
    } else if (strlen(text) >= MIG_NAME_BYTES || parse_profile(text, &w) < 0) {
        return refuse(text, err);
    }
    *ret = w;
    return 0;
}

static const char *name_suffix(const char *name)
{
    const char *s = strpbrk(name, "+-");

    return s ? s : "";
}

static bool answers(const struct mig_want *w, const struct mig_profile *p)
{
    switch (w->kind) {
    case MIG_WANT_PROFILE:
        return strcmp(p->name, w->name) == 0;
    case MIG_WANT_SLICES:
        return p->slices == w->slices && strcmp(name_suffix(p->name), w->suffix) == 0;
    case MIG_WANT_RESOURCES:
        return p->slices >= w->slices && ((uint64_t)p->memory_mib << 20) >= w->memory_bytes &&
               p->start_count > 0;
    default:
        return false;
    }
}

/* Smaller in what others could use: slots, then compute, then memory; a plain profile before a
 * variant (+me, -me, +gfx), which keeps the rare engines for those who ask for them. */
static bool is_smaller(const struct mig_profile *a, const struct mig_profile *b)
{
    if (a->size != b->size) {
        return a->size < b->size;
    }
    if (a->slices != b->slices) {
        return a->slices < b->slices;
    }
    if (a->memory_mib != b->memory_mib) {
        return a->memory_mib < b->memory_mib;
    }
    return !*name_suffix(a->name) && *name_suffix(b->name);
}

static int resolve_compute(const struct mig_want *w, const struct mig_profile *p, int *ret,
                           struct error *err)
{
    int slices = w->compute_instance_slices ? w->compute_instance_slices : p->slices;
    int found = mig_compute_by_slices(p, slices);

    if (found == MIG_PROFILE_NONE && w->compute_instance_slices && slices != p->slices) {
        CLEANUP(buf_done) struct buf b = BUF_INIT(200);
        for (int i = 0; i < p->compute_count; i++) {
            buf_addf(&b, "%s%s", i ? ", " : "", p->compute[i].name);
        }
        return err_set(err, ENOENT, "%s has no compute instance of %d slices; it has %s", p->name,
                       slices, b.len ? b.data : "none listed");
    }
    *ret = found;
    return 0;
}

static int fail_not_found(const struct mig_want *w, const struct mig_geometry *g, struct error *err)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(240);
    char want[64];

    for (int i = 0; i < g->profile_count; i++) {
        buf_addf(&b, "%s%s", i ? ", " : "", g->profiles[i].name);
    }
    if (w->kind == MIG_WANT_PROFILE) {
        text_copy(want, sizeof(want), w->name);
    } else if (w->kind == MIG_WANT_SLICES) {
        snprintf(want, sizeof(want), "%dg%s", w->slices, w->suffix);
    } else {
        snprintf(want, sizeof(want), "with %llu MiB and %d compute slices",
                 (unsigned long long)(w->memory_bytes + (1 << 20) - 1) >> 20, w->slices);
    }
    return err_set(err, ENOENT, "no profile %s on this GPU; it has %s", want, b.data);
}

int mig_want_resolve(const struct mig_want *w, const struct mig_geometry *g, int *ret_profile,
                     int *ret_compute, struct error *err)
{
    int best = MIG_PROFILE_NONE, compute = MIG_PROFILE_NONE, r;

    if (w->kind == MIG_WANT_GPU) {
        return err_set(err, EINVAL, "the whole GPU is not a profile");
    }
    for (int i = 0; i < g->profile_count; i++) {
        if (answers(w, &g->profiles[i]) &&
            (best < 0 || is_smaller(&g->profiles[i], &g->profiles[best]))) {
            best = i;
        }
    }
    if (best < 0) {
        return fail_not_found(w, g, err);
    }
    r = resolve_compute(w, &g->profiles[best], &compute, err);
    if (r < 0) {
        return r;
    }
    *ret_profile = best;
    *ret_compute = compute;
    return 0;
}
