#pragma once
#include "api/fields.h"

/* The shape of every request, query and answer; the tables are in schemas.c. */

extern const struct field_set schema_index, schema_health;
extern const struct field_set schema_gpu, schema_gpu_list;
extern const struct field_set schema_slice, schema_slice_list, schema_slice_name;
extern const struct field_set schema_lease, schema_lease_list, schema_lease_request,
    schema_lease_patch, schema_move_answer, schema_why;
extern const struct field_set schema_queue;
extern const struct field_set schema_usage, schema_lease_usage, schema_advice;
extern const struct field_set schema_plan, schema_plan_request;
extern const struct field_set schema_layout, schema_layout_request, schema_layout_result;
extern const struct field_set schema_operation;
extern const struct field_set schema_event, schema_event_list;
extern const struct field_set schema_doctor;
extern const struct field_set schema_token_list, schema_token_request, schema_token_made,
    schema_token;
extern const struct field_set schema_problem;

/* Query parameters. */
extern const struct field_set query_usage, query_advice, query_leases, query_wait, query_dry_run,
    query_events;
