/* The picture of a GPU.
 *
 *   GPU 0  NVIDIA H100 80GB HBM3                             2 of 7 compute free
 *        ┌───────────────────────────────────┬────────┬─────────────────┬────────┐
 *   comp │████████ ████████ ████████ ████████│████████│░░░░░░░░ ░░░░░░░░│        │
 *   mem  │▓▓▓▓▓▓▓▓ ▓▓▓▓▓▓▓▓ ▓▓▓▓▓▓▓▓ ▓▓▓▓▓▓▓▓│▓▓▓▓▓▓▓▓│░░░░░░░░ ░░░░░░░░│░░░░░░░░│
 *        │ 4g.40gb                           │ 1g.10gb│ free                     │
 *        │ vision  l-3                       │ bob    │                          │
 *        └───────────────────────────────────┴────────┴──────────────────────────┘
 *
 * Memory slots are the columns: every cell of them has the same width.  A compute slot stands over
 * as many memory slots as fall to it (8 slots carry 7 compute slots, one each, and the last has
 * none; 12 carry 4, three each).  What a slice does not use of the compute above its memory stays
 * blank: nobody can have it while the slice is there.
 *
 * Where compute instances inside a slice are leased one by one, the compute cells that nobody has
 * yet are drawn as idle.
 *
 * A row is the same without the bars, for machines with many GPUs: what a box says is written into
 * its cells, and the rest of them shows the state.
 *
 *     0 │4g.40gb vision l-3 ████████████│1g bob█│free ░░░░░░░░░░░░░░│free ░░│ 3/7
 *
 * Everything that comes from the daemon is bounded here: a slice that is out of range or overlaps
 * another is not drawn but listed below. */
#include "cli/picture.h"
#include "base/text.h"
#include "cli/cli.h"
#include <stdio.h>
#include <string.h>

#define MAX_SLOTS 64
#define LABEL 5 /* "comp " */
#define MAX_LINES 3
#define ROW_LEFT 4 /* " 12 " */
#define ROW_RIGHT 10

struct span {
    unsigned start, size;
    const json_t *slice; /* NULL: free */
};

struct picture {
    const struct out *out;
    const json_t *gpu, *leases;
    struct buf *b;
    unsigned slots, compute, per_compute; /* memory slots per compute slot */
    int cell;                             /* columns of one memory slot */
    struct span spans[MAX_SLOTS];
    unsigned span_count;
    const json_t *odd[MAX_SLOTS]; /* slices that cannot be drawn */
    unsigned odd_count;
    bool is_whole; /* not cut: one box */
};

/* --- marks --- */

struct marks {
    const char *compute, *memory, *ascii;
};

static struct marks marks_of(const char *state)
{
    static const struct {
        const char *state;
        struct marks marks;
    } table[] = {{"leased", {"█", "▓", "#"}},     {"idle", {"▒", "▒", "-"}},
                 {"foreign", {"╱", "╱", "/"}},    {"creating", {"≈", "≈", "~"}},
                 {"destroying", {"≈", "≈", "~"}}, {"quarantined", {"╳", "╳", "x"}}};

    for (size_t i = 0; state && i < ARRAY_SIZE(table); i++) {
        if (!strcmp(table[i].state, state)) {
            return table[i].marks;
        }
    }
    return state ? (struct marks){"?", "?", "?"} : (struct marks){"░", "░", "."};
}

static const char *state_word(const char *state)
{
    if (!strcmp(state, "creating")) {
        return "cutting";
    }
    return !strcmp(state, "destroying") ? "leaving" : state;
}

/* Each tenant has a colour of its own, the same every time. */
static enum out_color tenant_color(const char *tenant)
{
    static const enum out_color colors[] = {COLOR_GREEN, COLOR_CYAN, COLOR_BLUE, COLOR_MAGENTA};
    unsigned hash = 5381;

    for (const char *p = tenant; *p; p++) {
        hash = hash * 33 + (unsigned char)*p;
    }
    return colors[hash / 7 % ARRAY_SIZE(colors)];
}

static const char *find_tenant(const struct picture *p, const char *id)
{
    size_t i = 0;
    json_t *lease = NULL;

    json_array_foreach(p->leases, i, lease)
    {
        if (id && !strcmp(js_text(lease, "id", ""), id)) {
            return js_str(lease, "tenant");
        }
    }
    return NULL;
}

/* The first lease of a slice, its own or one of its compute instances'. */
static const char *slice_lease(const json_t *slice)
{
    const json_t *ci = NULL;
    size_t i = 0;

    if (js_str(slice, "lease")) {
        return js_str(slice, "lease");
    }
    json_array_foreach(js_array(slice, "compute_instances"), i, ci)
    {
        if (js_str(ci, "lease")) {
            return js_str(ci, "lease");
        }
    }
    return NULL;
}

static const char *slice_tenant(const struct picture *p, const json_t *slice)
{
    const char *tenant = js_str(slice, "tenant");

    return tenant ? tenant : find_tenant(p, slice_lease(slice));
}

static bool span_is_whole_lease(const struct picture *p, const struct span *s)
{
    return p->is_whole && !s->slice && js_str(p->gpu, "lease");
}

static enum out_color span_color(const struct picture *p, const struct span *s)
{
    const char *state = s->slice ? js_text(s->slice, "state", "") : NULL;

    if (span_is_whole_lease(p, s)) {
        const char *tenant = find_tenant(p, js_str(p->gpu, "lease"));
        return tenant_color(tenant ? tenant : "");
    }
    if (!state) {
        return COLOR_DIM;
    }
    if (!strcmp(state, "leased")) {
        const char *tenant = slice_tenant(p, s->slice);
        return tenant_color(tenant ? tenant : "");
    }
    if (!strcmp(state, "idle")) {
        return COLOR_DIM;
    }
    return !strcmp(state, "quarantined") ? COLOR_RED : COLOR_YELLOW;
}

/* --- lines --- */

static int span_width(const struct picture *p, const struct span *s)
{
    return (int)s->size * (p->cell + 1) - 1;
}

/* Text keeps one column from the wall where there is room for that. */
static int has_pad(const struct picture *p, const struct span *s)
{
    return span_width(p, s) > 4;
}

static void add_repeated(struct buf *b, const char *mark, int count)
{
    for (int i = 0; i < count; i++) {
        buf_adds(b, mark);
    }
}

static void add_border(const struct picture *p, bool is_top)
{
    const char *dash = p->out->is_utf8 ? "─" : "-";
    const char *joint = !p->out->is_utf8 ? "+" : is_top ? "┬" : "┴";

    buf_addf(p->b, "%*s", LABEL, "");
    buf_adds(p->b, !p->out->is_utf8 ? "+" : is_top ? "┌" : "└");
    for (unsigned i = 0; i < p->span_count; i++) {
        buf_adds(p->b, i ? joint : "");
        add_repeated(p->b, dash, span_width(p, &p->spans[i]));
    }
    buf_adds(p->b, !p->out->is_utf8 ? "+\n" : is_top ? "┐\n" : "┘\n");
}

/* The mark for column x of a span in a bar, NULL for blank: gaps are between cells. */
static const char *bar_mark(const struct picture *p, const struct span *s, int x, bool is_compute,
                            const char *mark)
{
    unsigned first = s->start / p->per_compute, used = p->compute;
    unsigned pitch = (unsigned)p->cell + 1;
    unsigned slot = s->start + (unsigned)x / pitch;

    if (!is_compute) {
        return (unsigned)x % pitch == pitch - 1 ? NULL : mark;
    }
    unsigned cell = slot / p->per_compute;
    bool is_last_slot = slot % p->per_compute == p->per_compute - 1;
    if (s->slice) {
        used = first + (unsigned)js_int(s->slice, "compute_slots", 0);
    }
    if (cell >= p->compute || cell >= used) {
        return NULL;
    }
    return is_last_slot && (unsigned)x % pitch == pitch - 1 ? NULL : mark;
}

/* How many compute slots of the slice a compute instance has: the "1c." of "1c.3g.40gb". */
static unsigned ci_compute(const json_t *slice, const json_t *ci)
{
    const char *profile = js_text(ci, "profile", "");
    size_t digits = strspn(profile, "0123456789");
    int64_t n = 0;
    char text[8];

    snprintf(text, sizeof(text), "%.*s", (int)digits, profile);
    if (profile[digits] == 'c' && text_parse_int(text, "", 1, MAX_SLOTS, &n, NULL) == 0) {
        return (unsigned)n;
    }
    return (unsigned)js_int(slice, "compute_slots", 0);
}

/* Compute slots of a leased slice that somebody has; the others wait for their taker. */
static unsigned leased_compute(const json_t *slice)
{
    const json_t *ci = NULL;
    unsigned sum = 0;
    size_t i = 0;

    json_array_foreach(js_array(slice, "compute_instances"), i, ci)
    {
        sum += js_str(ci, "lease") ? ci_compute(slice, ci) : 0;
    }
    return sum && !strcmp(js_text(slice, "state", ""), "leased") ? sum : MAX_SLOTS;
}

/* The column x of a bar lies over compute that nobody has yet, inside a leased slice. */
static bool is_untaken(const struct picture *p, const struct span *s, int x)
{
    unsigned slot = s->start + (unsigned)x / ((unsigned)p->cell + 1);

    return s->slice &&
           slot / p->per_compute - s->start / p->per_compute >= leased_compute(s->slice);
}

static void add_bar(const struct picture *p, bool is_compute)
{
    const char *wall = p->out->is_utf8 ? "│" : "|";

    buf_addf(p->b, "%-*s%s", LABEL, is_compute ? "comp" : "mem", wall);
    for (unsigned i = 0; i < p->span_count; i++) {
        const struct span *s = &p->spans[i];
        const char *state = span_is_whole_lease(p, s) ? "leased" : NULL;
        struct marks m = marks_of(s->slice ? js_text(s->slice, "state", "?") : state);
        const char *mark = !p->out->is_utf8 ? m.ascii : is_compute ? m.compute : m.memory;
        buf_adds(p->b, out_color(p->out, span_color(p, s)));
        for (int x = 0; x < span_width(p, s); x++) {
            const char *at = bar_mark(p, s, x, is_compute, mark);
            if (at && is_compute && is_untaken(p, s, x)) {
                at = p->out->is_utf8 ? marks_of("idle").compute : marks_of("idle").ascii;
            }
            buf_adds(p->b, at ? at : " ");
        }
        buf_addf(p->b, "%s%s", out_color(p->out, COLOR_NONE), wall);
    }
    buf_adds(p->b, "\n");
}

/* "1g.10gb+me" without its memory, "1g+me", when only that fits. */
static void add_profile(const struct picture *p, const json_t *slice, int width, struct buf *b)
{
    const char *name = js_text(slice, "profile", "?"), *dot = strchr(name, '.');
    const char *suffix = dot ? strpbrk(dot, "+-") : NULL;

    if (out_width(p->out, name) > width && dot && suffix) {
        buf_addf(b, "%.*s%s", (int)(dot - name), name, suffix);
    } else {
        buf_adds(b, name);
    }
}

/* Puts one more word into the lines of a box, on the last line when it fits there. */
static void add_word(const struct picture *p, struct buf lines[MAX_LINES], int *at, int width,
                     const char *word)
{
    struct buf *line = &lines[*at];
    int used = line->len ? out_width(p->out, line->data) : 0;

    if (line->len && used + 2 + out_width(p->out, word) <= width) {
        buf_addf(line, "  %s", word);
    } else if (!line->len) {
        buf_adds(line, word);
    } else if (*at + 1 < MAX_LINES) {
        (*at)++;
        buf_adds(&lines[*at], word);
    }
}

/* Its leases; where a lease has a part of the slice, how much of the compute ("1c l-7"). */
static void add_lease_words(const struct picture *p, const json_t *slice, struct buf lines[],
                            int *at, int width)
{
    unsigned compute = (unsigned)js_int(slice, "compute_slots", 0);
    const json_t *ci = NULL;
    size_t i = 0, count = 0;

    json_array_foreach(js_array(slice, "compute_instances"), i, ci)
    {
        if (js_str(ci, "lease")) {
            CLEANUP(buf_done) struct buf word = BUF_INIT(256);
            if (ci_compute(slice, ci) < compute) {
                buf_addf(&word, "%uc ", ci_compute(slice, ci));
            }
            buf_adds(&word, js_str(ci, "lease"));
            add_word(p, lines, at, width, word.data);
            count++;
        }
    }
    if (!count && js_str(slice, "lease")) {
        add_word(p, lines, at, width, js_str(slice, "lease"));
    }
}

static void add_slice_words(const struct picture *p, const json_t *slice, struct buf lines[],
                            int width)
{
    const char *state = js_text(slice, "state", "?"), *tenant = slice_tenant(p, slice);
    int at = 1;
    char count[32];

    add_profile(p, slice, width, &lines[0]);
    if (strcmp(state, "leased") != 0) {
        add_word(p, lines, &at, width, state_word(state));
    }
    if (tenant) {
        add_word(p, lines, &at, width, tenant);
    }
    add_lease_words(p, slice, lines, &at, width);
    if (js_int(slice, "processes", 0) > 0) {
        snprintf(count, sizeof(count), "%lld proc%s", (long long)js_int(slice, "processes", 0),
                 js_int(slice, "processes", 0) > 1 ? "s" : "");
        add_word(p, lines, &at, width, count);
    }
}

/* What stands in a box that is no slice: free, or a GPU that is not cut. */
static void add_free_words(const struct picture *p, const struct span *s, struct buf lines[],
                           int width)
{
    const char *lease = js_str(p->gpu, "lease"), *tenant = find_tenant(p, lease);
    const json_t *mig = json_object_get(p->gpu, "mig");
    int at = 1;

    if (!p->is_whole) {
        /* Memory without compute above it serves only a slice that brings its own. */
        buf_adds(&lines[0], s->start / p->per_compute < p->compute ? "free" : "(spare)");
        return;
    }
    if (lease) {
        buf_adds(&lines[0], "the whole GPU");
        if (tenant) {
            add_word(p, lines, &at, width, tenant);
        }
        add_word(p, lines, &at, width, lease);
        return;
    }
    if (js_int(p->gpu, "processes", 0) > 0) {
        buf_addf(&lines[0], "in use by %lld process(es) of others",
                 (long long)js_int(p->gpu, "processes", 0));
    } else {
        buf_adds(&lines[0], "not cut");
    }
    if (!js_true(mig, "capable")) {
        add_word(p, lines, &at, width, "this model cannot be cut: only as a whole");
    } else if (!strcmp(js_text(mig, "pending", ""), "enabled")) {
        add_word(p, lines, &at, width, "MIG mode comes on with the next reset or reboot");
    } else if (!strcmp(js_text(mig, "policy", ""), "on-demand")) {
        add_word(p, lines, &at, width,
                 js_true(mig, "resetless") ? "MIG mode is off; switched on when a slice is wanted"
                                           : "MIG mode is off; the administrator switches it on");
    } else {
        add_word(p, lines, &at, width, "MIG mode is off and stays so (policy keep)");
    }
}

/* The text of one box; the caller ends the buffers. */
static void write_box(const struct picture *p, const struct span *s, struct buf lines[MAX_LINES])
{
    int width = span_width(p, s) - has_pad(p, s);

    for (int k = 0; k < MAX_LINES; k++) {
        lines[k] = BUF_INIT(4096);
    }
    if (s->slice) {
        add_slice_words(p, s->slice, lines, width);
    } else {
        add_free_words(p, s, lines, width);
    }
}

/* Line k of all boxes. */
static void add_text_line(const struct picture *p, struct buf boxes[][MAX_LINES], int k)
{
    const char *wall = p->out->is_utf8 ? "│" : "|";

    buf_addf(p->b, "%*s%s", LABEL, "", wall);
    for (unsigned i = 0; i < p->span_count; i++) {
        const struct span *s = &p->spans[i];
        const struct buf *text = &boxes[i][k];
        enum out_color color = k && text->len ? span_color(p, s) : COLOR_NONE;
        buf_addf(p->b, "%s%s", has_pad(p, s) ? " " : "",
                 color ? out_color(p->out, color) : "");
        out_add_fitted(p->out, p->b, text->len ? text->data : "",
                       span_width(p, s) - has_pad(p, s));
        buf_addf(p->b, "%s%s", color ? out_color(p->out, COLOR_NONE) : "", wall);
    }
    buf_adds(p->b, "\n");
}

static void add_text_lines(const struct picture *p)
{
    struct buf boxes[MAX_SLOTS][MAX_LINES];
    int deepest = 0;

    for (unsigned i = 0; i < p->span_count; i++) {
        write_box(p, &p->spans[i], boxes[i]);
        for (int k = 0; k < MAX_LINES; k++) {
            deepest = boxes[i][k].len && k > deepest ? k : deepest;
        }
    }
    for (int k = 0; k <= deepest; k++) {
        add_text_line(p, boxes, k);
    }
    for (unsigned i = 0; i < p->span_count; i++) {
        for (int k = 0; k < MAX_LINES; k++) {
            buf_done(&boxes[i][k]);
        }
    }
}

/* --- title and notes --- */

/* Compute slots over free memory: what could be cut without anybody going. */
static unsigned count_free_compute(const struct picture *p)
{
    unsigned count = 0;

    for (unsigned i = 0; i < p->span_count; i++) {
        const struct span *s = &p->spans[i];
        for (unsigned c = 0; !s->slice && c < p->compute; c++) {
            count += c * p->per_compute >= s->start &&
                     (c + 1) * p->per_compute <= s->start + s->size;
        }
    }
    return count;
}

static void add_title(const struct picture *p)
{
    CLEANUP(buf_done) struct buf left = BUF_INIT(4096), right = BUF_INIT(1024);
    const char *health = js_text(p->gpu, "health", "ok");
    bool is_ok = !strcmp(health, "ok");
    int total = LABEL + 1 + (int)p->slots * (p->cell + 1);

    buf_addf(&left, "GPU %lld  %s", (long long)js_int(p->gpu, "index", -1),
             js_text(p->gpu, "name", "?"));
    if (!is_ok) {
        buf_addf(&right, "%s  ", health);
    }
    if (!js_true(p->gpu, "managed")) {
        buf_adds(&right, "not managed  ");
    }
    if (!p->is_whole) {
        buf_addf(&right, "%u of %u compute free", count_free_compute(p), p->compute);
    } else {
        buf_adds(&right, js_str(p->gpu, "lease") ? "leased whole" : "not cut");
    }
    int width = out_width(p->out, right.data);
    buf_adds(p->b, out_color(p->out, COLOR_BOLD));
    out_add_fitted(p->out, p->b, left.data, total - width - 1);
    buf_addf(p->b, "%s %s", out_color(p->out, COLOR_NONE),
             is_ok ? "" : out_color(p->out, COLOR_RED));
    out_add_fitted(p->out, p->b, right.data, width);
    buf_addf(p->b, "%s\n", out_color(p->out, COLOR_NONE));
}

static void add_note(const struct picture *p, enum out_color color, const char *what,
                     const char *text)
{
    CLEANUP(buf_done) struct buf line = BUF_INIT(65536);

    buf_addf(&line, "%s%s", what, text);
    buf_addf(p->b, "%*s%s", LABEL + 1, "", out_color(p->out, color));
    out_add_folded(p->out, p->b, line.data, LABEL + 1, LABEL + 3);
    buf_adds(p->b, out_color(p->out, COLOR_NONE));
}

static void add_notes(const struct picture *p)
{
    const json_t *mig = json_object_get(p->gpu, "mig");
    const char *mode = js_text(mig, "mode", ""), *pending = js_text(mig, "pending", mode);

    if (js_str(p->gpu, "health_reason")) {
        add_note(p, COLOR_RED, "! ", js_str(p->gpu, "health_reason"));
    }
    if (js_str(p->gpu, "note")) {
        add_note(p, COLOR_YELLOW, "! ", js_str(p->gpu, "note"));
    } else if (strcmp(mode, pending) != 0) {
        add_note(p, COLOR_YELLOW, "! MIG mode changes at the next GPU reset: ", pending);
    }
    for (unsigned i = 0; i < p->span_count; i++) {
        const json_t *slice = p->spans[i].slice;
        if (js_str(slice, "reason")) {
            CLEANUP(buf_done) struct buf text = BUF_INIT(4096);
            buf_addf(&text, "%s at ", js_text(slice, "profile", "?"));
            out_add_placement(json_object_get(slice, "placement"), &text);
            buf_addf(&text, ": %s", js_str(slice, "reason"));
            add_note(p, COLOR_YELLOW, "! ", text.data);
        }
    }
    for (unsigned i = 0; i < p->odd_count; i++) {
        CLEANUP(buf_done) struct buf text = BUF_INIT(4096);
        buf_addf(&text, "%s at ", js_text(p->odd[i], "profile", "?"));
        out_add_placement(json_object_get(p->odd[i], "placement"), &text);
        buf_addf(&text, " (%s)", state_word(js_text(p->odd[i], "state", "?")));
        add_note(p, COLOR_YELLOW, "also: ", text.data);
    }
}

/* --- layout --- */

/* Slices into slots; what does not fit there is odd. */
static void place_slices(struct picture *p, const json_t *owner[MAX_SLOTS])
{
    const json_t *slice = NULL;
    size_t i = 0;

    json_array_foreach(js_array(p->gpu, "slices"), i, slice)
    {
        const json_t *place = json_object_get(slice, "placement");
        int64_t start = js_int(place, "start", -1), size = js_int(place, "size", 0);
        bool is_good = start >= 0 && size > 0 && size <= p->slots && start <= p->slots - size;
        for (int64_t k = start; is_good && k < start + size; k++) {
            is_good = !owner[k];
        }
        if (!is_good) {
            if (p->odd_count < MAX_SLOTS) {
                p->odd[p->odd_count++] = slice;
            }
            continue;
        }
        for (int64_t k = start; k < start + size; k++) {
            owner[k] = slice;
        }
    }
}

static void make_spans(struct picture *p)
{
    const json_t *owner[MAX_SLOTS] = {NULL};

    place_slices(p, owner);
    for (unsigned k = 0; k < p->slots; k++) {
        struct span *last = p->span_count ? &p->spans[p->span_count - 1] : NULL;
        if (last && last->slice == owner[k]) {
            last->size++;
        } else {
            p->spans[p->span_count++] = (struct span){.start = k, .size = 1, .slice = owner[k]};
        }
    }
}

static unsigned bounded(int64_t n, unsigned otherwise)
{
    return n >= 1 && n <= MAX_SLOTS ? (unsigned)n : otherwise;
}

/* `besides`: columns of a line that are not cells. */
static void lay_out(struct picture *p, int besides)
{
    const json_t *mig = json_object_get(p->gpu, "mig");
    int room = p->out->width < 40 ? 40 : p->out->width > 118 ? 118 : p->out->width;

    p->slots = bounded(js_int(p->gpu, "memory_slots", 0), 1);
    p->compute = bounded(js_int(p->gpu, "compute_slots", 0), 1);
    p->per_compute = p->slots > p->compute ? p->slots / p->compute : 1;
    p->is_whole =
        !json_array_size(js_array(p->gpu, "slices")) &&
        (js_str(p->gpu, "lease") || strcmp(js_text(mig, "mode", "disabled"), "enabled") != 0);
    p->cell = (room - besides) / (int)p->slots - 1;
    p->cell = p->cell < 1 ? 1 : p->cell;
    make_spans(p);
}

void picture_add_gpu(const struct out *out, const json_t *gpu, const json_t *leases, struct buf *b)
{
    struct picture p = {.out = out, .gpu = gpu, .leases = leases, .b = b};

    lay_out(&p, LABEL + 2);
    add_title(&p);
    add_border(&p, true);
    add_bar(&p, true);
    add_bar(&p, false);
    add_text_lines(&p);
    add_border(&p, false);
    add_notes(&p);
}

/* Puts the words of a line, which are two spaces apart, behind what stands already, as far as they
 * fit. */
static void add_row_line(const struct picture *p, const char *words, int width, struct buf *line)
{
    while (*words) {
        const char *end = strstr(words, "  ");
        size_t n = end ? (size_t)(end - words) : strlen(words);
        CLEANUP(freep) char *word = xasprintf("%.*s", (int)n, words);
        int room = line->len ? width - 1 - out_width(p->out, line->data) : width;
        if (out_width(p->out, word) <= room || !line->len) {
            buf_addf(line, "%s%s", line->len ? " " : "", word);
        } else if (room >= 6) {
            buf_adds(line, " ");
            out_add_fitted(p->out, line, word, room);
        }
        words += n + (end ? 2 : 0);
    }
}

/* The words of one box on one line: "1g nlp l-4". */
static void add_row_words(const struct picture *p, const struct span *s, struct buf *line)
{
    struct buf lines[MAX_LINES];
    int width = span_width(p, s);

    write_box(p, s, lines);
    if (s->slice && width < 14) { /* room for the memory, or for whose it is */
        const char *name = lines[0].data, *dot = strchr(name, '.');
        const char *suffix = dot ? strpbrk(dot, "+-") : NULL;
        buf_addf(line, "%.*s%s", (int)strcspn(name, "."), name, suffix ? suffix : "");
    } else {
        buf_adds(line, lines[0].len ? lines[0].data : "");
    }
    for (int k = 1; k < MAX_LINES; k++) {
        add_row_line(p, lines[k].len ? lines[k].data : "", width, line);
    }
    for (int k = 0; k < MAX_LINES; k++) {
        buf_done(&lines[k]);
    }
}

static void add_row_box(const struct picture *p, const struct span *s)
{
    CLEANUP(buf_done) struct buf line = BUF_INIT(4096);
    const char *state = span_is_whole_lease(p, s) ? "leased" : NULL;
    struct marks m = marks_of(s->slice ? js_text(s->slice, "state", "?") : state);
    int width = span_width(p, s), used = 0;

    add_row_words(p, s, &line);
    used = out_width(p->out, line.data);
    buf_adds(p->b, out_color(p->out, span_color(p, s)));
    out_add_fitted(p->out, p->b, line.data, used < width ? used : width);
    for (int x = used; x < width; x++) {
        buf_adds(p->b, x == used ? " " : p->out->is_utf8 ? m.compute : m.ascii);
    }
    buf_adds(p->b, out_color(p->out, COLOR_NONE));
}

static void add_row_end(const struct picture *p)
{
    CLEANUP(buf_done) struct buf text = BUF_INIT(256);
    bool is_ok = !strcmp(js_text(p->gpu, "health", "ok"), "ok");

    if (!is_ok) {
        buf_adds(&text, "sick");
    } else if (!p->is_whole) {
        buf_addf(&text, "%u/%u", count_free_compute(p), p->compute);
    } else {
        bool is_used = js_int(p->gpu, "processes", 0) > 0;
        buf_adds(&text, js_str(p->gpu, "lease") ? "leased" : is_used ? "in use" : "free");
    }
    if (!js_true(p->gpu, "managed")) {
        buf_clear(&text);
        buf_adds(&text, "unmanaged");
    }
    buf_addf(p->b, " %s", is_ok ? "" : out_color(p->out, COLOR_RED));
    buf_addf(p->b, "%s%s\n", text.data, is_ok ? "" : out_color(p->out, COLOR_NONE));
}

void picture_add_row(const struct out *out, const json_t *gpu, const json_t *leases, struct buf *b)
{
    struct picture p = {.out = out, .gpu = gpu, .leases = leases, .b = b};
    const char *wall = out->is_utf8 ? "│" : "|";

    lay_out(&p, ROW_LEFT + 1 + ROW_RIGHT);
    buf_addf(b, "%3lld %s", (long long)js_int(gpu, "index", -1), wall);
    for (unsigned i = 0; i < p.span_count; i++) {
        add_row_box(&p, &p.spans[i]);
        buf_adds(b, wall);
    }
    add_row_end(&p);
    add_notes(&p);
}

void picture_add_legend(const struct out *out, struct buf *b)
{
    static const char *const states[] = {"leased", "idle", "foreign", "creating", "quarantined"};

    int used = LABEL + 1;

    buf_addf(b, "%*s", used, "");
    for (size_t i = 0; i <= ARRAY_SIZE(states); i++) {
        struct marks m = marks_of(i < ARRAY_SIZE(states) ? states[i] : NULL);
        const char *word = i == 3 ? "being cut" : i < ARRAY_SIZE(states) ? states[i] : "free";
        if (used + 2 + (int)strlen(word) > out->width) {
            buf_addf(b, "\n%*s", LABEL + 1, "");
            used = LABEL + 1;
        }
        buf_addf(b, "%s %s%s", out->is_utf8 ? m.compute : m.ascii, word,
                 i < ARRAY_SIZE(states) ? "   " : "\n");
        used += 5 + (int)strlen(word);
    }
}
