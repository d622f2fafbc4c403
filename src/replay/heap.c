#include "replay/heap.h"
#include "base/cleanup.h"
#include <stdbool.h>
#include <stdlib.h>

static bool is_before(struct replay_due a, struct replay_due b)
{
    return a.at_ms != b.at_ms ? a.at_ms < b.at_ms : a.value < b.value;
}

void replay_heap_done(struct replay_heap *heap)
{
    free(heap->due);
    *heap = (struct replay_heap){0};
}

void replay_heap_push(struct replay_heap *heap, int64_t at_ms, uint64_t value)
{
    struct replay_due due = {at_ms, value};

    if (heap->count == heap->size) {
        heap->size = heap->size ? 2 * heap->size : 64;
        heap->due = xreallocarray(heap->due, heap->size, sizeof(*heap->due));
    }
    size_t i = heap->count++;
    while (i > 0 && is_before(due, heap->due[(i - 1) / 2])) {
        heap->due[i] = heap->due[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    heap->due[i] = due;
}

struct replay_due replay_heap_pop(struct replay_heap *heap)
{
    struct replay_due top = heap->due[0], last = heap->due[--heap->count];
    size_t i = 0;

    for (;;) {
        size_t c = 2 * i + 1;
        if (c >= heap->count) {
            break;
        }
        c += c + 1 < heap->count && is_before(heap->due[c + 1], heap->due[c]);
        if (!is_before(heap->due[c], last)) {
            break;
        }
        heap->due[i] = heap->due[c];
        i = c;
    }
    heap->due[i] = last;
    return top;
}
