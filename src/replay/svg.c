#include "replay/svg.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

#define WIDTH 720.0
#define HEIGHT 400.0
#define LEFT 70.0
#define TOP 40.0
#define RIGHT 20.0
#define BOTTOM 50.0

static const char *const colours[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                      "#e69f00", "#56b4e9", "#000000", "#999999"};

struct range {
    double lo, hi;
};

static void widen(struct range *r, const double *v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        r->lo = fmin(r->lo, v[i]);
        r->hi = fmax(r->hi, v[i]);
    }
}

/* 1, 2 or 5 times a power of ten: about five of them in the range. */
static double step_of(struct range r)
{
    double rough = (r.hi - r.lo) / 5, power = pow(10, floor(log10(rough))), m = rough / power;

    return power * (m < 1.5 ? 1 : m < 3.5 ? 2 : m < 7.5 ? 5 : 10);
}

static double x_at(struct range r, double v)
{
    return LEFT + (WIDTH - LEFT - RIGHT) * (v - r.lo) / (r.hi - r.lo);
}

static double y_at(struct range r, double v)
{
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (v - r.lo) / (r.hi - r.lo);
}

static void draw_axes(FILE *f, struct range x, struct range y, const char *x_name,
                      const char *y_name)
{
    double sx = step_of(x), sy = step_of(y);

    for (int i = (int)ceil(x.lo / sx); i <= x.hi / sx + 1e-6; i++) {
        double v = i * sx;
        fprintf(f, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%g</text>\n", x_at(x, v),
                HEIGHT - BOTTOM + 18, v);
    }
    for (int i = (int)ceil(y.lo / sy); i <= y.hi / sy + 1e-6; i++) {
        double v = i * sy;
        fprintf(f,
                "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#ddd\"/>"
                "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%g</text>\n",
                LEFT, WIDTH - RIGHT, y_at(y, v), y_at(y, v), LEFT - 8, y_at(y, v) + 4, v);
    }
    fprintf(f,
            "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%s</text>\n"
            "<text transform=\"translate(16 %.1f) rotate(-90)\" text-anchor=\"middle\">%s</text>\n",
            WIDTH / 2, HEIGHT - 10, x_name, HEIGHT / 2, y_name);
}

int replay_svg_write(const char *path, const char *title, const char *x_name, const char *y_name,
                     const struct replay_line *lines, size_t count, struct error *err)
{
    struct range x = {INFINITY, -INFINITY}, y = {INFINITY, -INFINITY};
    FILE *f = fopen(path, "we");

    if (!f) {
        return err_set(err, errno, "cannot write %s: %s", path, strerror(errno));
    }
    for (size_t i = 0; i < count; i++) {
        widen(&x, lines[i].x, lines[i].count);
        widen(&y, lines[i].y, lines[i].count);
    }
    x.hi = x.hi > x.lo ? x.hi : x.lo + 1;
    y.hi = y.hi > y.lo ? y.hi : y.lo + 1;
    fprintf(f,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %g %g\" "
            "font-family=\"sans-serif\" font-size=\"12\">\n"
            "<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n"
            "<text x=\"%g\" y=\"22\" font-size=\"15\">%s</text>\n",
            WIDTH, HEIGHT, LEFT, title);
    draw_axes(f, x, y, x_name, y_name);
    for (size_t i = 0; i < count; i++) {
        fprintf(f, "<polyline fill=\"none\" stroke-width=\"1.5\" stroke=\"%s\" points=\"",
                colours[i % 8]);
        for (size_t k = 0; k < lines[i].count; k++) {
            fprintf(f, "%.1f,%.1f ", x_at(x, lines[i].x[k]), y_at(y, lines[i].y[k]));
        }
        fprintf(f, "\"/>\n<text x=\"%g\" y=\"%g\" fill=\"%s\">%s</text>\n", LEFT + 10,
                HEIGHT - BOTTOM - 10 - 16 * (double)(count - 1 - i), colours[i % 8], lines[i].name);
    }
    fputs("</svg>\n", f);
    if (fclose(f) != 0) {
        return err_set(err, errno, "cannot write %s: %s", path, strerror(errno));
    }
    return 0;
}
