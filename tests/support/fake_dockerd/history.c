/*
 * Within a span of plain lines, line k has the records k * r to k * r + r - 1, where r follows
 * from the size. A span with an interleaved line is the exception: record 0 is the first piece
 * of its line 0, record 1 is all of line 1 (on stderr), and the others are the rest of line 0.
 *
 * As in dockerd, each piece of a line has the timestamp of the first, and a line that is a
 * multiple of 16 KiB ends with a piece that holds the newline alone.
 */
#include "fake_dockerd/history.h"

#include <stdlib.h>
#include <string.h>

#include "fake_dockerd/text.h"
#include "genline/genline.h"

#define INTERLEAVED_SIZE 100

void fake_history_init(struct fake_history *history, const char *name, bool tty)
{
    memset(history, 0, sizeof *history);
    history->name = name;
    history->tty = tty;
}

void fake_history_finish(struct fake_history *history)
{
    for (size_t i = 0; i < history->span_count; i++) {
        free(history->spans[i].text);
    }
    free(history->spans);
    free(history->line);
    memset(history, 0, sizeof *history);
}

static uint64_t span_records(const struct fake_span *span)
{
    return span->options.interleave ? span->line_records + 1 : span->lines * span->line_records;
}

static const struct fake_span *last_span(const struct fake_history *history)
{
    return history->span_count > 0 ? &history->spans[history->span_count - 1] : NULL;
}

uint64_t fake_history_begin(const struct fake_history *history)
{
    return history->begin;
}

uint64_t fake_history_end(const struct fake_history *history)
{
    const struct fake_span *span = last_span(history);
    return span != NULL ? span->first_record + span_records(span) : 0;
}

/* How many of the span's first `lines` lines are generated ones on stderr. */
static uint64_t span_err_lines(const struct fake_span *span, uint64_t lines)
{
    if (span->text != NULL) {
        return 0;
    }
    if (span->options.interleave) {
        return lines / 2;
    }
    return span->options.stderr_every > 0 ? lines / span->options.stderr_every : 0;
}

uint64_t fake_history_next_seq(const struct fake_history *history, char stream)
{
    const struct fake_span *span = last_span(history);
    if (span == NULL) {
        return 1;
    }
    uint64_t err_lines = span_err_lines(span, span->lines);
    if (stream == 'e') {
        return span->first_err_seq + err_lines;
    }
    return span->first_out_seq + (span->text != NULL ? 0 : span->lines - err_lines);
}

static int64_t span_time(const struct fake_span *span, uint64_t line)
{
    uint64_t group = span->options.group > 1 ? span->options.group : 1;
    return span->options.base_ns + (int64_t)(line / group * group) * span->options.step_ns;
}

static void note_time(struct fake_history *history)
{
    const struct fake_span *span = last_span(history);
    int64_t time_ns = span_time(span, span->lines - 1);
    if (span->lines > 0 && time_ns > history->last_ns) {
        history->last_ns = time_ns;
    }
}

static uint64_t records_of_line(const struct fake_history *history,
                                const struct fake_span_options *options)
{
    uint64_t len = options->size + (history->tty ? 1 : 0);
    if (!options->no_newline) {
        return len / FAKE_PIECE_BYTES + 1;
    }
    return len == 0 ? 1 : (len + FAKE_PIECE_BYTES - 1) / FAKE_PIECE_BYTES;
}

void fake_history_add(struct fake_history *history, const struct fake_span_options *options,
                      uint64_t lines)
{
    if (lines == 0) {
        return;
    }
    struct fake_span span = {
        .options = *options,
        .first_record = fake_history_end(history),
        .line_records = records_of_line(history, options),
        .lines = options->interleave ? 2 : lines,
        .first_out_seq = fake_history_next_seq(history, 'o'),
        .first_err_seq = fake_history_next_seq(history, 'e'),
    };
    if (options->text != NULL) {
        span.text = fake_allocate(options->size + 1, 1);
        memcpy(span.text, options->text, options->size);
    }
    span.options.text = NULL;
    if (history->tty) {
        span.options.stderr_every = 0;
    }
    if (span.options.base_ns <= history->last_ns) {
        span.options.base_ns = history->last_ns + 1;
    }
    size_t count = history->span_count;
    if ((count & (count - 1)) == 0) {
        history->spans = fake_resize(history->spans, count == 0 ? 1 : count * 2, sizeof span);
    }
    history->spans[history->span_count++] = span;
    note_time(history);
}

void fake_history_extend(struct fake_history *history, uint64_t lines)
{
    history->spans[history->span_count - 1].lines += lines;
    note_time(history);
}

void fake_history_rotate(struct fake_history *history, uint64_t keep)
{
    uint64_t end = fake_history_end(history);
    uint64_t begin = keep > end ? 0 : end - keep;
    history->begin = begin > history->begin ? begin : history->begin;
}

void fake_history_clock_stepped(struct fake_history *history)
{
    history->last_ns = INT64_MIN;
}

static struct fake_span *find_span(struct fake_history *history, uint64_t record)
{
    size_t low = 0;
    size_t high = history->span_count;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (history->spans[middle].first_record <= record) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return &history->spans[low];
}

static void locate(const struct fake_span *span, uint64_t record, uint64_t *ret_line,
                   uint64_t *ret_piece)
{
    uint64_t offset = record - span->first_record;
    if (span->options.interleave) {
        *ret_line = offset == 1;
        *ret_piece = offset > 1 ? offset - 1 : 0;
    } else {
        *ret_line = offset / span->line_records;
        *ret_piece = offset % span->line_records;
    }
}

static bool line_is_err(const struct fake_span *span, uint64_t line)
{
    if (span->text != NULL) {
        return span->options.text_stream == 'e';
    }
    return span_err_lines(span, line + 1) > span_err_lines(span, line);
}

/* Renders the whole line into history->line, with what ends it. */
static void render(struct fake_history *history, const struct fake_span *span, uint64_t line)
{
    uint64_t key = span->first_record + line * span->line_records + 1;
    if (span->line_records == 1 || history->line_of != key) {
        bool err = line_is_err(span, line);
        uint64_t size = span->options.interleave && err ? INTERLEAVED_SIZE : span->options.size;
        uint64_t err_before = span_err_lines(span, line);
        struct genline spec = {
            .name = history->name,
            .name_len = strlen(history->name),
            .stream = err ? 'e' : 'o',
            .seq = err ? span->first_err_seq + err_before : span->first_out_seq + line - err_before,
        };
        history->line = fake_resize(history->line, (size_t)size + GENLINE_SLACK + 2, 1);
        if (span->text != NULL) {
            memcpy(history->line, span->text, (size_t)size);
            history->line_len = (size_t)size;
        } else {
            history->line_len = genline_format(history->line, &spec, (size_t)size);
        }
        if (history->tty && !span->options.no_newline) {
            history->line[history->line_len++] = '\r';
        }
        if (!span->options.no_newline) {
            history->line[history->line_len++] = '\n';
        }
        history->line_of = key;
    }
}

struct fake_record fake_history_record(struct fake_history *history, uint64_t record)
{
    const struct fake_span *span = find_span(history, record);
    uint64_t line;
    uint64_t piece;
    locate(span, record, &line, &piece);
    render(history, span, line);
    size_t from = (size_t)piece * FAKE_PIECE_BYTES;
    size_t left = history->line_len > from ? history->line_len - from : 0;
    return (struct fake_record){
        .stream = line_is_err(span, line) ? 'e' : 'o',
        .time_ns = span_time(span, line),
        .data = history->line + from,
        /* the last piece of a full 16 KiB takes its newline along only if that fits */
        .len = left > FAKE_PIECE_BYTES && piece + 1 < span->line_records ? FAKE_PIECE_BYTES : left,
    };
}

/* The first line of the span that is not older than since_ns; its count of lines if none is. */
static uint64_t span_seek(const struct fake_span *span, int64_t since_ns)
{
    int64_t step = span->options.step_ns;
    if (since_ns <= span->options.base_ns) {
        return 0;
    }
    if (step <= 0 || span_time(span, span->lines - 1) < since_ns) {
        return span->lines;
    }
    uint64_t line = (uint64_t)((since_ns - span->options.base_ns + step - 1) / step);
    uint64_t group = span->options.group > 1 ? span->options.group : 1;
    line = (line + group - 1) / group * group;
    return line < span->lines ? line : span->lines;
}

uint64_t fake_history_seek(struct fake_history *history, uint64_t from, int64_t since_ns)
{
    uint64_t end = fake_history_end(history);
    while (from < end) {
        const struct fake_span *span = find_span(history, from);
        uint64_t line;
        uint64_t piece;
        locate(span, from, &line, &piece);
        if (span_time(span, line) >= since_ns) {
            return from;
        }
        if (span->options.interleave) {
            from++;
            continue;
        }
        uint64_t found = span_seek(span, since_ns);
        from = span->first_record + found * span->line_records;
    }
    return end;
}
