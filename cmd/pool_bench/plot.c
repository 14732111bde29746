/*
 * Four strips over one axis of time: latency (logarithmic), requests per second, clients, errors per
 * second. Colours are those of Okabe and Ito (2008), which colour-blind people can tell apart; the
 * page's own scheme decides between light and dark.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>

#include "base/buf.h"
#include "report.h"

#define WIDTH 860
#define LEFT 90
#define RIGHT 150
#define STRIP 120
#define GAP 34
#define TOP 62
#define BLUE "#0072b2"
#define ORANGE "#e69f00"
#define GREEN "#009e73"
#define RED "#d55e00"

struct series {
    const char *name, *colour;
    double (*value)(const struct bench_second *second);
};

struct strip {
    const char *title;
    struct series series[2];
    double least, most; /* of the axis */
    int top;            /* of the strip, in the drawing */
    bool logarithmic;
};

static double p50_of(const struct bench_second *second)
{
    return second->p50_ms;
}

static double p99_of(const struct bench_second *second)
{
    return second->p99_ms;
}

static double requests_of(const struct bench_second *second)
{
    return second->length_s > 0 ? (double)second->requests / second->length_s : 0;
}

static double clients_of(const struct bench_second *second)
{
    return second->clients;
}

static double errors_of(const struct bench_second *second)
{
    return second->length_s > 0 ? (double)second->errors / second->length_s : 0;
}

/* 1, 2 or 5 times a power of ten, not below the value. */
static double round_up(double value)
{
    double power = pow(10, floor(log10(value > 0 ? value : 1)));
    double steps[] = {1, 2, 5, 10};
    for (int i = 0; i < 4; i++) {
        if (steps[i] * power >= value) {
            return steps[i] * power;
        }
    }
    return 10 * power;
}

static void scale(const struct bench *bench, struct strip *strip)
{
    double least = INFINITY;
    double most = 0;
    for (size_t i = 0; i < bench->second_count; i++) {
        for (int s = 0; s < 2 && strip->series[s].value != NULL; s++) {
            double value = strip->series[s].value(&bench->seconds[i]);
            most = value > most ? value : most;
            least = value > 0 && value < least ? value : least;
        }
    }
    strip->most = round_up(most);
    strip->least = 0;
    if (strip->logarithmic) {
        strip->most = pow(10, ceil(log10(most > 0 ? most : 1)));
        strip->least = pow(10, floor(log10(isinf(least) ? 0.1 : least)));
        strip->least = strip->least < strip->most ? strip->least : strip->most / 10;
    }
}

static double y_of(const struct strip *strip, double value)
{
    double part;
    if (strip->logarithmic) {
        value = value < strip->least ? strip->least : value;
        part = log10(value / strip->least) / log10(strip->most / strip->least);
    } else {
        part = strip->most > 0 ? value / strip->most : 0;
    }
    return strip->top + STRIP - part * STRIP;
}

static double x_of(const struct bench *bench, double at_s)
{
    double whole = bench->elapsed_s > 0 ? bench->elapsed_s : 1;
    return LEFT + at_s / whole * (WIDTH - LEFT - RIGHT);
}

static int put_line(struct buf *out, const struct bench *bench, const struct strip *strip,
                    const struct series *series)
{
    int rc = buf_printf(out, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"2\" points=\"",
                        series->colour);
    for (size_t i = 0; rc == 0 && i < bench->second_count; i++) {
        const struct bench_second *second = &bench->seconds[i];
        rc = buf_printf(out, "%.1f,%.1f ", x_of(bench, second->at_s),
                        y_of(strip, series->value(second)));
    }
    return rc != 0 ? rc : buf_append_str(out, "\"/>\n");
}

static double middle_of(const struct strip *strip)
{
    return strip->logarithmic ? round_up(sqrt(strip->least * strip->most)) : strip->most / 2;
}

static int put_axis(struct buf *out, const struct strip *strip)
{
    int rc = buf_printf(out,
                        "<text class=\"title\" x=\"%d\" y=\"%d\">%s</text>\n"
                        "<rect class=\"frame\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\"/>\n",
                        LEFT, strip->top - 8, strip->title, LEFT, strip->top, WIDTH - LEFT - RIGHT,
                        STRIP);
    double values[] = {strip->least, middle_of(strip), strip->most};
    for (int i = 0; rc == 0 && i < 3; i++) {
        rc = buf_printf(out,
                        "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>"
                        "<text class=\"number\" x=\"%d\" y=\"%.1f\">%.10g</text>\n",
                        LEFT, WIDTH - RIGHT, y_of(strip, values[i]), y_of(strip, values[i]),
                        LEFT - 8, y_of(strip, values[i]) + 4, values[i]);
    }
    return rc;
}

static int put_strip(struct buf *out, const struct bench *bench, const struct strip *strip)
{
    int rc = put_axis(out, strip);
    for (int s = 0; rc == 0 && s < 2 && strip->series[s].value != NULL; s++) {
        const struct series *series = &strip->series[s];
        rc = put_line(out, bench, strip, series);
        rc = rc != 0 ? rc
                     : buf_printf(out, "<text x=\"%d\" y=\"%d\" style=\"fill:%s\">%s</text>\n",
                                  WIDTH - RIGHT + 10, strip->top + 16 + 18 * s, series->colour,
                                  series->name);
    }
    return rc;
}

static int put_head(struct buf *out, const struct bench *bench, int height)
{
    const struct options *options = bench->options;
    return buf_printf(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" "
        "height=\"%d\" role=\"img\" aria-label=\"pool_bench over time\">\n"
        "<style>text{font:13px sans-serif;fill:#222}.title{font-weight:bold}"
        ".number{text-anchor:end;font-size:11px}.time{text-anchor:middle;font-size:11px}"
        ".frame{fill:none;stroke:#999}.grid{stroke:#ccc;stroke-dasharray:3 3}"
        ".page{fill:#fff}@media(prefers-color-scheme:dark){text{fill:#ddd}.page{fill:#181818}"
        ".frame{stroke:#777}.grid{stroke:#444}}</style>\n"
        "<rect class=\"page\" width=\"%d\" height=\"%d\"/>\n"
        "<text x=\"%d\" y=\"18\">%s: %llu requests of %llu bytes in %.1f s, %llu errors</text>\n",
        WIDTH, height, WIDTH, height, WIDTH, height, LEFT,
        options->load_test      ? "load test"
        : options->spike        ? "spike"
        : options->failover > 0 ? "fail-over"
                                : "steady load",
        (unsigned long long)bench->total.requests, (unsigned long long)options->size_bytes,
        bench->elapsed_s, (unsigned long long)bench_errors(&bench->total));
}

static int put_time(struct buf *out, const struct bench *bench, int y)
{
    double step = round_up(bench->elapsed_s / 8);
    int rc = 0;
    for (double at = 0; rc == 0 && at <= bench->elapsed_s; at += step) {
        rc = buf_printf(out, "<text class=\"time\" x=\"%.1f\" y=\"%d\">%.4g s</text>\n",
                        x_of(bench, at), y, at);
    }
    return rc;
}

int report_plot(const struct bench *bench, const char *path)
{
    struct strip strips[] = {
        {.title = "latency, ms",
         .series = {{"p99", ORANGE, p99_of}, {"p50", BLUE, p50_of}},
         .logarithmic = true},
        {.title = "requests per second", .series = {{"requests", BLUE, requests_of}}},
        {.title = "clients", .series = {{"clients", GREEN, clients_of}}},
        {.title = "errors per second", .series = {{"errors", RED, errors_of}}}};
    enum { STRIPS = sizeof(strips) / sizeof(strips[0]) };
    int height = TOP + STRIPS * (STRIP + GAP) + 10;
    struct buf out;
    buf_init(&out, 0);
    int rc = put_head(&out, bench, height);
    for (int i = 0; rc == 0 && i < STRIPS; i++) {
        strips[i].top = TOP + i * (STRIP + GAP);
        scale(bench, &strips[i]);
        rc = put_strip(&out, bench, &strips[i]);
    }
    rc = rc != 0 ? rc : put_time(&out, bench, TOP + STRIPS * (STRIP + GAP) - GAP + 18);
    rc = rc != 0 ? rc : buf_append_str(&out, "</svg>\n");
    rc = rc != 0 ? rc : report_write(path, &out);
    buf_finish(&out);
    return rc;
}
