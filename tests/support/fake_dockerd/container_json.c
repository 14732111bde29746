/* The members that clients read, in the order and with the odd corners of the real answers. */
#include <stdio.h>
#include <string.h>

#include "fake_dockerd/container.h"

#define SECOND_NS 1000000000
#define IMAGE_ID "sha256:d36785dcc03a17a307bfefe9b2943a511e70de2a953f261a03047f0fe73f6733"

/* Year, month and day of a day counted from 1970, by the 400-year cycle that begins in March.
 * gmtime and strftime cost more than all else that a log line takes. */
static void civil_date(int64_t day, unsigned *ret_year, unsigned *ret_month, unsigned *ret_day)
{
    uint64_t shifted = (uint64_t)(day + 719468);
    uint64_t era = shifted / 146097;
    uint64_t of_era = shifted % 146097;
    uint64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    uint64_t of_year = of_era - (365 * year + year / 4 - year / 100);
    uint64_t march_month = (5 * of_year + 2) / 153;
    *ret_day = (unsigned)(of_year - (153 * march_month + 2) / 5 + 1);
    *ret_month = (unsigned)(march_month < 10 ? march_month + 3 : march_month - 9);
    *ret_year = (unsigned)(year + era * 400 + (*ret_month <= 2));
}

static char *put_digits(char *out, uint64_t value, size_t count, char after)
{
    for (size_t i = count; i > 0; i--, value /= 10) {
        out[i - 1] = (char)('0' + value % 10);
    }
    out[count] = after;
    return out + count + 1;
}

void fake_format_time(int64_t time_ns, char out[FAKE_TIME_LEN + 1])
{
    uint64_t time = time_ns > 0 ? (uint64_t)time_ns : 0;
    uint64_t second = time / SECOND_NS % 86400;
    unsigned year;
    unsigned month;
    unsigned day;
    civil_date((int64_t)(time / SECOND_NS / 86400), &year, &month, &day);
    out = put_digits(out, year, 4, '-');
    out = put_digits(out, month, 2, '-');
    out = put_digits(out, day, 2, 'T');
    out = put_digits(out, second / 3600, 2, ':');
    out = put_digits(out, second / 60 % 60, 2, ':');
    out = put_digits(out, second % 60, 2, '.');
    out = put_digits(out, time % SECOND_NS, 9, 'Z');
    *out = '\0';
}

static void put_string(struct fake_text *out, const char *key, const char *value)
{
    fake_text_printf(out, ",\"%s\":", key);
    fake_text_json(out, value, strlen(value));
}

static void put_time(struct fake_text *out, const char *key, int64_t time_ns)
{
    char text[FAKE_TIME_LEN + 1];
    if (time_ns == 0) {
        put_string(out, key, "0001-01-01T00:00:00Z");
    } else {
        fake_format_time(time_ns, text);
        put_string(out, key, text);
    }
}

static void put_name(struct fake_text *out, const struct fake_container *container)
{
    char name[FAKE_CONTAINER_NAME_MAX + 2];
    snprintf(name, sizeof name, "/%s", container->name);
    fake_text_json(out, name, strlen(name));
}

static const char *status_text(const struct fake_container *container, char *buf, size_t size)
{
    switch (container->state) {
    case FAKE_CREATED:
        return "Created";
    case FAKE_RUNNING:
        return "Up 5 minutes";
    case FAKE_PAUSED:
        return "Up 5 minutes (Paused)";
    default:
        snprintf(buf, size, "Exited (%d) 5 seconds ago", container->exit_code);
        return buf;
    }
}

void fake_container_list_json(const struct fake_container *container, struct fake_text *out)
{
    char buf[64];
    fake_text_printf(out, "{\"Id\":\"%s\",\"Names\":[", container->id);
    put_name(out, container);
    fake_text_put(out, "]");
    put_string(out, "Image", container->image);
    put_string(out, "ImageID", IMAGE_ID);
    put_string(out, "Command", "/loggen");
    fake_text_printf(out, ",\"Created\":%lld,\"Ports\":[],\"Labels\":{%s}",
                     (long long)(container->created_ns / SECOND_NS), container->labels);
    put_string(out, "State", fake_container_state_name(container));
    put_string(out, "Status", status_text(container, buf, sizeof buf));
    fake_text_put(out, ",\"HostConfig\":{\"NetworkMode\":\"default\"},"
                       "\"NetworkSettings\":{\"Networks\":{}},\"Mounts\":[]}");
}

static const char *json_bool(bool value)
{
    return value ? "true" : "false";
}

static void put_state(struct fake_text *out, const struct fake_container *container)
{
    bool runs = fake_container_runs(container);
    fake_text_put(out, ",\"State\":{\"Status\":");
    const char *name = fake_container_state_name(container);
    fake_text_json(out, name, strlen(name));
    fake_text_printf(out,
                     ",\"Running\":%s,\"Paused\":%s,\"Restarting\":false,\"OOMKilled\":false,"
                     "\"Dead\":false,\"Pid\":%llu,\"ExitCode\":%d,\"Error\":\"\"",
                     json_bool(runs), json_bool(container->state == FAKE_PAUSED),
                     runs ? 100000ULL + container->index : 0ULL, container->exit_code);
    put_time(out, "StartedAt", container->started_ns);
    put_time(out, "FinishedAt", container->finished_ns);
    fake_text_put(out, "}");
}

void fake_container_inspect_json(const struct fake_container *container, struct fake_text *out)
{
    fake_text_printf(out, "{\"Id\":\"%s\"", container->id);
    put_time(out, "Created", container->created_ns);
    put_string(out, "Path", "/loggen");
    fake_text_put(out, ",\"Args\":[]");
    put_state(out, container);
    put_string(out, "Image", IMAGE_ID);
    put_string(out, "LogPath", "");
    fake_text_put(out, ",\"Name\":");
    put_name(out, container);
    fake_text_printf(out, ",\"RestartCount\":%d", container->restart_count);
    fake_text_put(out, ",\"Driver\":\"overlay2\",\"Platform\":\"linux\",\"ExecIDs\":null,"
                       "\"HostConfig\":{\"Binds\":null,\"LogConfig\":{\"Type\":");
    fake_text_json(out, container->log_driver, strlen(container->log_driver));
    fake_text_put(out, ",\"Config\":{}},\"NetworkMode\":\"default\","
                       "\"RestartPolicy\":{\"Name\":\"no\",\"MaximumRetryCount\":0},"
                       "\"AutoRemove\":false},\"Mounts\":[],\"Config\":{");
    fake_text_printf(out, "\"Hostname\":\"%.12s\",\"Tty\":%s,\"Env\":null,\"Cmd\":[\"/loggen\"]",
                     container->id, json_bool(container->tty));
    put_string(out, "Image", container->image);
    fake_text_printf(out, ",\"Labels\":{%s}},\"NetworkSettings\":{\"Networks\":{}}}",
                     container->labels);
}
