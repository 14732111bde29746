/*
 * The usual case is a chunk that holds whole frames: they are handed on in place. Only a frame
 * that crosses a chunk boundary is collected.
 *
 * A timestamp costs more than the rest, so the text of the last second is kept and compared; only
 * the fraction is parsed for the lines within a second.
 */
#include "process/frames.h"

#include <errno.h>
#include <string.h>

#include "base/record.h"
#include "base/timestamp.h"

#define DAEMON_ERROR_STREAM 3
#define PIECE_BYTES 16384 /* dockerd's daemon/logger/copier.go, defaultBufSize */
#define STAMP_LIMIT 64

void frames_init(struct frames *frames, const struct frames_options *options)
{
    *frames = (struct frames){.options = *options};
    buf_init(&frames->body, 0);
}

void frames_finish(struct frames *frames)
{
    buf_finish(&frames->body);
}

bool frames_is_inside(const struct frames *frames)
{
    return frames->header_size > 0 || frames->left > 0 || frames->body.size > 0;
}

/* Takes `<RFC 3339> ` at the start; returns its bytes, 0 when there is none. */
static size_t take_time(struct frames *frames, const char *bytes, size_t size, int64_t *ret_ns)
{
    /* `....-..-..T..:..:...........Z ` is dockerd's fixed form. */
    if (size >= 31 && frames->second_text[0] != '\0' && bytes[29] == 'Z' && bytes[30] == ' ' &&
        bytes[19] == '.' && memcmp(bytes, frames->second_text, 19) == 0) {
        int64_t fraction = 0;
        for (int i = 20; i < 29; i++) {
            unsigned digit = (unsigned)((unsigned char)bytes[i]) - '0';
            if (digit > 9) {
                return 0;
            }
            fraction = fraction * 10 + (int64_t)digit;
        }
        *ret_ns = frames->second_ns + fraction;
        return 31;
    }
    const char *space = memchr(bytes, ' ', size < STAMP_LIMIT ? size : STAMP_LIMIT);
    if (space == NULL) {
        return 0;
    }
    size_t length = (size_t)(space - bytes);
    int64_t time_ns;
    if (timestamp_parse(bytes, length, &time_ns) != (int)length) {
        return 0;
    }
    *ret_ns = time_ns;
    if (length == 30 && bytes[29] == 'Z' && bytes[19] == '.') {
        memcpy(frames->second_text, bytes, 19);
        frames->second_ns = time_ns - time_ns % NS_PER_SECOND;
        if (time_ns < 0) {
            frames->second_text[0] = '\0'; /* before 1970 the remainder is not the fraction */
        }
    }
    return length + 1;
}

/* One piece with its timestamp still before it. */
static void give_piece(struct frames *frames, uint8_t stream, const char *bytes, size_t size)
{
    int64_t time_ns = frames->last_time_ns[stream];
    size_t stamp = take_time(frames, bytes, size, &time_ns);
    frames->without_time += stamp == 0;
    frames->last_time_ns[stream] = time_ns;
    frames->options.on_piece(stream, time_ns, bytes + stamp, size - stamp, frames->options.data);
}

static void give_frame(struct frames *frames, uint8_t stream, const char *bytes, size_t size)
{
    if (size == 0) {
        return; /* no timestamp, so no line */
    }
    if (stream == DAEMON_ERROR_STREAM) {
        frames->options.on_daemon_error(bytes, size, frames->options.data);
    } else {
        give_piece(frames, stream == RECORD_STDERR ? RECORD_STDERR : RECORD_STDOUT, bytes, size);
    }
}

/* ---- multiplexed ---- */

static int check_header(const struct frames *frames, struct error *error)
{
    const unsigned char *h = frames->header;
    if (h[0] <= DAEMON_ERROR_STREAM && h[1] == 0 && h[2] == 0 && h[3] == 0) {
        return 0;
    }
    error_set(error,
              "the log stream is not multiplexed as Docker does it: frame header %02x %02x %02x "
              "%02x",
              h[0], h[1], h[2], h[3]);
    return -EPROTO;
}

/* Takes body bytes of a frame that is not whole; returns how many, or -ENOMEM. */
static int64_t collect_body(struct frames *frames, const char *bytes, size_t size)
{
    size_t take = frames->left < size ? (size_t)frames->left : size;
    size_t room = frames->options.limit_bytes > frames->body.size
                      ? frames->options.limit_bytes - frames->body.size
                      : 0;
    if (buf_append(&frames->body, bytes, take < room ? take : room) != 0) {
        return -ENOMEM;
    }
    frames->left -= take;
    if (frames->left == 0) {
        give_frame(frames, frames->header[0], frames->body.data, frames->body.size);
        buf_finish(&frames->body);
        frames->header_size = 0;
    }
    return (int64_t)take;
}

static int feed_multiplexed(struct frames *frames, const char *bytes, size_t size,
                            struct error *error)
{
    size_t at = 0;
    while (at < size) {
        if (frames->header_size < sizeof(frames->header)) {
            size_t need = sizeof(frames->header) - frames->header_size;
            size_t take = need < size - at ? need : size - at;
            memcpy(frames->header + frames->header_size, bytes + at, take);
            frames->header_size += take;
            at += take;
            if (take < need) {
                return 0;
            }
            int rc = check_header(frames, error);
            if (rc != 0) {
                return rc;
            }
            const unsigned char *h = frames->header;
            frames->left = (uint64_t)h[4] << 24 | (uint64_t)h[5] << 16 | (uint64_t)h[6] << 8 | h[7];
        }
        bool whole = frames->body.size == 0 && frames->left <= size - at &&
                     frames->left <= frames->options.limit_bytes;
        if (whole) {
            size_t length = (size_t)frames->left;
            frames->left = 0;
            frames->header_size = 0;
            give_frame(frames, frames->header[0], bytes + at, length);
            at += length;
            continue;
        }
        int64_t taken = collect_body(frames, bytes + at, size - at);
        if (taken < 0) {
            error_set(error, "out of memory for a frame of a log");
            return (int)taken;
        }
        at += (size_t)taken;
    }
    return 0;
}

/* ---- TTY ---- */

/* A line that ended, or the last one. Where its timestamp comes again behind 16,384 bytes or more,
 * the daemon cut it into pieces. */
static void give_tty_line(struct frames *frames)
{
    char *bytes = frames->body.data;
    size_t size = frames->body.size;
    if (size >= 2 && bytes[size - 1] == '\n' && bytes[size - 2] == '\r') {
        /* The terminal's line discipline made "\r\n" of the container's "\n". */
        bytes[--size - 1] = '\n';
    }
    const char *space = memchr(bytes, ' ', size < STAMP_LIMIT ? size : STAMP_LIMIT);
    size_t stamp = space == NULL ? 0 : (size_t)(space - bytes) + 1;
    size_t from = 0;
    while (stamp > 0 && size - from > stamp + PIECE_BYTES) {
        size_t after = from + stamp + PIECE_BYTES;
        const char *again = memmem(bytes + after, size - after, bytes, stamp);
        if (again == NULL) {
            break;
        }
        give_piece(frames, RECORD_STDOUT, bytes + from, (size_t)(again - bytes) - from);
        from = (size_t)(again - bytes);
    }
    give_piece(frames, RECORD_STDOUT, bytes + from, size - from);
    buf_clear(&frames->body);
}

static int feed_tty(struct frames *frames, const char *bytes, size_t size, struct error *error)
{
    while (size > 0) {
        const char *end = memchr(bytes, '\n', size);
        size_t length = end == NULL ? size : (size_t)(end - bytes) + 1;
        size_t limit = frames->options.limit_bytes;
        size_t room = limit > frames->body.size ? limit - frames->body.size : 0;
        if (buf_append(&frames->body, bytes, length < room ? length : room) != 0) {
            error_set(error, "out of memory for a line of a log");
            return -ENOMEM;
        }
        if (end != NULL) {
            frames->body.data[frames->body.size - 1] = '\n'; /* also where it was cut */
            give_tty_line(frames);
        }
        bytes += length;
        size -= length;
    }
    return 0;
}

int frames_feed(struct frames *frames, const char *bytes, size_t size, struct error *error)
{
    return frames->options.tty ? feed_tty(frames, bytes, size, error)
                               : feed_multiplexed(frames, bytes, size, error);
}

void frames_end(struct frames *frames)
{
    if (frames->options.tty && frames->body.size > 0) {
        give_tty_line(frames);
    }
}
