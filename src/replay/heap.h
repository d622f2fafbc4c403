#pragma once
#include <stddef.h>
#include <stdint.h>

/* What happens when: a binary heap, the earliest on top, of equal times the smaller value. */

struct replay_due {
    int64_t at_ms;
    uint64_t value;
};

/* Zeroed is empty; due is owned. */
struct replay_heap {
    struct replay_due *due;
    size_t count, size;
};

void replay_heap_done(struct replay_heap *heap);
void replay_heap_push(struct replay_heap *heap, int64_t at_ms, uint64_t value);
/* Only of a heap that is not empty. */
struct replay_due replay_heap_pop(struct replay_heap *heap);

/* INT64_MAX: never. */
static inline int64_t replay_heap_next_ms(const struct replay_heap *heap)
{
    return heap->count ? heap->due[0].at_ms : INT64_MAX;
}
