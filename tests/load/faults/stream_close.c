/*
 * Fault: one file descriptor is left open each time that a stream is rotated.
 * See ../test_smoke_can_fail.sh; linked in place of stream_close().
 */
#include <fcntl.h>

#include "capture/stream.h"

void __real_stream_close(struct stream *stream, enum stream_end why);
void __wrap_stream_close(struct stream *stream, enum stream_end why);

void __wrap_stream_close(struct stream *stream, enum stream_end why)
{
    if (why == STREAM_ROTATED) {
        (void)open("/dev/null", O_RDONLY | O_CLOEXEC);
    }
    __real_stream_close(stream, why);
}
