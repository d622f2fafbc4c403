#pragma once
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

/* Ownership, spelled out where a variable is declared.
 *
 * Out of memory ends the process: the state is in the journal, the service manager restarts the
 * daemon, and a crash at any point is a tested path.  So the x...() allocators never return NULL;
 * anything whose size a peer can choose passes a cap before it reaches them. */

#define CLEANUP(fn) __attribute__((cleanup(fn)))

/* Gives the pointer away: returns it and leaves NULL behind, so that CLEANUP does nothing. */
#define TAKE_PTR(p)                                                                                \
    ({                                                                                             \
        __typeof__(p) *take_ptr_ = &(p);                                                           \
        __typeof__(p) take_val_ = *take_ptr_;                                                      \
        *take_ptr_ = NULL;                                                                         \
        take_val_;                                                                                 \
    })

/* The same for a file descriptor; leaves -1 behind. */
#define TAKE_FD(fd)                                                                                \
    ({                                                                                             \
        int *take_fd_ = &(fd);                                                                     \
        int take_val_ = *take_fd_;                                                                 \
        *take_fd_ = -1;                                                                            \
        take_val_;                                                                                 \
    })

/* Defines <fn>p(), fit for CLEANUP, from a function that frees one `type`. */
#define DEFINE_FREEP(type, fn)                                                                     \
    static inline void fn##p(type **p)                                                             \
    {                                                                                              \
        if (*p) {                                                                                  \
            fn(*p);                                                                                \
        }                                                                                          \
    }

static inline void freep(void *p)
{
    free(*(void **)p);
}

static inline void closep(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
    }
}

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* Zeroed memory; never NULL. */
void *xcalloc(size_t count, size_t size);
/* As reallocarray(3); new bytes are not zeroed; never NULL unless count is 0. */
void *xreallocarray(void *p, size_t count, size_t size);
/* A copy of s; NULL stays NULL. */
char *xstrdup(const char *s);
/* printf into new memory. */
char *xasprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
