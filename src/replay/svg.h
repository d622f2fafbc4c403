#pragma once
#include "base/error.h"
#include <stddef.h>

/* A plain line chart as an SVG file. */

struct replay_line {
    const char *name;
    size_t count;
    const double *x, *y;
};

/* -errno of the file. At most 8 lines. */
int replay_svg_write(const char *path, const char *title, const char *x_name, const char *y_name,
                     const struct replay_line *lines, size_t count, struct error *err);
