/*
 * One mutable global, the log's level and format, kept in atomics. Control bytes in a message
 * are escaped: container names and daemon answers appear in it and must not steer a terminal.
 */
#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/timestamp.h"

static _Atomic int current_level = LOG_LEVEL_INFO;
static _Atomic int current_format = LOG_FORMAT_TEXT;

static const char *const level_names[] = {"debug", "info", "warn", "error"};

void log_configure(enum log_level level, enum log_format format)
{
    atomic_store(&current_level, (int)level);
    atomic_store(&current_format, (int)format);
}

bool log_enabled(enum log_level level)
{
    return (int)level >= atomic_load(&current_level);
}

/* Both leave a line cut where the fixed buffer ends. */
static int append_text_line(struct buf *line, const char *stamp, const char *level,
                            const char *message)
{
    int rc = buf_printf(line, "%s %-5s ", stamp, level);
    for (const char *p = message; rc == 0 && *p != '\0'; p++) {
        unsigned char byte = (unsigned char)*p;
        /* Also U+0080 to U+009F, which begin with C2 and which terminals obey. */
        bool c1 = (byte == 0xc2 && (unsigned char)p[1] < 0xa0) ||
                  (byte >= 0x80 && byte < 0xa0 && p > message && (unsigned char)p[-1] == 0xc2);
        bool control = byte < 0x20 || byte == 0x7f || c1;
        rc = control ? buf_printf(line, "\\x%02x", (unsigned)(unsigned char)*p)
                     : buf_append(line, p, 1);
    }
    return rc != 0 ? rc : buf_append_str(line, "\n");
}

static int append_json_line(struct buf *line, const char *stamp, const char *level,
                            const char *message)
{
    struct json_writer writer;
    json_writer_init(&writer, line);
    json_open(&writer, NULL, '{');
    json_put_string(&writer, "time", stamp);
    json_put_string(&writer, "level", level);
    json_put_string(&writer, "message", message);
    json_close(&writer, '}');
    return writer.rc != 0 ? writer.rc : buf_append_str(line, "\n");
}

void log_write(enum log_level level, const char *format, ...)
{
    if (!log_enabled(level)) {
        return;
    }
    char message[1024];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(message, sizeof(message), format, args);
    va_end(args);

    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    char stamp[TIMESTAMP_TEXT_SIZE];
    timestamp_format((int64_t)now.tv_sec * 1000000000 + now.tv_nsec, 3, stamp);

    char storage[8192]; /* a message of 1,024 bytes, each escaped as \u00xx, and the rest */
    struct buf line;
    buf_init_fixed(&line, storage, sizeof(storage));
    bool json = atomic_load(&current_format) == LOG_FORMAT_JSON;
    int rc = json ? append_json_line(&line, stamp, level_names[level], message)
                  : append_text_line(&line, stamp, level_names[level], message);
    if (rc == 0 && write(STDERR_FILENO, line.data, line.size) < 0) {
        return; /* nobody is left to tell */
    }
}
