/* All that a file holds, in memory. */
#include "store/internal.h"
#include <string.h>

static char *copy_body(const char *body, size_t len)
{
    char *copy = xcalloc(1, len + 1);

    if (len) {
        memcpy(copy, body, len);
    }
    return copy;
}

static void row_done(struct store_row *row)
{
    free(row->id);
    free(row->body);
}

void image_done(struct store_image *image)
{
    for (size_t i = 0; i < image->row_count; i++) {
        row_done(&image->rows[i]);
    }
    for (size_t i = 0; i < image->event_count; i++) {
        free(image->events[i].body);
    }
    free(image->rows);
    free(image->events);
    *image = (struct store_image){0};
}

void image_add_row(struct store_image *image, const struct store_row *row)
{
    if (image->row_count == image->row_size) {
        image->row_size = image->row_size ? 2 * image->row_size : 64;
        image->rows = xreallocarray(image->rows, image->row_size, sizeof(*image->rows));
    }
    image->rows[image->row_count] = *row;
    image->rows[image->row_count].id = xstrdup(row->id);
    image->rows[image->row_count].body = row->is_deleted ? NULL : copy_body(row->body, row->len);
    image->row_count++;
    if (row->revision > image->revision) {
        image->revision = row->revision;
    }
}

void image_add_event(struct store_image *image, const struct store_event *event)
{
    if (image->event_count == image->event_size) {
        image->event_size = image->event_size ? 2 * image->event_size : 64;
        image->events = xreallocarray(image->events, image->event_size, sizeof(*image->events));
    }
    image->events[image->event_count] = *event;
    image->events[image->event_count].body = copy_body(event->body, event->len);
    image->event_count++;
}

static int by_key(const void *a, const void *b)
{
    const struct store_row *x = a, *y = b;
    int order = x->kind == y->kind ? strcmp(x->id, y->id) : x->kind < y->kind ? -1 : 1;

    if (order) {
        return order;
    }
    return x->revision == y->revision ? 0 : x->revision > y->revision ? -1 : 1;
}

static int by_seq(const void *a, const void *b)
{
    const struct store_event *x = a, *y = b;

    return x->seq == y->seq ? 0 : x->seq < y->seq ? -1 : 1;
}

void image_settle(struct store_image *image)
{
    size_t kept = 0;

    if (image->row_count) {
        qsort(image->rows, image->row_count, sizeof(*image->rows), by_key);
    }
    for (size_t i = 0; i < image->row_count; i++) {
        struct store_row *last = kept ? &image->rows[kept - 1] : NULL;
        if (last && last->kind == image->rows[i].kind && strcmp(last->id, image->rows[i].id) == 0) {
            row_done(&image->rows[i]);
        } else {
            image->rows[kept++] = image->rows[i];
        }
    }
    image->row_count = kept;
    kept = 0;
    if (image->event_count) {
        qsort(image->events, image->event_count, sizeof(*image->events), by_seq);
    }
    for (size_t i = 0; i < image->event_count; i++) {
        if (kept && image->events[kept - 1].seq == image->events[i].seq) {
            free(image->events[i].body);
        } else {
            image->events[kept++] = image->events[i];
        }
    }
    image->event_count = kept;
}
