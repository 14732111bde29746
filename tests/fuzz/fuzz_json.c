/* The parser on any bytes; what it took is written again, and that text must be taken too and be
 * written to the same text. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

static void must(bool condition)
{
    if (!condition) {
        abort();
    }
}

static void write_value(struct json_writer *writer, const char *key, const struct json *value)
{
    if (json_is_object(value) || json_is_array(value)) {
        bool object = json_is_object(value);
        json_open(writer, key, object ? '{' : '[');
        for (const struct json *member = json_first(value); member != NULL;
             member = json_next(member)) {
            must(!object || json_name(member) != NULL);
            write_value(writer, object ? json_name(member) : NULL, member);
        }
        json_close(writer, object ? '}' : ']');
    } else {
        json_put_string(writer, key, json_string(value)); /* null for what is no string */
    }
}

static void write_root(struct buf *out, const struct json *root)
{
    struct json_writer writer;
    buf_init(out, 0);
    json_writer_init(&writer, out);
    write_value(&writer, NULL, root);
    must(writer.rc == 0);
}

static void check_look_ups(const struct json *root)
{
    for (const struct json *member = json_first(root); member != NULL; member = json_next(member)) {
        if (json_name(member) != NULL) {
            must(json_get(root, json_name(member)) != NULL);
            int64_t number = json_get_int(root, json_name(member));
            must(number >= -(INT64_C(1) << 53) && number <= INT64_C(1) << 53);
            (void)json_get_bool(root, json_name(member));
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct json *root = NULL;
    struct json *again = NULL;
    struct error error = {""};
    struct buf first;
    struct buf second;
    if (json_parse((const char *)data, size, &root, &error) != 0) {
        must(root == NULL && error.text[0] != '\0');
        return 0;
    }
    check_look_ups(root);
    write_root(&first, root);
    must(json_parse(first.data, first.size, &again, &error) == 0);
    write_root(&second, again);
    must(first.size == second.size && memcmp(first.data, second.data, first.size) == 0);
    buf_finish(&first);
    buf_finish(&second);
    json_destroy(again);
    json_destroy(root);
    return 0;
}
