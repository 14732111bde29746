/*
 * push_request: reads what a Loki push carries, for tests. Written from the formats alone (protobuf's
 * wire format, https://github.com/grafana/loki/blob/main/pkg/push/push.proto, the snappy block
 * format), with none of the program's code, and strict: an unknown field, a field that comes twice,
 * a length that does not fit, text that is not UTF-8 where text is expected, are all -EBADMSG.
 * Pure functions; any thread may call them.
 */
#ifndef PUSH_REQUEST_H
#define PUSH_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PUSH_PAIRS_MAX 64

struct push_text {
    const char *data; /* not terminated; within the request */
    size_t len;
};

struct push_pair {
    struct push_text name;
    struct push_text value;
};

struct push_entry {
    size_t stream; /* 0 for the first of the request */
    struct push_text labels;
    int64_t seconds;
    int64_t nanos; /* 0 to 999999999 */
    struct push_text line;
    struct push_pair metadata[PUSH_PAIRS_MAX];
    size_t metadata_count;
};

typedef int (*push_entry_fn)(const struct push_entry *entry, void *data);

/* Calls on_entry for each entry, in the order of the request. 0, -EBADMSG, or what on_entry gave. */
int push_request_read(const void *bytes, size_t size, push_entry_fn on_entry, void *data);

#define PUSH_LABEL_MAX 8192
struct push_label {
    char name[256];
    char value[PUSH_LABEL_MAX]; /* escapes resolved; terminated */
};
typedef int (*push_label_fn)(const struct push_label *label, void *data);

/* {name="value", ...} as Prometheus' grammar has it: at least one, names [a-zA-Z_][a-zA-Z0-9_]*, none
 * twice. */
int push_labels_read(struct push_text labels, push_label_fn on_label, void *data);

bool push_is_utf8(const char *data, size_t len);

/* What a snappy block becomes, from malloc; NULL when it is damaged or larger than limit. */
char *push_unsnap(const void *bytes, size_t size, size_t limit, size_t *ret_size);

#endif
