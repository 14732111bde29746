/*
 * What the Loki sink puts on the wire, read again by push_request, which knows the formats and none of
 * the sink's code.
 */
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/metrics.h"
#include "push_request/push_request.h"
#include "sinks/loki_encode.h"
#include "sinks/loki_sink.h"

#define MIB ((size_t)1024 * 1024)

static const int64_t times[] = {0,          1,           -1,
                                -999999999, -1000000000, -1000000001,
                                999999999,  1000000000,  INT64_C(1790000000123456789),
                                INT64_MAX,  INT64_MIN};
#define TIMES (sizeof(times) / sizeof(times[0]))

/* ---- the encoder alone ---- */

struct expected {
    const struct loki_request *request;
    size_t stream, entry; /* where the reading is */
    size_t read;
    size_t stream_seen;
};

static bool has_entries(const struct loki_request *request, size_t stream)
{
    for (size_t i = 0; i < request->entry_count; i++) {
        if (request->entries[i].stream == stream) {
            return true;
        }
    }
    return false;
}

static void next_stream(struct expected *expected)
{
    expected->entry = 0;
    while (!has_entries(expected->request, expected->stream)) {
        expected->stream++;
    }
}

static int64_t floor_seconds(int64_t time_ns)
{
    int64_t seconds = time_ns / 1000000000;
    return time_ns % 1000000000 < 0 ? seconds - 1 : seconds;
}

static int compare_entry(const struct push_entry *entry, void *data)
{
    struct expected *expected = data;
    const struct loki_request *request = expected->request;
    if (expected->read == 0) {
        next_stream(expected);
    } else if (entry->stream != expected->stream_seen) {
        expected->stream++;
        next_stream(expected);
    }
    expected->stream_seen = entry->stream;
    while (request->entries[expected->entry].stream != expected->stream) {
        expected->entry++;
        assert_true(expected->entry < request->entry_count);
    }
    const struct loki_stream *stream = &request->streams[expected->stream];
    const struct loki_entry *wanted = &request->entries[expected->entry++];
    assert_int_equal(entry->labels.len, strlen(stream->labels));
    assert_memory_equal(entry->labels.data, stream->labels, entry->labels.len);
    assert_int_equal(entry->seconds, floor_seconds(wanted->time_ns));
    assert_int_equal(entry->nanos, (wanted->time_ns % 1000000000 + 1000000000) % 1000000000);
    assert_int_equal(entry->line.len, wanted->line_bytes);
    if (wanted->line_bytes > 0) {
        assert_memory_equal(entry->line.data, wanted->line, wanted->line_bytes);
    }
    assert_int_equal(entry->metadata_count > 0, stream->metadata_bytes > 0);
    expected->read++;
    return 0;
}

static void check_request(const struct loki_request *request, const char *before)
{
    struct loki_encoder encoder;
    struct buf out;
    buf_init(&out, 0);
    loki_encoder_init(&encoder);
    for (int round = 0; round < 2; round++) { /* the scratch memory is used again */
        buf_clear(&out);
        assert_int_equal(buf_append_str(&out, before), 0);
        assert_int_equal(loki_encode(&encoder, request, &out), 0);
        struct expected expected = {.request = request};
        size_t size = strlen(before);
        assert_memory_equal(out.data == NULL ? "" : out.data, before, size);
        assert_int_equal(push_request_read(out.data == NULL ? NULL : out.data + size,
                                           out.size - size, compare_entry, &expected),
                         0);
        assert_int_equal(expected.read, request->entry_count);
    }
    loki_encoder_finish(&encoder);
    buf_finish(&out);
}

static void timestamps_of_all_kinds_are_kept(void **state)
{
    (void)state;
    struct loki_stream stream = {"{a=\"b\"}", NULL, 0};
    struct loki_entry entries[TIMES];
    for (size_t i = 0; i < TIMES; i++) {
        entries[i] = (struct loki_entry){0, times[i], "line", 4};
    }
    check_request(&(struct loki_request){&stream, 1, entries, TIMES}, "");
}

static void lines_of_any_bytes_are_kept(void **state)
{
    (void)state;
    char *big = malloc(MIB + 1);
    char all[256];
    assert_non_null(big);
    for (size_t i = 0; i < MIB + 1; i++) {
        big[i] = (char)(i * 7 + i / 251);
    }
    for (size_t i = 0; i < sizeof(all); i++) {
        all[i] = (char)i;
    }
    const struct loki_stream stream = {"{a=\"b\"}", NULL, 0};
    const struct loki_entry entries[] = {
        {0, 1, "", 0},        {0, 1, NULL, 0},           {0, 2, "\0", 1},      {0, 2, "a\0b", 3},
        {0, 3, all, 256},     {0, 4, "\xff\xfe\xc3", 3}, {0, 5, big, 127},     {0, 5, big, 128},
        {0, 5, big, 16383},   {0, 5, big, 16384},        {0, 6, big, MIB - 1}, {0, 6, big, MIB},
        {0, 6, big, MIB + 1}, {0, 7, "\n\r\t\\\"", 5}};
    check_request(&(struct loki_request){&stream, 1, entries, sizeof(entries) / sizeof(entries[0])},
                  "");
    free(big);
}

static void entries_of_a_thousand_streams_stay_in_order(void **state)
{
    (void)state;
    enum { STREAMS = 1000, ENTRIES = 20000 };
    static char labels[STREAMS][32];
    static char lines[ENTRIES][16];
    static struct loki_stream streams[STREAMS];
    static struct loki_entry entries[ENTRIES];
    struct buf metadata;
    uint32_t noise = 1;
    buf_init(&metadata, 0);
    assert_int_equal(loki_append_metadata(&metadata, "container_id", "0123"), 0);
    for (size_t i = 0; i < STREAMS; i++) {
        (void)snprintf(labels[i], sizeof(labels[i]), "{n=\"%zu\"}", i);
        bool with = i % 3 == 0;
        streams[i] = (struct loki_stream){labels[i], with ? metadata.data : NULL,
                                          with ? metadata.size : 0};
    }
    for (size_t i = 0; i < ENTRIES; i++) {
        noise = noise * 1664525U + 1013904223U;
        size_t stream = (noise >> 8) % STREAMS;
        stream = stream % 10 == 9 ? 0 : stream; /* some streams have no entries */
        int size = snprintf(lines[i], sizeof(lines[i]), "line %zu", i);
        entries[i] = (struct loki_entry){stream, (int64_t)i, lines[i], (size_t)size};
    }
    check_request(&(struct loki_request){streams, STREAMS, entries, ENTRIES}, "");
    check_request(&(struct loki_request){streams, STREAMS, entries, 1}, "what was there");
    buf_finish(&metadata);
}

static void a_request_without_entries_is_empty(void **state)
{
    (void)state;
    struct loki_stream streams[3] = {{"{a=\"b\"}", NULL, 0}, {"{a=\"c\"}", NULL, 0}, {0}};
    struct expected expected = {0};
    struct loki_encoder encoder;
    struct buf out;
    buf_init(&out, 0);
    loki_encoder_init(&encoder);
    assert_int_equal(loki_encode(&encoder, &(struct loki_request){streams, 2, NULL, 0}, &out), 0);
    assert_int_equal(out.size, 0);
    assert_int_equal(push_request_read(out.data, out.size, compare_entry, &expected), 0);
    loki_encoder_finish(&encoder);
    buf_finish(&out);
}

/* ---- label text ---- */

struct one_label {
    const char *name, *value;
    size_t count;
};

static int compare_label(const struct push_label *label, void *data)
{
    struct one_label *wanted = data;
    wanted->count++;
    if (strcmp(label->name, wanted->name) == 0) {
        assert_string_equal(label->value, wanted->value);
    }
    return 0;
}

static void check_label(const char *value, const char *wanted)
{
    struct one_label label = {"name", wanted, 0};
    struct buf out;
    buf_init(&out, 0);
    assert_int_equal(buf_append_str(&out, "{"), 0);
    assert_int_equal(loki_append_label(&out, "first", "1"), 0);
    assert_int_equal(loki_append_label(&out, "name", value), 0);
    assert_int_equal(buf_append_str(&out, "}"), 0);
    int rc = push_labels_read((struct push_text){out.data, out.size}, compare_label, &label);
    if (rc != 0 || label.count != 2) {
        fail_msg("not two labels: %.*s", (int)out.size, out.data);
    }
    buf_finish(&out);
}

static void label_values_come_back_as_they_were(void **state)
{
    (void)state;
    static const char *const values[] = {"",           "plain",
                                         "\"",         "\\",
                                         "\\n",        "a\nb",
                                         "\"}, {x=\"", "tab\tand\rreturn",
                                         "\xc3\xa4",   "\xf0\x9f\x90\xb3",
                                         "`backquote'"};
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        check_label(values[i], values[i]);
    }
    check_label("a\xff"
                "b",
                "a\xef\xbf\xbd"
                "b");
    check_label("\xc3", "\xef\xbf\xbd");
    check_label("\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"); /* a surrogate */
    check_label("\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd");                 /* overlong */
}

/* ---- the sink's own: labels, metadata, the limit, verdicts ---- */

struct bench {
    struct metrics *metrics;
    struct sink_settings *settings;
    void *sink;
    struct sink_origins origins;
};

static void set(struct bench *bench, const char *path, const char *value)
{
    struct error error = {""};
    void *object;
    const struct option_row *row = sink_settings_find(bench->settings, path, &object);
    assert_non_null(row);
    if (option_set(object, row, value, &error) != 0) {
        fail_msg("%s: %s", path, error.text);
    }
}

static void bench_begin(struct bench *bench)
{
    memset(bench, 0, sizeof(*bench));
    assert_int_equal(metrics_create(&bench->metrics), 0);
    assert_int_equal(sink_settings_create("test", &loki_sink, &bench->settings, NULL), 0);
    assert_int_equal(sink_origins_init(&bench->origins), 0);
    set(bench, "url", "http://127.0.0.1:1");
    set(bench, "host", "the-host");
}

static void bench_create(struct bench *bench)
{
    struct error error = {""};
    assert_int_equal(sink_settings_check(bench->settings, &error), 0);
    assert_int_equal(loki_sink.create(&(struct sink_context){.name = "test",
                                                             .metrics = bench->metrics,
                                                             .metric_labels = "sink=\"test\""},
                                      bench->settings, &bench->sink, &error),
                     0);
}

static void bench_end(struct bench *bench)
{
    if (bench->sink != NULL) {
        loki_sink.destroy(bench->sink);
    }
    sink_origins_finish(&bench->origins);
    sink_settings_destroy(bench->settings);
    metrics_destroy(bench->metrics);
}

struct got {
    char text[4096]; /* name=value; of labels, then | and metadata */
};

static void got_add(struct got *got, const char *name, size_t name_len, const char *value,
                    size_t value_len)
{
    size_t at = strlen(got->text);
    (void)snprintf(got->text + at, sizeof(got->text) - at, "%.*s=%.*s;", (int)name_len, name,
                   (int)value_len, value);
}

static int add_label(const struct push_label *label, void *data)
{
    got_add(data, label->name, strlen(label->name), label->value, strlen(label->value));
    return 0;
}

static int add_entry(const struct push_entry *entry, void *data)
{
    struct got *got = data;
    got->text[0] = '\0';
    if (push_labels_read(entry->labels, add_label, got) != 0) {
        fail_msg("labels: %.*s", (int)entry->labels.len, entry->labels.data);
    }
    size_t at = strlen(got->text);
    (void)snprintf(got->text + at, sizeof(got->text) - at, "|");
    for (size_t i = 0; i < entry->metadata_count; i++) {
        const struct push_pair *pair = &entry->metadata[i];
        got_add(got, pair->name.data, pair->name.len, pair->value.data, pair->value.len);
    }
    return 0;
}

/* Labels and metadata of one line of this origin. */
static struct got encode_one(struct bench *bench, const struct record_origin *view,
                             enum record_stream stream)
{
    struct got got = {""};
    struct buf out;
    bool fresh;
    struct sink_origin *origin = sink_origins_get(&bench->origins, view, &fresh);
    assert_non_null(origin);
    if (fresh) {
        origin->wanted[RECORD_STDOUT] = true;
        origin->wanted[RECORD_STDERR] = true;
        assert_int_equal(loki_sink.prepare(bench->sink, origin, RECORD_STDOUT), 0);
        assert_int_equal(loki_sink.prepare(bench->sink, origin, RECORD_STDERR), 0);
    }
    struct sink_record record = {
        .origin = origin,
        .record = {.time_ns = 1, .stream = (uint8_t)stream, .line = "x", .line_bytes = 1}};
    buf_init(&out, 0);
    assert_int_equal(loki_sink.encode(bench->sink, &(struct sink_slice){&record, 1}, &out), 0);
    assert_int_equal(push_request_read(out.data, out.size, add_entry, &got), 0);
    buf_finish(&out);
    sink_origin_unref(origin);
    return got;
}

static const struct record_label shop_labels[] = {
    {"com.docker.compose.project", "shop"},
    {"com.docker.compose.service", "web"},
    {"tier.name", "front\"end"},
    {"9lives", "cat"},
    {"empty", ""},
};
static const struct record_origin shop = {.daemon = "local",
                                          .container_id = "0123",
                                          .name = "web-1",
                                          .image = "nginx:1",
                                          .labels = shop_labels,
                                          .label_count = 5};

static void labels_follow_the_list_and_the_rest_is_metadata(void **state)
{
    (void)state;
    struct bench bench;
    bench_begin(&bench);
    bench_create(&bench);
    assert_string_equal(encode_one(&bench, &shop, RECORD_STDERR).text,
                        "compose_project=shop;compose_service=web;container=web-1;host=the-host;"
                        "stream=stderr;|container_id=0123;daemon=local;image=nginx:1;");
    struct record_origin bare = shop;
    bare.label_count = 0;
    assert_string_equal(encode_one(&bench, &bare, RECORD_STDOUT).text,
                        "container=web-1;host=the-host;stream=stdout;"
                        "|container_id=0123;daemon=local;image=nginx:1;");
    bench_end(&bench);
}

static void labels_of_containers_get_names_that_loki_takes(void **state)
{
    (void)state;
    struct bench bench;
    bench_begin(&bench);
    set(&bench, "labels", "stream,label.tier.name,label.9lives,label.empty,label.none");
    set(&bench, "structured_metadata", "false");
    bench_create(&bench);
    assert_string_equal(encode_one(&bench, &shop, RECORD_STDOUT).text,
                        "stream=stdout;tier_name=front\"end;_lives=cat;|");
    bench_end(&bench);
}

static void a_set_without_labels_gets_one(void **state)
{
    (void)state;
    struct bench bench;
    bench_begin(&bench);
    set(&bench, "labels", "label.none");
    set(&bench, "structured_metadata", "false");
    bench_create(&bench);
    struct got got = encode_one(&bench, &shop, RECORD_STDOUT);
    assert_string_not_equal(got.text, "|");
    bench_end(&bench);
}

/* Two keys, one name: either the list is refused, or the set has each name once (which
 * push_labels_read() checks). */
static void a_label_never_comes_twice(void **state)
{
    (void)state;
    static const char *const lists[] = {"label.a.b,label.a-b", "container,label.container",
                                        "host,label.host"};
    static const struct record_label labels[] = {
        {"a.b", "1"}, {"a-b", "2"}, {"container", "3"}, {"host", "4"}};
    struct record_origin origin = shop;
    origin.labels = labels;
    origin.label_count = 4;
    for (size_t i = 0; i < 3; i++) {
        struct bench bench;
        struct error error = {""};
        bench_begin(&bench);
        set(&bench, "labels", lists[i]);
        if (sink_settings_check(bench.settings, &error) == 0) {
            bench_create(&bench);
            (void)encode_one(&bench, &origin, RECORD_STDOUT);
        }
        bench_end(&bench);
    }
}

static void over_the_limit_what_was_a_label_becomes_metadata(void **state)
{
    (void)state;
    struct bench bench;
    bench_begin(&bench);
    set(&bench, "labels", "container,label.tier.name,host,stream");
    set(&bench, "stream_limit", "4");
    bench_create(&bench);
    struct record_origin origin = shop;
    static const char *const names[] = {"one", "two"};
    for (size_t i = 0; i < 2; i++) {
        char wanted[64];
        origin.name = names[i];
        (void)snprintf(wanted, sizeof(wanted), "container=%s;", names[i]);
        assert_memory_equal(encode_one(&bench, &origin, RECORD_STDOUT).text, wanted,
                            strlen(wanted));
        assert_memory_equal(encode_one(&bench, &origin, RECORD_STDERR).text, wanted,
                            strlen(wanted));
    }
    origin.name = "three";
    struct got got = encode_one(&bench, &origin, RECORD_STDERR);
    assert_memory_equal(got.text, "host=the-host;stream=stderr;|", 29);
    assert_non_null(strstr(got.text, "container=three;"));
    if (strstr(got.text, "tier_name=front\"end;") == NULL &&
        strstr(got.text, "label.tier.name=front\"end;") == NULL) {
        fail_msg("the container's label is nowhere: %s", got.text);
    }
    origin.name = "two"; /* those within the limit keep theirs */
    assert_memory_equal(encode_one(&bench, &origin, RECORD_STDOUT).text, "container=two;", 14);
    bench_end(&bench);
}

static void snappy_is_snappy(void **state)
{
    (void)state;
    struct bench bench;
    struct buf plain;
    struct buf packed;
    bench_begin(&bench);
    buf_init(&plain, 0);
    buf_init(&packed, 0);
    for (size_t i = 0; i < 3 * MIB / 16; i++) {
        assert_int_equal(buf_printf(&plain, "line %010zu", i % 5000), 0);
    }
    size_t size = 0;
    assert_int_equal(loki_sink.compress(&plain, &packed), 0);
    assert_true(packed.size < plain.size);
    char *back = push_unsnap(packed.data, packed.size, plain.size, &size);
    assert_non_null(back);
    assert_int_equal(size, plain.size);
    assert_memory_equal(back, plain.data, size);
    free(back);
    buf_finish(&plain);
    buf_finish(&packed);
    bench_end(&bench);
}

static enum sink_verdict judge(int rc, int status, const char *body)
{
    return loki_sink.judge(
        NULL, &(struct sink_response){
                  .rc = rc, .status = status, .body = body, .body_bytes = strlen(body)});
}

/* Texts as Loki 3.5 writes them (pkg/validation/validate.go, pkg/distributor, pkg/ingester). */
static void answers_are_judged(void **state)
{
    (void)state;
    static const struct {
        int rc, status;
        const char *body;
        enum sink_verdict verdict;
    } rows[] = {
        {0, 204, "", SINK_DELIVERED},
        {0, 200, "", SINK_DELIVERED},
        {-ECONNREFUSED, 0, "", SINK_UNREACHABLE},
        {-ETIMEDOUT, 0, "", SINK_UNREACHABLE},
        {-EIO, 204, "", SINK_UNREACHABLE}, /* the answer broke off */
        {-EACCES, 0, "", SINK_DENIED},
        {0, 401, "no org id", SINK_DENIED},
        {0, 403, "", SINK_DENIED},
        {0, 404, "", SINK_DENIED},
        {0, 301, "", SINK_DENIED},
        {0, 405, "", SINK_DENIED},
        {0, 408, "", SINK_RETRY},
        {0, 429, "Ingestion rate limit exceeded for user fake", SINK_RETRY},
        {0, 429, "Maximum active stream limit exceeded when trying to create stream", SINK_RETRY},
        {0, 429, "Per stream rate limit exceeded (limit: 3MB/sec)", SINK_RETRY},
        {0, 500, "", SINK_RETRY},
        {0, 502, "", SINK_RETRY},
        {0, 503, "", SINK_RETRY},
        {0, 504, "", SINK_RETRY},
        {0, 400, "entry for stream '{}' has timestamp too old: 1970-01-01T00:00:00Z",
         SINK_REJECTED},
        {0, 400, "entry for stream '{}' has timestamp too new: 2090-01-01T00:00:00Z",
         SINK_REJECTED},
        {0, 400, "entry with timestamp x ignored, reason: 'entry too far behind'", SINK_REJECTED},
        {0, 400, "entry with timestamp x ignored, reason: 'entry out of order'", SINK_REJECTED},
        {0, 400, "max entry size '262144' bytes exceeded for stream", SINK_REJECTED},
        {0, 413, "", SINK_REJECTED},
        {0, 400,
         "stream '{}' includes structured metadata, but this feature is disallowed. Please see "
         "`limits_config.allow_structured_metadata`",
         SINK_DENIED},
        {0, 400, "entry for stream '{a=\"b\"}' has 17 label names; limit 15", SINK_DENIED},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        enum sink_verdict verdict = judge(rows[i].rc, rows[i].status, rows[i].body);
        if (verdict != rows[i].verdict) {
            print_error("%d %d '%s' is judged %s, not %s\n", rows[i].rc, rows[i].status,
                        rows[i].body, sink_verdict_name(verdict),
                        sink_verdict_name(rows[i].verdict));
        }
        assert_int_equal(verdict, rows[i].verdict);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timestamps_of_all_kinds_are_kept),
        cmocka_unit_test(lines_of_any_bytes_are_kept),
        cmocka_unit_test(entries_of_a_thousand_streams_stay_in_order),
        cmocka_unit_test(a_request_without_entries_is_empty),
        cmocka_unit_test(label_values_come_back_as_they_were),
        cmocka_unit_test(labels_follow_the_list_and_the_rest_is_metadata),
        cmocka_unit_test(labels_of_containers_get_names_that_loki_takes),
        cmocka_unit_test(a_set_without_labels_gets_one),
        cmocka_unit_test(a_label_never_comes_twice),
        cmocka_unit_test(over_the_limit_what_was_a_label_becomes_metadata),
        cmocka_unit_test(snappy_is_snappy),
        cmocka_unit_test(answers_are_judged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
