/*
 * A message for a person, filled where something fails and shown, once, by an upper row.
 * Functions return 0 or a negative errno; `struct error *` is their optional last argument.
 * It belongs to the caller; any thread may use its own.
 */
#pragma once

struct error {
    char text[512]; /* always terminated; cut when longer */
};

/* Replaces the text. Does nothing when error is NULL. */
void error_set(struct error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Puts `<prefix>: ` before the text; for callers that know the place. NULL is ignored. */
void error_prefix(struct error *error, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
