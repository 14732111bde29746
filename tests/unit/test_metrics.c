/* The registry and both text formats. Where promtool is installed, it reads them as well. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/metrics.h"

struct fixture {
    struct metrics *metrics;
    struct metric lines[2];
    struct metric gauge;
    struct metric asked;
    struct metric_histogram seconds;
    char labels_storage[200];
};

static int64_t read_seven(void *data)
{
    return *(const int64_t *)data;
}

static const int64_t seven = 7;

static void collect(struct metrics_writer *writer, void *data)
{
    (void)data;
    metrics_begin(writer, METRIC_COUNTER, "log_capturer_test_things_total", "Things seen.");
    metrics_put(writer, "name=\"a\"", 1);
    metrics_put(writer, "name=\"b\"", 2.5);
}

static void finish(struct fixture *f)
{
    metric_finish(&f->lines[0]);
    metric_finish(&f->lines[1]);
    metric_finish(&f->gauge);
    metric_finish(&f->asked);
    metric_finish(&f->seconds.base);
    if (f->metrics != NULL) {
        metrics_remove_collector(f->metrics, collect, f);
    }
    metrics_destroy(f->metrics);
}

static int add_all(struct fixture *f)
{
    struct buf labels;
    buf_init_fixed(&labels, f->labels_storage, sizeof(f->labels_storage));
    int rc = metrics_append_label(&labels, "container", "a\"b\\c\nd");
    rc = rc != 0 ? rc : metrics_append_label(&labels, "stream", "stdout");
    const char *text = buf_terminated(&labels);
    const struct metric_desc counter = {
        .type = METRIC_COUNTER, .name = "log_capturer_test_lines_total", .help = "Lines read."};
    struct metric_desc labelled = counter;
    labelled.labels = text;
    rc = rc != 0 ? rc : metrics_add(f->metrics, &f->lines[0], &counter);
    rc = rc != 0 ? rc : metrics_add(f->metrics, &f->lines[1], &labelled);
    rc = rc != 0 ? rc
                 : metrics_add(f->metrics, &f->gauge,
                               &(struct metric_desc){.type = METRIC_GAUGE,
                                                     .name = "log_capturer_test_wait_seconds",
                                                     .help = "How long.",
                                                     .scale = 1e-9});
    rc = rc != 0 ? rc
                 : metrics_add(f->metrics, &f->asked,
                               &(struct metric_desc){.type = METRIC_GAUGE,
                                                     .name = "log_capturer_test_sevens",
                                                     .help = "Asked for at each rendering.",
                                                     .read = read_seven,
                                                     .data = (void *)(uintptr_t)&seven});
    rc = rc != 0
             ? rc
             : metrics_add_histogram(f->metrics, &f->seconds,
                                     &(struct metric_desc){.name = "log_capturer_test_tick_seconds",
                                                           .help = "Ticks.",
                                                           .scale = 1e-9},
                                     1000);
    return rc != 0 ? rc : metrics_add_collector(f->metrics, collect, f);
}

/* Everything registered and some values set; 0 or what failed, then all is gone again. */
static int set_up(struct fixture *f)
{
    *f = (struct fixture){0};
    int rc = metrics_create(&f->metrics);
    rc = rc != 0 ? rc : add_all(f);
    if (rc != 0) {
        finish(f);
        return rc;
    }
    metric_add(&f->lines[0], 3);
    metric_set(&f->lines[1], 9007199254740993);
    metric_set(&f->gauge, 1500000000);
    metric_observe(&f->seconds, 1000);
    metric_observe(&f->seconds, 1001);
    metric_observe(&f->seconds, INT64_C(1) << 40);
    return 0;
}

/* Text of a rendering; the caller frees it. */
static char *rendered(enum metrics_format format)
{
    struct fixture f;
    struct buf out;
    buf_init(&out, 0);
    int rc = set_up(&f);
    char *copy = NULL;
    if (rc == 0) {
        rc = metrics_render(f.metrics, format, &out);
        const char *text = rc == 0 ? buf_terminated(&out) : NULL;
        copy = text != NULL ? strdup(text) : NULL;
        finish(&f);
    }
    buf_finish(&out);
    assert_non_null(copy);
    return copy;
}

static void assert_has(const char *text, const char *piece)
{
    if (strstr(text, piece) == NULL) {
        print_error("not in it: %s\n%s", piece, text);
        fail();
    }
}

static void the_prometheus_text_has_each_family_once_with_its_series(void **state)
{
    (void)state;
    char *text = rendered(METRICS_PROMETHEUS);
    assert_has(text,
               "# HELP log_capturer_test_lines_total Lines read.\n"
               "# TYPE log_capturer_test_lines_total counter\n"
               "log_capturer_test_lines_total 3\n"
               "log_capturer_test_lines_total{container=\"a\\\"b\\\\c\\nd\",stream=\"stdout\"} "
               "9.00719925474099e+15\n");
    assert_has(text, "# TYPE log_capturer_test_wait_seconds gauge\n"
                     "log_capturer_test_wait_seconds 1.5\n");
    assert_has(text, "log_capturer_test_sevens 7\n");
    assert_has(text, "# TYPE log_capturer_test_things_total counter\n"
                     "log_capturer_test_things_total{name=\"a\"} 1\n"
                     "log_capturer_test_things_total{name=\"b\"} 2.5\n");
    assert_null(strstr(text, "# EOF"));
    free(text);
}

static void buckets_of_a_histogram_are_sums_up_to_their_bound(void **state)
{
    (void)state;
    char *text = rendered(METRICS_PROMETHEUS);
    assert_has(text, "# TYPE log_capturer_test_tick_seconds histogram\n"
                     "log_capturer_test_tick_seconds_bucket{le=\"1e-06\"} 1\n"
                     "log_capturer_test_tick_seconds_bucket{le=\"2e-06\"} 2\n");
    assert_has(text, "_bucket{le=\"0.032768\"} 2\n"
                     "log_capturer_test_tick_seconds_bucket{le=\"+Inf\"} 3\n"
                     "log_capturer_test_tick_seconds_sum 1099.511629777\n"
                     "log_capturer_test_tick_seconds_count 3\n");
    free(text);
}

static void openmetrics_names_counters_without_total_and_ends_with_eof(void **state)
{
    (void)state;
    char *text = rendered(METRICS_OPENMETRICS);
    assert_has(text, "# HELP log_capturer_test_lines Lines read.\n"
                     "# TYPE log_capturer_test_lines counter\n"
                     "log_capturer_test_lines_total 3\n");
    assert_has(text, "# TYPE log_capturer_test_things counter\n"
                     "log_capturer_test_things_total{name=\"a\"} 1\n");
    size_t size = strlen(text);
    assert_string_equal(text + size - 6, "# EOF\n");
    assert_ptr_equal(strstr(text, "# EOF"), text + size - 6);
    free(text);
}

static void promtool_finds_nothing_to_say(void **state)
{
    (void)state;
    if (getenv("TORTURE_FAIL_AT") != NULL || system("promtool --version >/dev/null 2>&1") != 0) {
        skip();
    }
    char *text = rendered(METRICS_PROMETHEUS);
    FILE *pipe = popen("promtool check metrics", "w");
    assert_non_null(pipe);
    bool written = fwrite(text, 1, strlen(text), pipe) == strlen(text);
    free(text);
    assert_int_equal(pclose(pipe), 0);
    assert_true(written);
}

static void a_finished_metric_is_not_shown_and_leaves_no_empty_family(void **state)
{
    (void)state;
    struct fixture f;
    struct buf out;
    buf_init(&out, 0);
    assert_int_equal(set_up(&f), 0);
    metric_finish(&f.gauge);
    metric_finish(&f.gauge); /* twice is harmless */
    metrics_remove_collector(f.metrics, collect, &f);
    int rc = metrics_render(f.metrics, METRICS_PROMETHEUS, &out);
    const char *text = rc == 0 ? buf_terminated(&out) : NULL;
    bool right = text != NULL && strstr(text, "wait_seconds") == NULL &&
                 strstr(text, "things") == NULL && strstr(text, "sevens") != NULL;
    finish(&f);
    buf_finish(&out);
    assert_true(right);
}

static void a_metric_may_outlive_its_registry(void **state)
{
    (void)state;
    struct metrics *metrics = NULL;
    struct metric one;
    struct metric two;
    const struct metric_desc desc = {.name = "a_total", .help = "A.", .labels = "x=\"1\""};
    assert_int_equal(metrics_create(&metrics), 0);
    int rc = metrics_add(metrics, &one, &desc);
    rc = rc != 0 ? rc : metrics_add(metrics, &two, &desc);
    if (rc == 0) {
        metrics_destroy(metrics);
        metric_add(&one, 1);
        metric_finish(&one);
        metric_finish(&two);
    }
    assert_int_equal(rc, 0);
}

static void a_rendering_that_does_not_fit_says_so(void **state)
{
    (void)state;
    struct fixture f;
    struct buf out;
    buf_init(&out, 500);
    assert_int_equal(set_up(&f), 0);
    int rc = metrics_render(f.metrics, METRICS_OPENMETRICS, &out);
    finish(&f);
    buf_finish(&out);
    assert_true(rc == -E2BIG || rc == -ENOMEM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_prometheus_text_has_each_family_once_with_its_series),
        cmocka_unit_test(buckets_of_a_histogram_are_sums_up_to_their_bound),
        cmocka_unit_test(openmetrics_names_counters_without_total_and_ends_with_eof),
        cmocka_unit_test(promtool_finds_nothing_to_say),
        cmocka_unit_test(a_finished_metric_is_not_shown_and_leaves_no_empty_family),
        cmocka_unit_test(a_metric_may_outlive_its_registry),
        cmocka_unit_test(a_rendering_that_does_not_fit_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
