/* The usual piece is a whole line and is handed on in place. */
#include "process/lines.h"

#include <string.h>

#define SHORTEST_CUT_BYTES 8192

void lines_init(struct lines *lines, size_t limit_bytes, lines_record_fn on_record, void *data)
{
    *lines = (struct lines){.limit_bytes = limit_bytes, .on_record = on_record, .data = data};
    buf_init(&lines->joins[0].text, 0);
    buf_init(&lines->joins[1].text, 0);
}

void lines_finish(struct lines *lines)
{
    buf_finish(&lines->joins[0].text);
    buf_finish(&lines->joins[1].text);
}

static struct lines_join *join_of(struct lines *lines, uint8_t stream)
{
    return &lines->joins[stream == RECORD_STDERR];
}

bool lines_is_open(const struct lines *lines, uint8_t stream)
{
    return lines->joins[stream == RECORD_STDERR].open;
}

static void give(struct lines *lines, struct record record)
{
    if (record.line_bytes > lines->limit_bytes) {
        record.line_bytes = lines->limit_bytes;
        record.flags |= RECORD_TRUNCATED;
    }
    lines->on_record(&record, lines->data);
}

static void give_join(struct lines *lines, uint8_t stream, uint8_t flags)
{
    struct lines_join *join = join_of(lines, stream);
    if (!join->open) {
        return;
    }
    join->open = false;
    struct record record = {.time_ns = join->time_ns,
                            .stream = stream,
                            .flags = flags,
                            .line = join->text.data,
                            .line_bytes = join->text.size};
    if (join->truncated) {
        record.flags |= RECORD_TRUNCATED;
    }
    give(lines, record);
    buf_finish(&join->text); /* long lines are rare; their memory is not kept */
}

static int join_piece(struct lines *lines, struct lines_join *join, const char *bytes, size_t size)
{
    size_t room = lines->limit_bytes - join->text.size;
    if (size > room) {
        join->truncated = true;
        size = room;
    }
    return buf_append(&join->text, bytes, size);
}

int lines_piece(struct lines *lines, uint8_t stream, int64_t time_ns, const char *bytes,
                size_t size)
{
    struct lines_join *join = join_of(lines, stream);
    if (join->open && join->time_ns != time_ns) {
        give_join(lines, stream, RECORD_NO_NEWLINE);
    }
    bool ended = size > 0 && bytes[size - 1] == '\n';
    size_t length = ended ? size - 1 : size;
    bool complete = ended || size < SHORTEST_CUT_BYTES;
    uint8_t flags = ended ? 0 : RECORD_NO_NEWLINE;
    if (!join->open && complete) {
        give(lines, (struct record){.time_ns = time_ns,
                                    .stream = stream,
                                    .flags = flags,
                                    .line = bytes,
                                    .line_bytes = length});
        return 0;
    }
    if (!join->open) {
        join->open = true;
        join->truncated = false;
        join->time_ns = time_ns;
    }
    int rc = join_piece(lines, join, bytes, length);
    if (rc == 0 && complete) {
        give_join(lines, stream, flags);
    }
    return rc;
}

void lines_flush(struct lines *lines)
{
    give_join(lines, RECORD_STDOUT, RECORD_NO_NEWLINE);
    give_join(lines, RECORD_STDERR, RECORD_NO_NEWLINE);
}
