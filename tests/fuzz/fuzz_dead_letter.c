/* Any bytes as a line of a dead-letter file: refused with a reason, or read; and what was read comes
 * back the same when it is written and read again. */
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "push_request/push_request.h"
#include "sinks/sink_dead_letters.h"

static void must(bool condition)
{
    if (!condition) {
        abort();
    }
}

static void compare(const struct sink_dead_letter_record *a,
                    const struct sink_dead_letter_record *b)
{
    must(a->record.time_ns == b->record.time_ns && a->record.stream == b->record.stream &&
         a->record.flags == b->record.flags && a->record.line_bytes == b->record.line_bytes);
    must(memcmp(a->record.line, b->record.line, a->record.line_bytes) == 0);
    must(strcmp(a->origin.daemon, b->origin.daemon) == 0);
    must(strcmp(a->origin.container_id, b->origin.container_id) == 0);
    must(strcmp(a->origin.name, b->origin.name) == 0);
    must(strcmp(a->origin.image, b->origin.image) == 0);
    must(a->origin.label_count == b->origin.label_count);
    for (size_t i = 0; i < a->origin.label_count; i++) {
        must(strcmp(a->origin.labels[i].key, b->origin.labels[i].key) == 0);
        must(strcmp(a->origin.labels[i].value, b->origin.labels[i].value) == 0);
    }
}

static void write_again(const struct sink_dead_letter_record *letter)
{
    char path[64];
    int fd = memfd_create("letter", MFD_CLOEXEC);
    must(fd >= 0);
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    struct sink_origin origin = {.view = letter->origin};
    struct sink_record record = {.origin = &origin, .record = letter->record};
    must(sink_dead_letters_append(path, &(struct sink_dead_letter){.sink = "fuzz",
                                                                   .reason = "why",
                                                                   .reason_bytes = 3,
                                                                   .record = &record}) == 0);
    off_t size = lseek(fd, 0, SEEK_END);
    must(size > 0);
    char *bytes = malloc((size_t)size);
    must(bytes != NULL && pread(fd, bytes, (size_t)size, 0) == size);
    must(memchr(bytes, '\n', (size_t)size) == bytes + size - 1);
    struct sink_dead_letter_record again;
    must(sink_dead_letter_parse(bytes, (size_t)size - 1, &again, NULL) == 0);
    compare(letter, &again);
    sink_dead_letter_free(&again);
    free(bytes);
    (void)close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sink_dead_letter_record letter;
    struct error error = {""};
    int rc = sink_dead_letter_parse((const char *)data, size, &letter, &error);
    if (rc != 0) {
        must(rc == -EINVAL && error.text[0] != '\0');
        return 0;
    }
    if (push_is_utf8((const char *)data, size)) { /* as every letter is that we wrote */
        write_again(&letter);
    }
    sink_dead_letter_free(&letter);
    return 0;
}
