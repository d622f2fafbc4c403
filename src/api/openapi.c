/* /v1/openapi.json, generated from the table of routes and the tables of fields. */
#include "api/call.h"
#include "api/schemas.h"
#include <stdio.h>
#include <string.h>

#define SETS_MAX 128

/* Sets that are named by the document, each once, with where it was met first: what is asked may
 * leave members out, what is answered has them all. */
struct sets {
    const struct field_set *set[SETS_MAX];
    bool is_answer[SETS_MAX];
    unsigned count;
};

static void collect(struct sets *sets, const struct field_set *set, bool is_answer)
{
    for (unsigned i = 0; i < sets->count; i++) {
        if (sets->set[i] == set) {
            return;
        }
    }
    if (sets->count == SETS_MAX) {
        abort(); /* the tables have outgrown it */
    }
    sets->is_answer[sets->count] = is_answer;
    sets->set[sets->count++] = set;
    for (unsigned i = sets->count - 1, f = 0; set->fields[f].name; f++) {
        if (set->fields[f].set) {
            collect(sets, set->fields[f].set, sets->is_answer[i]);
        }
    }
}

static void add_schemas(struct json_out *w)
{
    struct sets sets = {0};

    for (unsigned i = 0; i < api_route_count; i++) {
        if (api_route_table[i].body) {
            collect(&sets, api_route_table[i].body, false);
        }
        if (api_route_table[i].answer) {
            collect(&sets, api_route_table[i].answer, true);
        }
    }
    collect(&sets, &schema_event, true);
    collect(&sets, &schema_problem, false);
    json_out_object(w, "schemas");
    for (unsigned i = 0; i < sets.count; i++) {
        CLEANUP(buf_done) struct buf text = BUF_INIT(256 * 1024);
        fields_add_schema(sets.set[i], sets.is_answer[i], &text);
        json_out_raw(w, sets.set[i]->name, text.data);
    }
    json_out_end_object(w);
}

static void add_reference(struct json_out *w, const char *type, const struct field_set *set)
{
    char ref[96];

    snprintf(ref, sizeof(ref), "#/components/schemas/%s", set->name);
    json_out_object(w, type);
    json_out_object(w, "schema");
    json_out_str(w, "$ref", ref);
    json_out_end_object(w);
    json_out_end_object(w);
}

static void add_parameter(struct json_out *w, const char *in, const char *name, bool is_required,
                          const char *doc, const char *schema)
{
    json_out_object(w, NULL);
    json_out_str(w, "name", name);
    json_out_str(w, "in", in);
    json_out_bool(w, "required", is_required);
    if (doc) {
        json_out_str(w, "description", doc);
    }
    json_out_raw(w, "schema", schema);
    json_out_end_object(w);
}

static void add_parameters(struct json_out *w, const struct api_route *route)
{
    const char *open = strchr(route->pattern, '{');
    char name[32];

    json_out_array(w, "parameters");
    if (open) {
        snprintf(name, sizeof(name), "%.*s", (int)strcspn(open + 1, "}"), open + 1);
        add_parameter(w, "path", name, true, NULL, "{\"type\":\"string\"}");
    }
    for (const struct field *f = route->query ? route->query->fields : NULL; f && f->name; f++) {
        CLEANUP(buf_done) struct buf schema = BUF_INIT(4096);
        field_add_schema(f, &schema);
        add_parameter(w, "query", f->name, false, f->doc, schema.data);
    }
    if (route->flags & (API_ROUTE_KEY | API_ROUTE_POOL_KEY)) {
        add_parameter(w, "header", "Idempotency-Key", false,
                      "a repeat with the same key gives the same answer; with another body it is "
                      "refused",
                      "{\"type\":\"string\",\"minLength\":1,\"maxLength\":128}");
    }
    if (route->flags & API_ROUTE_STREAM) {
        add_parameter(w, "header", "Last-Event-ID", false, "resume after this event",
                      "{\"type\":\"integer\",\"minimum\":0}");
    }
    json_out_end_array(w);
}

static void add_good_answer(struct json_out *w, const struct api_route *route)
{
    json_out_object(w, "content");
    if (route->answer) {
        add_reference(w, "application/json", route->answer);
    } else if (route->flags & API_ROUTE_TEXT) {
        json_out_object(w, "text/plain");
        json_out_end_object(w);
    } else {
        json_out_object(w, "application/json");
        json_out_end_object(w);
    }
    if (route->flags & API_ROUTE_STREAM) {
        json_out_object(w, "text/event-stream");
        json_out_end_object(w);
    }
    json_out_end_object(w);
}

static void add_responses(struct json_out *w, const struct api_route *route)
{
    json_out_object(w, "responses");
    for (const char *at = route->statuses; *at; at += strcspn(at, " "), at += *at == ' ') {
        char status[4];
        snprintf(status, sizeof(status), "%.3s", at);
        json_out_object(w, status);
        if (*at == '2') {
            json_out_str(w, "description", "done");
            add_good_answer(w, route);
        } else {
            json_out_str(w, "description", "see reason and detail");
            json_out_object(w, "content");
            add_reference(w, "application/problem+json", &schema_problem);
            json_out_end_object(w);
        }
        json_out_end_object(w);
    }
    json_out_object(w, "default");
    json_out_str(w, "description", "any other problem: a bad request, not allowed, ...");
    json_out_object(w, "content");
    add_reference(w, "application/problem+json", &schema_problem);
    json_out_end_object(w);
    json_out_end_object(w);
    json_out_end_object(w);
}

static void add_operation(struct json_out *w, const struct api_route *route)
{
    static const char *const methods[HTTP_METHOD_COUNT] = {"get", "post", "put", "patch", "delete"};
    char note[64];

    json_out_object(w, methods[route->method]);
    json_out_str(w, "summary", route->summary);
    snprintf(note, sizeof(note), "Role: %s or above.", pool_role_name(route->role));
    json_out_str(w, "description",
                 route->flags & API_ROUTE_PUBLIC ? "Needs no identity." : note);
    add_parameters(w, route);
    if (route->body) {
        json_out_object(w, "requestBody");
        json_out_bool(w, "required", true);
        json_out_object(w, "content");
        add_reference(w, "application/json", route->body);
        json_out_end_object(w);
        json_out_end_object(w);
    }
    add_responses(w, route);
    json_out_end_object(w);
}

/* Rows of one path are not always neighbours: each path is written where it comes first. */
static void add_paths(struct json_out *w)
{
    json_out_object(w, "paths");
    for (unsigned i = 0; i < api_route_count; i++) {
        const char *path = api_route_table[i].pattern;
        bool is_first = true;
        for (unsigned k = 0; k < i; k++) {
            is_first = is_first && strcmp(api_route_table[k].pattern, path) != 0;
        }
        if (!is_first) {
            continue;
        }
        json_out_object(w, path);
        for (unsigned k = i; k < api_route_count; k++) {
            if (!strcmp(api_route_table[k].pattern, path)) {
                add_operation(w, &api_route_table[k]);
            }
        }
        json_out_end_object(w);
    }
    json_out_end_object(w);
}

char *api_openapi_text(void)
{
    struct buf b = BUF_INIT(1024 * 1024);
    struct json_out w = {.b = &b};

    json_out_object(&w, NULL);
    json_out_str(&w, "openapi", "3.1.0");
    json_out_object(&w, "info");
    json_out_str(&w, "title", "tangram");
    json_out_str(&w, "version", TANGRAM_VERSION);
    json_out_str(&w, "summary", "Leases of GPU slices that are cut on demand");
    json_out_object(&w, "license");
    json_out_str(&w, "name", "Apache-2.0");
    json_out_str(&w, "identifier", "Apache-2.0");
    json_out_end_object(&w);
    json_out_end_object(&w);
    add_paths(&w);
    json_out_object(&w, "components");
    add_schemas(&w);
    json_out_end_object(&w);
    json_out_end_object(&w);
    return buf_take(&b);
}

void api_get_openapi(struct api_call *call)
{
    struct api *api = call->api;

    if (!api->openapi) {
        api->openapi = api_openapi_text();
    }
    api_begin(api);
    buf_adds(&api->out, api->openapi);
    api_reply(call, 200);
}
