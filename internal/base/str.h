/*
 * Text helpers: numbers, durations, sizes, globs, suggestions. Pure functions, any thread.
 * The parsers take whole strings and leave outputs untouched on failure (-EINVAL, -ERANGE).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

int str_parse_u64(const char *text, uint64_t *ret_value) __attribute__((warn_unused_result));
/* `90s`, `20ms`, `1h30m`, `7d`, `250us`; a bare `0` is zero. Units: us ms s m h d. */
int str_parse_duration(const char *text, int64_t *ret_ns) __attribute__((warn_unused_result));
/* `2GiB`, `512KiB`, `10MB`, `4096`. Powers of 1024 with i, of 1000 without. */
int str_parse_size(const char *text, uint64_t *ret_bytes) __attribute__((warn_unused_result));
/* Shortest exact forms of the above. */
void str_format_duration(int64_t ns, char *ret_text, size_t text_bytes);
void str_format_size(uint64_t bytes, char *ret_text, size_t text_bytes);

/* Shell-like pattern over the whole text: `*` any run, `?` any one byte. Case matters. */
bool str_glob_match(const char *pattern, const char *text);
bool str_starts_with(const char *text, const char *prefix);
/* Levenshtein distance, for "did you mean"; texts over 63 bytes are as far as can be. */
unsigned str_distance(const char *a, const char *b);
/* Copies and terminates, cutting what does not fit; returns ret_text. */
char *str_copy(char *ret_text, size_t text_bytes, const char *from);
/* 64-bit hash for tables and fingerprints (FNV-1a); not for hostile keys in large numbers. */
uint64_t str_hash(const void *bytes, size_t size);
/* Number of bytes of the valid UTF-8 sequence (RFC 3629) at `bytes`; 0 when there is none. */
size_t str_utf8_length(const char *bytes, size_t size);
bool str_is_utf8(const char *bytes, size_t size);
