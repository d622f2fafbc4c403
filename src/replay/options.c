#include "replay/options.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "plan/plan.h"
#include "replay/fleet.h"
#include <assert.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const replay_formats[] = {"table", "csv", "json", NULL};

#define FIRST_LONG 256 /* getopt's value of the first row */
#define HELP 'h'

static int read_word(const struct replay_option *o, const char *s, struct error *err)
{
    char list[160] = "";
    size_t n = 0;

    for (int i = 0; o->words[i]; i++) {
        if (strcmp(o->words[i], s) == 0) {
            *(int *)o->to = i;
            return 0;
        }
        int k = snprintf(list + n, sizeof(list) - n, "%s%s", i ? ", " : "", o->words[i]);
        n += k > 0 && (size_t)k < sizeof(list) - n ? (size_t)k : 0;
    }
    return err_set(err, EINVAL, "--%s: \"%.40s\" is none of %s", o->name, s, list);
}

static int read_real(const struct replay_option *o, const char *s, struct error *err)
{
    char *end = NULL;
    double x = strtod(s, &end);

    if (end == s || *end || !(x > 0) || x > (double)o->hi) {
        return err_set(err, EINVAL, "--%s: '%.40s' is not a number above 0 and up to %lld", o->name,
                       s, (long long)o->hi);
    }
    *(double *)o->to = x;
    return 0;
}

static int read_int(const struct replay_option *o, const char *s, struct error *err)
{
    char what[40];

    snprintf(what, sizeof(what), "--%s", o->name);
    return text_parse_int(s, what, o->lo, o->hi, o->to, err);
}

static int read_value(const struct replay_option *o, const char *s, struct error *err)
{
    switch (o->kind) {
    case REPLAY_OPTION_FLEET:
        return replay_fleet_parse(s, o->to, err);
    case REPLAY_OPTION_POLICY:
        return plan_policy_parse(s, o->to, err);
    case REPLAY_OPTION_OBJECTIVE:
        return plan_objective_parse(s, o->to, err);
    case REPLAY_OPTION_INT:
        return read_int(o, s, err);
    case REPLAY_OPTION_REAL:
        return read_real(o, s, err);
    case REPLAY_OPTION_WORD:
        return read_word(o, s, err);
    case REPLAY_OPTION_TEXT:
        *(const char **)o->to = s;
        return 0;
    case REPLAY_OPTION_FLAG:
        *(bool *)o->to = true;
        return 0;
    }
    return 0;
}

static int find_output(const struct replay_option *options, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(options[i].name, "output") == 0) {
            return FIRST_LONG + (int)i;
        }
    }
    return 0;
}

int replay_options_read(int argc, char **argv, const struct replay_option *options, size_t count,
                        const char *usage, struct error *err)
{
    struct option longs[REPLAY_OPTIONS_MAX + 2] = {{0}};
    int c, r = 0;

    assert(count <= REPLAY_OPTIONS_MAX);
    for (size_t i = 0; i < count; i++) {
        bool is_flag = options[i].kind == REPLAY_OPTION_FLAG;
        longs[i] = (struct option){options[i].name, is_flag ? no_argument : required_argument, NULL,
                                   FIRST_LONG + (int)i};
    }
    longs[count] = (struct option){"help", no_argument, NULL, HELP};
    opterr = 0;
    while (r == 0 && (c = getopt_long(argc, argv, ":o:h", longs, NULL)) != -1) {
        if (c == HELP) {
            puts(usage);
            return 1;
        }
        c = c == 'o' ? find_output(options, count) : c;
        if (c < FIRST_LONG) {
            return err_set(err, EINVAL, "%s %.40s (tangram-replay %s --help lists the options)",
                           c == ':' ? "a value is missing after" : "there is no option",
                           argv[optind - 1], argv[0]);
        }
        r = read_value(&options[c - FIRST_LONG], optarg, err);
    }
    if (r == 0 && optind < argc) {
        return err_set(err, EINVAL, "\"%.40s\" is not an option (tangram-replay %s --help)",
                       argv[optind], argv[0]);
    }
    return r;
}
