/*
 * What commands show people: columns that line up, numbers and times that read well, colour only
 * where a terminal wants it. One thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define TABLE_COLUMN_LIMIT 10
#define TABLE_TEXT_SIZE 32

enum tone { TONE_PLAIN, TONE_GOOD, TONE_WARN, TONE_BAD, TONE_FAINT, TONE_STRONG };

/* A terminal, and neither NO_COLOR nor TERM=dumb speak against it. */
bool tone_wanted(int fd);
/* The text in this tone; control bytes become '?'. */
int tone_put(struct buf *out, bool colour, enum tone tone, const char *text);

struct table_row {
    char *cells[TABLE_COLUMN_LIMIT];
    enum tone tones[TABLE_COLUMN_LIMIT];
};

struct table {
    size_t columns;
    const char *right; /* a letter per column: 'r' for right, others for left */
    struct table_row *rows;
    size_t row_count;
    int rc; /* the first failure stays here */
};

void table_init(struct table *table, size_t columns, const char *right);
void table_finish(struct table *table);
/* Begins a row; its cells are empty. */
void table_add_row(struct table *table);
/* Copies text into a cell of the last row. */
void table_put(struct table *table, size_t column, enum tone tone, const char *text);
/* Appends all rows, two columns in; nothing when there is none. 0 or a negative errno. */
int table_write(const struct table *table, bool colour, struct buf *out)
    __attribute__((warn_unused_result));

/* ---- values for people; each returns ret_text ---- */

/* 1,234,567 */
const char *human_count(int64_t count, char ret_text[TABLE_TEXT_SIZE]);
/* 12.3 MiB */
const char *human_bytes(int64_t bytes, char ret_text[TABLE_TEXT_SIZE]);
/* 3d 4h, 12m 3s, 0.4 s */
const char *human_duration(int64_t ns, char ret_text[TABLE_TEXT_SIZE]);
