#include "meter/counters.h"

const double meter_bucket_ends_s[METER_BUCKETS] = {0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1,
                                                   0.25,   0.5,    1,     2.5,   10,   60,   600};

void meter_histogram_add(struct meter_histogram *h, double seconds)
{
    seconds = seconds > 0 ? seconds : 0;
    h->count++;
    h->sum_s += seconds;
    for (unsigned i = 0; i < METER_BUCKETS; i++) {
        if (seconds <= meter_bucket_ends_s[i]) {
            h->buckets[i]++;
            return;
        }
    }
}
