/*
 * Which logs can't be read, and which are rotated faster than they may be read. The daemon is asked
 * for both: a driver that can't be read answers 501, and the present rate is measured over the last
 * lines. Behind the API a reader that lags by more than one rotation loses lines, and after a stop
 * only what the rotated files still hold is left.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/doctor.h"
#include "agent/table.h"
#include "base/str.h"
#include "base/timestamp.h"

#define INSPECT_LIMIT 500
#define RATE_LINES "1000"
#define RATE_LIMIT_BYTES (16U * 1024U * 1024U)
#define CALL_LIMIT_NS (10 * NS_PER_SECOND)
#define LINE_OVERHEAD 35   /* bytes that json-file adds to a line beyond what the API does */
#define LEAST_FILE_S 10.0  /* time in which one file may be filled */
#define LEAST_KEPT_S 120.0 /* time over which the rotated files should reach back */
#define NAMES_SHOWN 6

/* Containers with the same fault: how many, and the first few by name. */
struct names {
    char text[384];
    size_t count;
};

struct survey {
    struct doctor *doctor;
    struct client *client;
    const char *daemon;
    struct names unreadable, unbounded, single, compressed;
    size_t fast; /* those with findings of their own */
    size_t running, readable;
};

static void add_name(struct names *names, const char *name, const char *detail)
{
    size_t used = strlen(names->text);
    if (names->count < NAMES_SHOWN) {
        (void)snprintf(names->text + used, sizeof(names->text) - used, "%s%s%s%s%s",
                       names->count > 0 ? ", " : "", name, detail != NULL ? " (" : "",
                       detail != NULL ? detail : "", detail != NULL ? ")" : "");
    } else if (names->count == NAMES_SHOWN) {
        (void)snprintf(names->text + used, sizeof(names->text) - used, " ...");
    }
    names->count++;
}

/* ---- one container ---- */

struct log_setup {
    const char *name;
    const char *id;
    const char *driver;
    double max_size; /* bytes; 0: none */
    uint64_t max_file;
};

static int call(struct survey *survey, const struct log_setup *setup, const char *query,
                struct client_answer *ret_answer)
{
    char path[160];
    (void)snprintf(path, sizeof(path), "/containers/%s/%s", setup->id, query);
    struct client_request request = {path, CALL_LIMIT_NS, RATE_LIMIT_BYTES};
    return client_call(survey->client, &request, ret_answer);
}

/* 64m and 1g as Docker reads them: powers of 1024. */
static double parse_docker_size(const char *text)
{
    char digits[24];
    uint64_t value;
    if (text == NULL) {
        return 0;
    }
    size_t size = strspn(text, "0123456789");
    (void)str_copy(digits, sizeof(digits), text);
    digits[size < sizeof(digits) ? size : sizeof(digits) - 1] = '\0';
    if (size == 0 || str_parse_u64(digits, &value) != 0) {
        return 0;
    }
    switch (text[size] | 0x20) {
    case 'k':
        return (double)value * 1024;
    case 'm':
        return (double)value * 1024 * 1024;
    case 'g':
        return (double)value * 1024 * 1024 * 1024;
    default:
        return (double)value;
    }
}

/* Time of the first line of an answer with timestamps; false when there is none. */
static bool first_time(const char *body, size_t size, int64_t *ret_ns)
{
    size_t header = size > 8 && body[0] <= 2 && body[1] == 0 && body[2] == 0 ? 8 : 0;
    return size > header && timestamp_parse(body + header, size - header, ret_ns) > 0;
}

/* Bytes a second that its log grows by on disk, over the last lines; 0: not known. */
static double measure_rate(struct survey *survey, const struct log_setup *setup)
{
    struct client_answer answer;
    struct timespec now;
    int64_t first_ns;
    double rate = 0;
    int rc = call(survey, setup, "logs?stdout=1&stderr=1&timestamps=1&tail=" RATE_LINES, &answer);
    (void)clock_gettime(CLOCK_REALTIME, &now);
    if (rc == 0 && answer.status == 200 && first_time(answer.body, answer.body_bytes, &first_ns)) {
        double lines = 0;
        for (size_t i = 0; i < answer.body_bytes; i++) {
            lines += answer.body[i] == '\n';
        }
        double seconds = (double)now.tv_sec + (double)now.tv_nsec / 1e9 - (double)first_ns / 1e9;
        rate = ((double)answer.body_bytes + lines * LINE_OVERHEAD) /
               (seconds > 0.1 ? seconds : 0.1);
    }
    free(answer.body);
    return rate;
}

/* Whether the daemon gives the log at all. */
static bool is_readable(struct survey *survey, const struct log_setup *setup)
{
    struct client_answer answer;
    if (strcmp(setup->driver, "json-file") == 0 || strcmp(setup->driver, "local") == 0 ||
        strcmp(setup->driver, "journald") == 0) {
        return true;
    }
    int rc = call(survey, setup, "logs?stdout=1&tail=1", &answer);
    free(answer.body);
    return rc != 0 || answer.status < 500;
}

static void check_rate(struct survey *survey, const struct log_setup *setup)
{
    struct doctor_topic topic = {"rotation", survey->daemon};
    char size[TABLE_TEXT_SIZE];
    char speed[TABLE_TEXT_SIZE];
    char wanted[TABLE_TEXT_SIZE];
    double rate = measure_rate(survey, setup);
    double file_s = rate > 0 ? setup->max_size / rate : 1e9;
    double kept_s = file_s * (double)(setup->max_file > 1 ? setup->max_file - 1 : 0);
    bool bad = file_s < LEAST_FILE_S;
    if (!bad && (kept_s >= LEAST_KEPT_S || setup->max_file <= 1)) {
        return;
    }
    survey->fast++;
    doctor_add(survey->doctor, bad ? DOCTOR_BAD : DOCTOR_WARN, &topic,
               "%s: max-size=%s is full after %.1f s at the present %s/s; its %" PRIu64
               " files reach back %.0f s",
               setup->name, human_bytes((int64_t)setup->max_size, size), file_s,
               human_bytes((int64_t)rate, speed), setup->max_file, kept_s);
    doctor_mend(survey->doctor,
                "a reader that falls behind, or an agent that is restarted, loses lines: max-size "
                "of %s or more, max-file=3 (docker run --log-opt; compose: logging.options)",
                human_bytes((int64_t)(rate * LEAST_KEPT_S / 2) + 1048576, wanted));
}

static void check_rotation(struct survey *survey, const struct log_setup *setup, bool compresses)
{
    bool json_file = strcmp(setup->driver, "json-file") == 0;
    if (json_file && setup->max_size == 0) {
        add_name(&survey->unbounded, setup->name, NULL);
        return;
    }
    if (!json_file && strcmp(setup->driver, "local") != 0) {
        return;
    }
    if (setup->max_file <= 1) {
        add_name(&survey->single, setup->name, NULL);
    }
    if (json_file && compresses) {
        add_name(&survey->compressed, setup->name, NULL);
    }
    check_rate(survey, setup);
}

static void check_container(struct survey *survey, const struct json *container,
                            const struct json *inspected)
{
    const struct json *logging = json_get(json_get(inspected, "HostConfig"), "LogConfig");
    const struct json *options = json_get(logging, "Config");
    const char *name = json_get_string(inspected, "Name");
    const char *driver = json_get_string(logging, "Type");
    const char *files = json_get_string(options, "max-file");
    const char *compress = json_get_string(options, "compress");
    const char *state = json_get_string(container, "State");
    bool running = state != NULL && strcmp(state, "running") == 0;
    bool local = driver != NULL && strcmp(driver, "local") == 0;
    struct log_setup setup = {.name = name != NULL && name[0] == '/' ? name + 1 : "?",
                              .id = json_get_string(container, "Id"),
                              .driver = driver != NULL && driver[0] != '\0' ? driver : "json-file",
                              .max_size = parse_docker_size(json_get_string(options, "max-size")),
                              .max_file = local ? 5 : 1};
    if (files != NULL && str_parse_u64(files, &setup.max_file) != 0) {
        setup.max_file = 1;
    }
    if (local && setup.max_size == 0) {
        setup.max_size = 20.0 * 1024 * 1024;
    }
    if (!is_readable(survey, &setup)) {
        add_name(&survey->unreadable, setup.name, setup.driver);
        return;
    }
    survey->readable++;
    if (running) {
        check_rotation(survey, &setup, compress != NULL && strcmp(compress, "true") == 0);
    }
}

/* ---- all of them ---- */

static void look_at(struct survey *survey, const struct json *container)
{
    char path[160];
    struct client_answer answer;
    const char *id = json_get_string(container, "Id");
    if (id == NULL || strlen(id) > 80) {
        return;
    }
    (void)snprintf(path, sizeof(path), "/containers/%s/json", id);
    struct json *inspected = doctor_get(survey->client, path, &answer);
    if (inspected != NULL) { /* else it went meanwhile */
        check_container(survey, container, inspected);
    }
    json_destroy(inspected);
}

static void report_drivers(struct survey *survey)
{
    struct doctor *doctor = survey->doctor;
    struct doctor_topic topic = {"log drivers", survey->daemon};
    if (survey->unreadable.count == 0) {
        doctor_add(doctor, DOCTOR_OK, &topic, "all %zu logs can be read", survey->readable);
        return;
    }
    doctor_add(doctor, DOCTOR_BAD, &topic, "%zu logs can't be read: %s", survey->unreadable.count,
               survey->unreadable.text);
    doctor_mend(doctor, "run them with --log-driver json-file or local; with another driver since "
                        "Docker 20.10, without cache-disabled=true");
}

static void report_rotation(struct survey *survey)
{
    struct doctor *doctor = survey->doctor;
    struct doctor_topic topic = {"rotation", survey->daemon};
    if (survey->unbounded.count > 0) {
        doctor_add(doctor, DOCTOR_WARN, &topic, "%zu json-file logs grow without limit: %s",
                   survey->unbounded.count, survey->unbounded.text);
        doctor_mend(doctor, "they fill the disk: in /etc/docker/daemon.json \"log-opts\": "
                            "{\"max-size\": \"50m\", \"max-file\": \"3\"}, then make the "
                            "containers anew");
    }
    if (survey->single.count > 0) {
        doctor_add(doctor, DOCTOR_WARN, &topic,
                   "%zu logs have max-file=1 and are emptied when they are full: %s",
                   survey->single.count, survey->single.text);
        doctor_mend(doctor, "what was not read until then is lost: max-file=3");
    }
    if (survey->compressed.count > 0) {
        doctor_add(doctor, DOCTOR_WARN, &topic, "%zu json-file logs are compressed: %s",
                   survey->compressed.count, survey->compressed.text);
        doctor_mend(doctor, "dockerd decompresses all of them whenever a log is asked for: "
                            "compress=false");
    }
    if (survey->unbounded.count + survey->single.count + survey->compressed.count + survey->fast ==
        0) {
        doctor_add(doctor, DOCTOR_OK, &topic, "fits the present rates");
    }
}

void doctor_check_containers(struct doctor *doctor, struct client *client, const char *daemon,
                             const struct json *list)
{
    struct survey survey = {.doctor = doctor, .client = client, .daemon = daemon};
    struct doctor_topic topic = {"containers", daemon};
    size_t count = 0;
    for (const struct json *at = json_first(list); at != NULL; at = json_next(at)) {
        const char *state = json_get_string(at, "State");
        survey.running += state != NULL && strcmp(state, "running") == 0;
        if (count++ < INSPECT_LIMIT) {
            look_at(&survey, at);
        }
    }
    doctor->streams += survey.running;
    doctor_add(doctor, DOCTOR_OK, &topic, "%zu, of which %zu run%s", count, survey.running,
               count > INSPECT_LIMIT ? "; the first 500 were looked at" : "");
    report_drivers(&survey);
    report_rotation(&survey);
}
