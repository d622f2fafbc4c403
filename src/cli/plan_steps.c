/* A plan as steps in the order in which they would be taken: what is destroyed, what is made, who
 * is asked.  Times are what the driver took for the like here; a step without one
 * was not measured. */
#include "cli/plan_steps.h"
#include "base/text.h"

#define UNKNOWN_MS (-1.0)
#define NO_MS (-2.0)

struct steps {
    unsigned number;
    double known_ms;
    bool has_driver;  /* there is something for the driver to do */
    bool has_unknown; /* some driver time is not known */
    bool has_holder;  /* somebody is asked, who may take long */
    uint64_t switched; /* GPUs whose MIG mode it was said is switched, by index */
};

static void add_place(struct buf *b, const json_t *on)
{
    const json_t *placement = json_object_get(on, "placement");

    buf_addf(b, "GPU %lld ", (long long)js_int(on, "gpu_index", -1));
    if (json_is_object(placement)) {
        out_add_placement(placement, b);
    } else {
        buf_adds(b, "(whole)");
    }
}

/* Prints one, escaped, with its time. */
static void say(struct steps *s, const struct buf *text, double ms)
{
    CLEANUP(buf_done) struct buf safe = BUF_INIT(65536);

    text_add_escaped(&safe, text->data ? text->data : "");
    printf("  %2u. %s", ++s->number, safe.data ? safe.data : "");
    if (ms == UNKNOWN_MS) {
        s->has_unknown = true;
        printf(" (how long is not known yet)");
    } else if (ms >= 0) {
        s->known_ms += ms;
        s->has_driver = true;
        printf(" (about %.0f ms)", ms);
    }
    printf("\n");
}

static double driver_ms(const json_t *step)
{
    const json_t *ms = json_object_get(step, "driver_ms");

    return json_is_number(ms) ? json_number_value(ms) : UNKNOWN_MS;
}

static void say_destroys(struct steps *s, const json_t *on, const json_t *list)
{
    const json_t *slice = NULL;
    size_t i = 0;

    json_array_foreach(list, i, slice)
    {
        CLEANUP(buf_done) struct buf b = BUF_INIT(65536);
        buf_addf(&b, "destroy the idle %s at GPU %lld ", js_text(slice, "profile", "?"),
                 (long long)js_int(on, "gpu_index", -1));
        out_add_placement(json_object_get(slice, "placement"), &b);
        say(s, &b, NO_MS);
    }
}

/* Once for a GPU, however many slices come after. */
static void say_switch(struct steps *s, const json_t *step)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(65536);
    int64_t index = js_int(step, "gpu_index", -1);
    uint64_t bit = index >= 0 && index < 64 ? UINT64_C(1) << index : 0;

    if (!js_true(step, "switches_mig") || s->switched & bit) {
        return;
    }
    s->switched |= bit;
    buf_addf(&b, "switch the MIG mode of GPU %lld on", (long long)index);
    say(s, &b, UNKNOWN_MS);
}

static void say_step(struct steps *s, const json_t *step, const char *for_whom)
{
    CLEANUP(buf_done) struct buf b = BUF_INIT(65536);
    bool is_whole = !json_is_object(json_object_get(step, "placement"));
    bool is_reused = js_true(step, "reuses");

    say_destroys(s, step, js_array(step, "destroys"));
    say_switch(s, step);
    if (is_whole) {
        buf_adds(&b, "take ");
    } else {
        buf_addf(&b, "%s %s at ", is_reused ? "take the idle" : "cut",
                 js_text(step, "profile", "?"));
    }
    add_place(&b, step);
    buf_adds(&b, for_whom);
    say(s, &b, is_whole || is_reused ? NO_MS : driver_ms(step));
}

/* Break before make. */
static void say_stop(struct steps *s, const json_t *move)
{
    CLEANUP(buf_done) struct buf ask = BUF_INIT(65536), make = BUF_INIT(65536);
    const json_t *to = json_object_get(move, "to");

    buf_addf(&ask, "ask the holder of %s (%s) to stop, and wait; its %s at ",
             js_text(move, "lease", "?"), js_text(move, "tenant", "?"),
             js_text(move, "profile", "?"));
    add_place(&ask, json_object_get(move, "from"));
    buf_adds(&ask, " goes when no process uses it");
    say(s, &ask, NO_MS);
    say_destroys(s, to, js_array(move, "destroys"));
    buf_addf(&make, "make another for it, where there is room then, as at ");
    add_place(&make, to);
    say(s, &make, driver_ms(move));
    s->has_holder = true;
}

static void say_move(struct steps *s, const json_t *move)
{
    if (js_true(move, "stops")) {
        say_stop(s, move);
        return;
    }
    CLEANUP(buf_done) struct buf make = BUF_INIT(65536), ask = BUF_INIT(65536),
                                 go = BUF_INIT(65536);
    const json_t *from = json_object_get(move, "from"), *to = json_object_get(move, "to");
    const char *profile = js_text(move, "profile", "?"), *lease = js_text(move, "lease", "?");

    say_destroys(s, to, js_array(move, "destroys"));
    buf_addf(&make, "make a %s at ", profile);
    add_place(&make, to);
    say(s, &make, driver_ms(move));
    buf_addf(&ask, "ask the holder of %s (%s) to move there from ", lease,
             js_text(move, "tenant", "?"));
    add_place(&ask, from);
    buf_adds(&ask, ", and wait for the answer; a refusal ends the plan here");
    say(s, &ask, NO_MS);
    buf_addf(&go, "let the %s at ", profile);
    add_place(&go, from);
    buf_adds(&go, " go when no process uses it");
    say(s, &go, NO_MS);
    s->has_holder = true;
}

void plan_print_steps(const json_t *plan)
{
    const json_t *list = js_array(plan, "steps"), *moves = js_array(plan, "moves"), *item = NULL;
    const json_t *room = js_array(plan, "room");
    struct steps s = {0};
    size_t i = 0;

    if (!json_array_size(list) && !json_array_size(moves)) {
        return;
    }
    printf("\nStep by step:\n");
    json_array_foreach(list, i, item)
    {
        say_step(&s, item, "");
    }
    json_array_foreach(moves, i, item)
    {
        say_move(&s, item);
    }
    json_array_foreach(room, i, item)
    {
        say_step(&s, item, " for the request");
    }
    if (!s.has_unknown && !s.has_driver) {
        printf("The driver has nothing to do.\n");
        return;
    }
    if (!s.has_driver) {
        printf("How long the driver takes for this is not known yet.\n");
        return;
    }
    printf("In the driver, one after the other: %s%.0f ms%s.\n", s.has_unknown ? "more than " : "",
           s.known_ms, s.has_holder ? ", and the time that the holders take" : "");
}

static void add_lease(const json_t *move, struct buf *b)
{
    buf_addf(b, "%s (%s)", js_text(move, "lease", "?"), js_text(move, "tenant", "?"));
}

static void add_from(const json_t *move, struct buf *b)
{
    add_place(b, json_object_get(move, "from"));
}

static void add_to(const json_t *move, struct buf *b)
{
    add_place(b, json_object_get(move, "to"));
}

void plan_print_moves(const struct out *out, const json_t *plan)
{
    static const struct out_column columns[] = {{"LEASE", NULL, add_lease, 0},
                                                {"PROFILE", "profile", NULL, 0},
                                                {"FROM", NULL, add_from, 0},
                                                {"TO", NULL, add_to, 0}};
    const json_t *moves = js_array(plan, "moves");

    if (json_array_size(moves)) {
        puts("\nIt would fit if their holders agree to move (a request that may wait asks them):");
        out_print_list(out, moves, columns, ARRAY_SIZE(columns));
    }
}
