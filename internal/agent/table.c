/* Widths are found when all cells are there. A byte counts as a column, but for the later bytes of
 * a UTF-8 sequence. */
#include "agent/table.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/timestamp.h"

bool tone_wanted(int fd)
{
    const char *no_colour = getenv("NO_COLOR"); /* https://no-color.org */
    const char *terminal = getenv("TERM");
    return isatty(fd) == 1 && (no_colour == NULL || no_colour[0] == '\0') &&
           (terminal == NULL || strcmp(terminal, "dumb") != 0);
}

static const char *code_of(enum tone tone)
{
    switch (tone) {
    case TONE_GOOD:
        return "\033[32m";
    case TONE_WARN:
        return "\033[33m";
    case TONE_BAD:
        return "\033[1;31m";
    case TONE_FAINT:
        return "\033[2m";
    case TONE_STRONG:
        return "\033[1m";
    default:
        return "";
    }
}

int tone_put(struct buf *out, bool colour, enum tone tone, const char *text)
{
    bool coded = colour && tone != TONE_PLAIN;
    int rc = coded ? buf_append_str(out, code_of(tone)) : 0;
    for (const char *p = text; rc == 0 && *p != '\0'; p++) {
        bool control = (unsigned char)*p < 0x20 || *p == 0x7f;
        rc = buf_append(out, control ? "?" : p, 1);
    }
    return rc == 0 && coded ? buf_append_str(out, "\033[0m") : rc;
}

/* ---- tables ---- */

void table_init(struct table *table, size_t columns, const char *right)
{
    *table = (struct table){.columns = columns, .right = right};
}

void table_finish(struct table *table)
{
    for (size_t i = 0; i < table->row_count; i++) {
        for (size_t column = 0; column < table->columns; column++) {
            free(table->rows[i].cells[column]);
        }
    }
    free(table->rows);
    table->rows = NULL;
    table->row_count = 0;
}

void table_add_row(struct table *table)
{
    struct table_row *rows = realloc(table->rows, (table->row_count + 1) * sizeof(*rows));
    if (rows == NULL) {
        table->rc = -ENOMEM;
        return;
    }
    table->rows = rows;
    rows[table->row_count++] = (struct table_row){0};
}

void table_put(struct table *table, size_t column, enum tone tone, const char *text)
{
    if (table->rc != 0) {
        return;
    }
    struct table_row *row = &table->rows[table->row_count - 1];
    free(row->cells[column]);
    row->cells[column] = strdup(text);
    row->tones[column] = tone;
    if (row->cells[column] == NULL) {
        table->rc = -ENOMEM;
    }
}

static size_t width_of(const char *text)
{
    size_t width = 0;
    for (; text != NULL && *text != '\0'; text++) {
        width += ((unsigned char)*text & 0xc0U) != 0x80U;
    }
    return width;
}

static int put_spaces(struct buf *out, size_t count)
{
    return count == 0 ? 0 : buf_printf(out, "%*s", (int)count, "");
}

static int write_row(const struct table *table, const struct table_row *row, const size_t *widths,
                     bool colour, struct buf *out)
{
    int rc = 0;
    size_t last = table->columns;
    while (last > 0 && width_of(row->cells[last - 1]) == 0) {
        last--;
    }
    for (size_t column = 0; rc == 0 && column < last; column++) {
        const char *text = row->cells[column] != NULL ? row->cells[column] : "";
        size_t pad = widths[column] - width_of(text);
        bool right = table->right[column] == 'r';
        rc = put_spaces(out, 2 + (right ? pad : 0));
        rc = rc != 0 ? rc : tone_put(out, colour, row->tones[column], text);
        rc = rc != 0 || right || column + 1 == last ? rc : put_spaces(out, pad);
    }
    return rc != 0 ? rc : buf_append(out, "\n", 1);
}

int table_write(const struct table *table, bool colour, struct buf *out)
{
    size_t widths[TABLE_COLUMN_LIMIT] = {0};
    for (size_t i = 0; i < table->row_count; i++) {
        for (size_t column = 0; column < table->columns; column++) {
            size_t width = width_of(table->rows[i].cells[column]);
            widths[column] = width > widths[column] ? width : widths[column];
        }
    }
    int rc = table->rc;
    for (size_t i = 0; rc == 0 && i < table->row_count; i++) {
        rc = write_row(table, &table->rows[i], widths, colour, out);
    }
    return rc;
}

/* ---- values ---- */

const char *human_count(int64_t count, char ret_text[TABLE_TEXT_SIZE])
{
    char digits[24];
    size_t size = (size_t)snprintf(digits, sizeof(digits), "%lld", (long long)count);
    size_t at = 0;
    for (size_t i = 0; i < size; i++) {
        ret_text[at++] = digits[i];
        if (size - i > 1 && (size - i - 1) % 3 == 0 && digits[i] != '-') {
            ret_text[at++] = ',';
        }
    }
    ret_text[at] = '\0';
    return ret_text;
}

const char *human_bytes(int64_t bytes, char ret_text[TABLE_TEXT_SIZE])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 1023.95 && unit < 4) {
        value /= 1024;
        unit++;
    }
    (void)snprintf(ret_text, TABLE_TEXT_SIZE, "%.*f %s", unit == 0 ? 0 : 1, value, units[unit]);
    return ret_text;
}

const char *human_duration(int64_t ns, char ret_text[TABLE_TEXT_SIZE])
{
    long long seconds = ns / NS_PER_SECOND;
    if (seconds < 10) {
        (void)snprintf(ret_text, TABLE_TEXT_SIZE, "%.1fs", (double)ns / 1e9);
    } else if (seconds < 60) {
        (void)snprintf(ret_text, TABLE_TEXT_SIZE, "%llds", seconds);
    } else if (seconds < 3600) {
        (void)snprintf(ret_text, TABLE_TEXT_SIZE, "%lldm %llds", seconds / 60, seconds % 60);
    } else if (seconds < 86400) {
        (void)snprintf(ret_text, TABLE_TEXT_SIZE, "%lldh %lldm", seconds / 3600, seconds / 60 % 60);
    } else {
        (void)snprintf(ret_text, TABLE_TEXT_SIZE, "%lldd %lldh", seconds / 86400,
                       seconds / 3600 % 24);
    }
    return ret_text;
}
