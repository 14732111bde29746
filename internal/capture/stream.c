/* Dispatch, and the names of ends. */
#include "capture/stream.h"

const char *stream_end_name(enum stream_end end)
{
    static const char *const names[STREAM_END_COUNT] = {
        [STREAM_COMPLETED] = "completed", [STREAM_CLOSED] = "closed",
        [STREAM_ROTATED] = "rotated",     [STREAM_SILENT] = "silent",
        [STREAM_PAUSED] = "paused",       [STREAM_BROKEN] = "broken",
        [STREAM_PROTOCOL] = "protocol",   [STREAM_NO_MEMORY] = "no_memory",
        [STREAM_REFUSED] = "refused",     [STREAM_SHUTDOWN] = "shutdown"};
    return names[end];
}

int stream_open(const struct stream_type *type, const struct stream_options *options,
                struct stream **ret_stream)
{
    return type->open(options, ret_stream);
}

void stream_close(struct stream *stream, enum stream_end why)
{
    if (stream != NULL) {
        stream->type->close(stream, why);
    }
}

void stream_flush(struct stream *stream)
{
    if (stream != NULL) {
        stream->type->flush(stream);
    }
}

bool stream_is_open(const struct stream *stream, int index)
{
    return stream != NULL && stream->type->is_open(stream, index);
}
