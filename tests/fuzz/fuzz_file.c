/*
 * The file sink's path template and its journal. Byte 0 chooses what the rest is: names of a hostile
 * container for templates of ours, a template of anybody's (what the check takes never leads out of
 * the folder), or the bytes of a journal, as they are or with a right checksum.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "sinks/file_journal.h"
#include "sinks/file_path.h"

#define NAME_MAX_BYTES 255
#define VALUES 6

static void must(bool condition)
{
    if (!condition) {
        abort();
    }
}

static size_t count_slashes(const char *text)
{
    size_t count = 0;
    for (; *text != '\0'; text++) {
        count += *text == '/';
    }
    return count;
}

/* Every component is a name, none is too long, and only the template made folders. */
static void check_path(const char *path, const char *template)
{
    must(count_slashes(path) == count_slashes(template + file_path_base(template)));
    for (const char *part = path;;) {
        size_t size = strcspn(part, "/");
        must(size > 0 && size <= NAME_MAX_BYTES);
        must(!(size == 1 && part[0] == '.'));
        must(!(size == 2 && part[0] == '.' && part[1] == '.'));
        if (part[size] == '\0') {
            return;
        }
        part += size + 1;
    }
}

static void expand(const char *template, char *const values[VALUES])
{
    struct record_label labels[] = {{"com.docker.compose.project", values[4]},
                                    {"com.docker.compose.service", values[5]}};
    struct record_origin origin = {values[0], values[1], values[2], values[3], labels, 2};
    must(file_path_base(template) > 0 && file_path_base(template) < strlen(template));
    for (int stream = RECORD_STDOUT; stream <= RECORD_STDERR; stream++) {
        struct buf out;
        buf_init(&out, 0);
        must(file_path_expand(template, &origin, (enum record_stream)stream, &out) == 0);
        must(buf_terminated(&out) != NULL && strlen(out.data) == out.size);
        must(strchr(out.data, '\n') == NULL); /* the journal has a line for it */
        check_path(out.data, template);
        buf_finish(&out);
    }
}

/* Values are parted by bytes 0; those that are missing are empty. */
static void check_values(const char *text, size_t size)
{
    static const char *const templates[] = {
        "/l/{container.name}.log",
        "/l/{daemon}/{container.image}/{container.id}.log",
        "/l/.{container.name}/{stream}.log",
        "/l/{compose_project}/{compose_service}.log",
        "/l/x{compose_project}{compose_service}.log",
    };
    char *values[VALUES];
    char *copy = malloc(size + VALUES + 1);
    must(copy != NULL);
    memcpy(copy, text, size);
    memset(copy + size, 0, VALUES + 1);
    char *at = copy;
    for (size_t i = 0; i < VALUES; i++) {
        values[i] = at;
        at += at < copy + size + VALUES ? strlen(at) + 1 : 0;
    }
    for (size_t i = 0; i < sizeof(templates) / sizeof(templates[0]); i++) {
        must(file_path_check(templates[i], NULL) == 0);
        expand(templates[i], values);
    }
    free(copy);
}

static void check_template(const char *text, size_t size)
{
    static char long_value[300];
    char dots[] = "..";
    char slash[] = "/../x";
    char empty[] = "";
    char newline[] = "a\nb";
    char plain[] = "web";
    memset(long_value, 'v', sizeof(long_value) - 1);
    char *const hostile[VALUES] = {dots, slash, empty, newline, dots, plain};
    char *const lengthy[VALUES] = {plain,      long_value, long_value,
                                   long_value, long_value, long_value};
    char *template = malloc(size +
                            1); /* strndup() reads behind what is not terminated, says ASan */
    struct error error = {""};
    must(template != NULL);
    memcpy(template, text, size);
    template[size] = '\0';
    if (file_path_check(template, &error) == 0) {
        expand(template, hostile);
        expand(template, lengthy);
    } else {
        must(error.text[0] != '\0');
    }
    free(template);
}

static int take_entry(const struct file_journal_entry *entry, void *data)
{
    must(entry->path[0] != '\0' && strchr(entry->path, '\n') == NULL);
    (*(size_t *)data)++;
    return 0;
}

static void check_journal(const char *text, size_t size, bool with_sum)
{
    static int fd = -1;
    static char path[64];
    struct buf bytes;
    struct error error = {""};
    size_t count = 0;
    if (fd < 0) {
        fd = memfd_create("journal", MFD_CLOEXEC);
        must(fd >= 0);
        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    }
    buf_init(&bytes, 0);
    if (with_sum) {
        must(file_journal_begin(&bytes, "/l/") == 0);
    }
    must(buf_append(&bytes, text, size) == 0);
    if (with_sum) {
        must(buf_printf(&bytes, "crc32c %08x\n", crc32c(0, bytes.data, bytes.size)) == 0);
    }
    must(ftruncate(fd, 0) == 0);
    must(pwrite(fd, bytes.data, bytes.size, 0) == (ssize_t)bytes.size);
    buf_finish(&bytes);
    int rc = file_journal_read(path, "/l/", take_entry, &count, &error);
    must(rc == 0 || error.text[0] != '\0');
    must(count <= size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1) {
        return 0;
    }
    const char *text = (const char *)data + 1;
    size--;
    switch (data[0] % 4) {
    case 0:
        check_values(text, size);
        break;
    case 1:
        check_template(text, size);
        break;
    case 2:
        check_journal(text, size, true);
        break;
    default:
        check_journal(text, size, false);
        break;
    }
    return 0;
}
