#pragma once
#include "base/cleanup.h"
#include "base/error.h"
#include <jansson.h>
#include <stddef.h>

/* JSON and YAML read into one tree (Jansson's json_t), with the caps that a peer cannot pass.
 * Both refuse duplicate keys, invalid UTF-8, NUL characters and more than TREE_MAX_DEPTH levels. */

#define TREE_MAX_DEPTH 32
#define TREE_MAX_BYTES (1024 * 1024)

/* Free trees with json_decref(); Jansson has json_decrefp() for CLEANUP.
 * *ret is new and owned by the caller.  -EINVAL with line and column, -E2BIG when too large. */
int tree_from_json(const char *data, size_t len, json_t **ret, struct error *err);

/* A YAML document and where each value stood. */
struct tree_doc;

/* `name` is what messages call the file.  No aliases, no tags, one document, keys are plain
 * strings.  Plain scalars become null, true/false, integers or reals as in the YAML 1.2 core
 * schema; quoted ones stay strings. An empty document is null. */
int tree_from_yaml(const char *data, size_t len, const char *name, struct tree_doc **ret,
                   struct error *err);
void tree_doc_free(struct tree_doc *doc);
DEFINE_FREEP(struct tree_doc, tree_doc_free)

/* Borrowed from doc. */
json_t *tree_doc_root(const struct tree_doc *doc);
const char *tree_doc_name(const struct tree_doc *doc);

/* Fails with "name:line:column: message"; `pointer` is the place as a JSON pointer
 * ("/gpus/0/mig_mode"; "" is the root).  An unknown pointer leaves line and column out. */
int tree_doc_fail(const struct tree_doc *doc, const char *pointer, struct error *err,
                  const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* The same at the key of the member that `pointer` names, for what is wrong with the key itself. */
int tree_doc_fail_key(const struct tree_doc *doc, const char *pointer, struct error *err,
                      const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* The whole file, at most max_bytes (-EFBIG), NUL-terminated; caller frees *ret. */
int tree_read_file(const char *path, size_t max_bytes, char **ret, size_t *ret_len,
                   struct error *err);
/* The same from something that is open; it stays so.  `name` is what messages call it. */
int tree_read_fd(int fd, const char *name, size_t max_bytes, char **ret, size_t *ret_len,
                 struct error *err);
