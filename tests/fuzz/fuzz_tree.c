/* JSON and YAML into a tree: never a crash, never deeper than promised, and what was accepted as
 * JSON is well-formed text again. */
#include "base/tree.h"
#include "fuzz.h"
#include <stdlib.h>
#include <string.h>

static int depth_of(const json_t *node, int level)
{
    int deepest = level;
    const json_t *child = NULL;
    const char *key = NULL;
    size_t i = 0;

    json_array_foreach(node, i, child)
    {
        int d = depth_of(child, level + 1);
        deepest = d > deepest ? d : deepest;
    }
    json_object_foreach((json_t *)(uintptr_t)node, key, child)
    {
        int d = depth_of(child, level + 1);
        deepest = d > deepest ? d : deepest;
    }
    return deepest;
}

static void check_tree(const json_t *root)
{
    CLEANUP(freep) char *text = json_dumps(root, JSON_COMPACT | JSON_ENCODE_ANY);

    if (!text || depth_of(root, 0) > TREE_MAX_DEPTH) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    CLEANUP(json_decrefp) json_t *root = NULL;
    CLEANUP(tree_doc_freep) struct tree_doc *doc = NULL;
    struct error err = {0};

    if (tree_from_json((const char *)data, size, &root, &err) == 0) {
        check_tree(root);
    } else if (root || !err.msg[0]) {
        abort();
    }
    err.msg[0] = '\0';
    if (tree_from_yaml((const char *)data, size, "fuzz", &doc, &err) == 0) {
        check_tree(tree_doc_root(doc));
        tree_doc_fail(doc, "/a/0", &err, "%s", "x");
    } else if (doc || strncmp(err.msg, "fuzz", 4) != 0) {
        abort();
    }
    return 0;
}
