/*
 * Presets: what a pool's containers are, read from a YAML file. The built-in file is presets.yaml beside
 * this header; it is also the description of the format. Any thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/option.h"

#define PRESET_PORTS_LIMIT 8

enum preset_ready {
    PRESET_READY_PORT, /* the port accepts a connection and keeps it, or answers as it should */
    PRESET_READY_LOG,  /* the text was printed */
    PRESET_READY_HTTP, /* GET path answers 2xx */
    PRESET_READY_EXEC  /* the command ends with 0 within the container */
};

enum preset_reset {
    PRESET_RESET_NONE,    /* it is used again as it is */
    PRESET_RESET_SEND,    /* sent to a port, whose answer must have something in it */
    PRESET_RESET_EXEC,    /* a command within the container, which must end with 0 */
    PRESET_RESET_RESTART, /* and ready again */
    PRESET_RESET_REPLACE  /* another one takes its place */
};

struct preset_talk {
    uint16_t port;
    char *send, *expect; /* NULL: nothing is sent; anything will do */
};

/* Each list ends with a NULL that its count does not include. */
struct preset {
    char *name, *image;
    struct text_list command, environment; /* with {host}, {number}, {host_port:N} in them */
    uint16_t ports[PRESET_PORTS_LIMIT];    /* TCP; the first is the address */
    size_t port_count;
    uint64_t memory_bytes; /* limit; 0: none */
    enum preset_ready ready;
    struct preset_talk ready_talk;  /* PORT; of HTTP the port */
    char *ready_text;               /* LOG: text; HTTP: path */
    struct text_list ready_command; /* EXEC */
    int64_t startup_timeout_ns;
    enum preset_reset reset;
    struct preset_talk reset_talk;  /* SEND */
    struct text_list reset_command; /* EXEC */
    bool network; /* the pool's containers share a network of their own, by name */
};

/* The preset of that name; file NULL: the built-in ones. -ENOENT (with the names there are), -EINVAL with
 * the place, or why the file can't be read. Caller frees with preset_destroy(). */
int preset_load(const char *file, const char *name, struct preset **ret_preset, struct error *error)
    __attribute__((warn_unused_result));
/* Parses a file's text. */
int preset_parse(const char *text, size_t size, const char *name, struct preset **ret_preset,
                 struct error *error) __attribute__((warn_unused_result));
void preset_destroy(struct preset *preset);
/* The text of the built-in file, terminated. */
extern const char preset_builtin[];

/* What the braces in a text stand for. */
struct preset_values {
    const char *host;
    unsigned number;            /* of the container in its pool, from 0 */
    const uint16_t *host_ports; /* for preset->ports */
};
/* A new text with the braces replaced. -EINVAL: braces that mean nothing (only where preset_parse()
 * was not asked), -ENOMEM. Caller frees. */
int preset_expand(const struct preset *preset, const char *text, const struct preset_values *values,
                  char **ret_text, struct error *error) __attribute__((warn_unused_result));
