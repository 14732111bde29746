/* Bounded messages; nothing here allocates, so that being out of memory can be reported too. */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void error_set(struct error *error, const char *format, ...)
{
    if (error == NULL) {
        return;
    }
    va_list args;
    va_start(args, format);
    (void)vsnprintf(error->text, sizeof(error->text), format, args);
    va_end(args);
}

void error_prefix(struct error *error, const char *format, ...)
{
    if (error == NULL) {
        return;
    }
    struct error old = *error;
    va_list args;
    va_start(args, format);
    int n = vsnprintf(error->text, sizeof(error->text), format, args);
    va_end(args);
    if (n < 0 || (size_t)n >= sizeof(error->text)) {
        return;
    }
    size_t room = sizeof(error->text) - (size_t)n;
    int rest = snprintf(error->text + n, room, ": %s", old.text);
    if (rest < 0) {
        error->text[n] = '\0';
    }
}
