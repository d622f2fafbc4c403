#pragma once
#include <math.h>
#include <stdint.h>

/* xoshiro256** (Blackman, Vigna), seeded by splitmix64: the generator of the online protocol, so
 * that equal seeds give equal sequences everywhere. */

struct replay_random {
    uint64_t s[4];
};

static inline void replay_random_seed(struct replay_random *r, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        uint64_t z = (seed += 0x9e3779b97f4a7c15u);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        r->s[i] = z ^ (z >> 31);
    }
}

static inline uint64_t replay_random_rotate(uint64_t x, int by)
{
    return x << by | x >> (64 - by);
}

static inline uint64_t replay_random_next(struct replay_random *r)
{
    uint64_t result = replay_random_rotate(r->s[1] * 5, 7) * 9, t = r->s[1] << 17;

    r->s[2] ^= r->s[0];
    r->s[3] ^= r->s[1];
    r->s[1] ^= r->s[2];
    r->s[0] ^= r->s[3];
    r->s[2] ^= t;
    r->s[3] = replay_random_rotate(r->s[3], 45);
    return result;
}

/* Uniform in [0, 1). */
static inline double replay_random_real(struct replay_random *r)
{
    return (double)(replay_random_next(r) >> 11) * 0x1p-53;
}

/* Exponential with the given mean. */
static inline double replay_random_exp(struct replay_random *r, double mean)
{
    return -mean * log1p(-replay_random_real(r));
}
