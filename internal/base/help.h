/* The layout of --help: two columns, 96 wide. To standard output; one thread. */
#pragma once

#include <stddef.h>

#define HELP_COLUMNS 96
#define HELP_INDENT 25

/* Fills lines up to HELP_COLUMNS and ends the last; the cursor stands at `column`, later lines begin
 * at `indent`. */
void help_put_wrapped(const char *text, size_t column, size_t indent);
/* A row: `left` in the first column, `help` in the second. */
void help_put_row(const char *left, const char *help);
