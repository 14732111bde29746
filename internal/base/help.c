/* Words are kept whole; a line break in the text is one in the output, and an empty line stays empty. */
#include "base/help.h"

#include <stdio.h>
#include <string.h>

void help_put_wrapped(const char *text, size_t column, size_t indent)
{
    while (*text != '\0') {
        size_t size = strcspn(text, " \n");
        if (column + size > HELP_COLUMNS && column > indent) {
            (void)printf("\n%*s", (int)indent, "");
            column = indent;
        }
        (void)printf("%.*s", (int)size, text);
        column += size;
        text += size;
        if (*text == '\n') {
            (void)printf("\n%*s", text[1] == '\n' ? 0 : (int)indent, "");
            column = indent;
            text++;
        } else if (*text == ' ') {
            if (column < HELP_COLUMNS && text[1] != '\0' &&
                column + 1 + strcspn(text + 1, " \n") <= HELP_COLUMNS) {
                (void)printf(" ");
            }
            column++;
            text++;
        }
    }
    (void)printf("\n");
}

void help_put_row(const char *left, const char *help)
{
    int n = printf("  %s", left);
    (void)printf("%s%*s", n < HELP_INDENT ? "" : "\n",
                 n < HELP_INDENT ? HELP_INDENT - n : HELP_INDENT, "");
    help_put_wrapped(help, HELP_INDENT, HELP_INDENT);
}
