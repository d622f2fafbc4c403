#pragma once
#include "api/call.h"

/* What the resources about usage share. */

#define API_HOUR_MS 3600000.0

/* Whose usage is asked for, NULL everybody's.  False: it may not be seen, and was answered. */
bool api_usage_tenant(struct api_call *call, const char **ret_tenant);
/* Below 0: null. */
void api_add_percent(struct json_out *w, const char *name, double percent);
/* null without rates. */
void api_add_cost(struct json_out *w, const char *name, const struct meter *meter, double cost);
void api_add_usage_row(struct json_out *w, const char *name, const struct meter *meter,
                       const struct meter_row *row);
/* What there is to advise about the lease of a row, as entries of an array. */
void api_add_advice(struct api *api, const struct meter_row *row, struct json_out *w);
