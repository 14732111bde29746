/*
 * oracle: did every line arrive, once, whole and in order?
 *
 * Reads what was captured on stdin and keeps, per (container id, name in the line, stream), the
 * set of sequence numbers seen. Counted are
 *   missing     numbers not seen: of the --expect range, or without one between first and last
 *   doubled     numbers seen again
 *   disordered  new numbers lower than one printed before
 *   corrupt     lines whose CRC is wrong, or which came out of the wrong stream
 *   foreign     lines of another format (no fault)
 * Exit code 0: no fault; 1: a fault; 2: bad usage; 3: trouble.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "genline/genline.h"
#include "oracle/jsonline.h"
#include "oracle/seqset.h"

#define ID_MAX 80
#define READ_BYTES ((size_t)256 * 1024)

struct stream {
    uint64_t hash;
    char id[ID_MAX + 1];
    size_t id_len;
    char name[GENLINE_NAME_MAX + 1];
    size_t name_len;
    char letter;
    bool expected;
    uint64_t missing;
    uint64_t doubled;
    uint64_t disordered;
    struct seqset seen;
};

struct expectation {
    char name[GENLINE_NAME_MAX + 1];
    char letter;
    uint64_t first;
    uint64_t last;
    uint64_t missing;
};

struct totals {
    uint64_t lines;
    uint64_t missing;
    uint64_t doubled;
    uint64_t disordered;
    uint64_t corrupt;
    uint64_t foreign;
};

struct oracle {
    bool raw;
    bool quiet;
    bool json;
    bool any_stream;
    bool allow_doubled;
    struct stream **table; /* open addressing, size a power of two */
    size_t table_size;
    struct stream **streams; /* as first seen */
    size_t stream_count;
    struct expectation *expectations;
    size_t expectation_count;
    struct totals totals;
};

static void fail(const char *what)
{
    fprintf(stderr, "oracle: %s\n", what);
    exit(3);
}

static void *resize(void *memory, size_t count, size_t size)
{
    void *grown = reallocarray(memory, count, size);
    if (grown == NULL) {
        fail("out of memory");
    }
    return grown;
}

static uint64_t hash_bytes(uint64_t hash, const char *data, size_t len)
{
    while (len > 0) {
        uint64_t word = len;
        size_t step = len < sizeof word ? len : sizeof word;
        memcpy(&word, data, step);
        hash = (hash ^ word) * 0x9fb21c651e98df25U;
        hash ^= hash >> 29;
        data += step;
        len -= step;
    }
    return hash;
}

static bool is_stream(const struct stream *stream, uint64_t hash, const struct jsonline_text *id,
                      const struct genline *line)
{
    return stream->hash == hash && stream->id_len == id->len &&
           stream->name_len == line->name_len && stream->letter == line->stream &&
           memcmp(stream->name, line->name, line->name_len) == 0 &&
           (id->len == 0 || memcmp(stream->id, id->data, id->len) == 0);
}

static struct stream **oracle_slot(struct oracle *oracle, uint64_t hash,
                                   const struct jsonline_text *id, const struct genline *line)
{
    size_t mask = oracle->table_size - 1;
    size_t at = (size_t)hash & mask;
    while (oracle->table[at] != NULL && !is_stream(oracle->table[at], hash, id, line)) {
        at = (at + 1) & mask;
    }
    return &oracle->table[at];
}

static void oracle_grow_table(struct oracle *oracle)
{
    size_t size = oracle->table_size == 0 ? 256 : oracle->table_size * 2;
    free(oracle->table);
    oracle->table = calloc(size, sizeof(struct stream *));
    if (oracle->table == NULL) {
        fail("out of memory");
    }
    oracle->table_size = size;
    for (size_t i = 0; i < oracle->stream_count; i++) {
        size_t at = (size_t)oracle->streams[i]->hash & (size - 1);
        while (oracle->table[at] != NULL) {
            at = (at + 1) & (size - 1);
        }
        oracle->table[at] = oracle->streams[i];
    }
}

static struct stream *oracle_add_stream(struct oracle *oracle, uint64_t hash,
                                        const struct jsonline_text *id, const struct genline *line)
{
    struct stream *stream = calloc(1, sizeof *stream);
    if (stream == NULL) {
        fail("out of memory");
    }
    stream->hash = hash;
    stream->letter = line->stream;
    stream->name_len = line->name_len;
    memcpy(stream->name, line->name, line->name_len);
    stream->id_len = id->len;
    if (id->len > 0) {
        memcpy(stream->id, id->data, id->len);
    }
    if ((oracle->stream_count & (oracle->stream_count - 1)) == 0) {
        size_t room = oracle->stream_count == 0 ? 1 : oracle->stream_count * 2;
        oracle->streams = resize(oracle->streams, room, sizeof(struct stream *));
    }
    oracle->streams[oracle->stream_count++] = stream;
    if (oracle->stream_count * 2 > oracle->table_size) {
        oracle_grow_table(oracle);
    } else {
        *oracle_slot(oracle, hash, id, line) = stream;
    }
    return stream;
}

static struct stream *oracle_find_stream(struct oracle *oracle, struct jsonline_text id,
                                         const struct genline *line)
{
    id.len = id.len > ID_MAX ? ID_MAX : id.len;
    uint64_t hash = hash_bytes((uint64_t)line->stream, line->name, line->name_len);
    hash = hash_bytes(hash, id.data, id.len);
    if (oracle->table_size > 0) {
        struct stream *stream = *oracle_slot(oracle, hash, &id, line);
        if (stream != NULL) {
            return stream;
        }
    }
    return oracle_add_stream(oracle, hash, &id, line);
}

/* A TTY has one stream only, and says so. */
static bool stream_agrees(const struct oracle *oracle, const struct jsonline_text *stream,
                          char letter)
{
    if (oracle->any_stream || stream->data == NULL) {
        return true;
    }
    if (stream->len == 6 && memcmp(stream->data, "stdout", 6) == 0) {
        return letter == 'o';
    }
    return !(stream->len == 6 && memcmp(stream->data, "stderr", 6) == 0) || letter == 'e';
}

static void oracle_note(struct oracle *oracle, struct stream *stream, uint64_t seq)
{
    uint64_t last = stream->seen.last;
    bool lower = stream->seen.count > 0 && seq < last;
    int rc = seqset_add(&stream->seen, seq);
    if (rc == -ERANGE) {
        oracle->totals.corrupt++;
    } else if (rc == -EEXIST) {
        stream->doubled++;
    } else if (lower) {
        stream->disordered++;
    }
}

static void oracle_line(struct oracle *oracle, const struct jsonline *entry)
{
    struct genline line;
    size_t len = entry->line.len;
    if (len > 0 && entry->line.data[len - 1] == '\r') {
        len--;
    }
    enum genline_verdict verdict = len > 0 ? genline_parse(entry->line.data, len, &line)
                                           : GENLINE_FOREIGN;
    if (verdict == GENLINE_FOREIGN) {
        oracle->totals.foreign++;
    } else if (verdict == GENLINE_CORRUPT || !stream_agrees(oracle, &entry->stream, line.stream)) {
        oracle->totals.corrupt++;
    } else {
        oracle_note(oracle, oracle_find_stream(oracle, entry->container_id, &line), line.seq);
    }
}

static void oracle_input(struct oracle *oracle, char *data, size_t len)
{
    struct jsonline entry = {.line = {.data = data, .len = len}};
    oracle->totals.lines++;
    if (!oracle->raw && jsonline_parse(data, len, &entry) < 0) {
        oracle->totals.foreign++;
        return;
    }
    oracle_line(oracle, &entry);
}

/* Takes the whole lines out of data, returns the bytes left at its front. */
static size_t oracle_lines(struct oracle *oracle, char *data, size_t used)
{
    char *start = data;
    char *end = data + used;
    char *newline;
    while ((newline = memchr(start, '\n', (size_t)(end - start))) != NULL) {
        oracle_input(oracle, start, (size_t)(newline - start));
        start = newline + 1;
    }
    size_t left = (size_t)(end - start);
    memmove(data, start, left);
    return left;
}

static void oracle_read(struct oracle *oracle, int fd)
{
    char *data = NULL;
    size_t room = 0;
    size_t used = 0;
    for (;;) {
        if (room - used < READ_BYTES) {
            room = room == 0 ? READ_BYTES * 2 : room * 2;
            data = resize(data, room, 1);
        }
        ssize_t count = read(fd, data + used, READ_BYTES);
        if (count < 0 && errno != EINTR) {
            fail(strerror(errno));
        }
        if (count == 0) {
            break;
        }
        if (count > 0) {
            /* memchr need not look again at what is known to hold no newline */
            char *fresh = data + used;
            bool whole = memchr(fresh, '\n', (size_t)count) != NULL;
            used += (size_t)count;
            used = whole ? oracle_lines(oracle, data, used) : used;
        }
    }
    if (used > 0) {
        oracle_input(oracle, data, used);
    }
    free(data);
}

static bool expectation_matches(const struct expectation *expectation, const struct stream *stream)
{
    return expectation->letter == stream->letter && strcmp(expectation->name, stream->name) == 0;
}

/* A name may have come from several containers: a number counts as seen if any of them wrote it. */
static void oracle_check_expectation(struct oracle *oracle, struct expectation *expectation)
{
    struct stream **matching = resize(NULL, oracle->stream_count + 1, sizeof(struct stream *));
    size_t count = 0;
    for (size_t i = 0; i < oracle->stream_count; i++) {
        if (expectation_matches(expectation, oracle->streams[i])) {
            oracle->streams[i]->expected = true;
            matching[count++] = oracle->streams[i];
        }
    }
    for (uint64_t seq = expectation->first; seq <= expectation->last; seq++) {
        size_t i = 0;
        while (i < count && !seqset_has(&matching[i]->seen, seq)) {
            i++;
        }
        expectation->missing += i == count;
    }
    for (size_t i = 0; i < count; i++) {
        matching[i]->missing = expectation->missing;
    }
    oracle->totals.missing += expectation->missing;
    free(matching);
}

static void oracle_sum(struct oracle *oracle)
{
    for (size_t i = 0; i < oracle->expectation_count; i++) {
        oracle_check_expectation(oracle, &oracle->expectations[i]);
    }
    for (size_t i = 0; i < oracle->stream_count; i++) {
        struct stream *stream = oracle->streams[i];
        if (!stream->expected && stream->seen.count > 0) {
            stream->missing = stream->seen.last - stream->seen.first + 1 - stream->seen.count;
            oracle->totals.missing += stream->missing;
        }
        oracle->totals.doubled += stream->doubled;
        oracle->totals.disordered += stream->disordered;
    }
}

static void print_streams(const struct oracle *oracle)
{
    for (size_t i = 0; i < oracle->stream_count; i++) {
        const struct stream *stream = oracle->streams[i];
        printf("%s:%c id=%.12s first=%" PRIu64 " last=%" PRIu64 " seen=%" PRIu64 " missing=%" PRIu64
               " doubled=%" PRIu64 " disordered=%" PRIu64 "\n",
               stream->name, stream->letter, stream->id_len > 0 ? stream->id : "-",
               stream->seen.first, stream->seen.last, stream->seen.count, stream->missing,
               stream->doubled, stream->disordered);
    }
    for (size_t i = 0; i < oracle->expectation_count; i++) {
        const struct expectation *expectation = &oracle->expectations[i];
        printf("expected %s:%c %" PRIu64 "-%" PRIu64 " missing=%" PRIu64 "\n", expectation->name,
               expectation->letter, expectation->first, expectation->last, expectation->missing);
    }
}

static void print_json_text(const char *text)
{
    putchar('"');
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\') {
            putchar('\\');
        }
        if (c < 0x20) {
            printf("\\u%04x", c);
        } else {
            putchar(c);
        }
    }
    putchar('"');
}

static void print_json(const struct oracle *oracle)
{
    const struct totals *totals = &oracle->totals;
    printf("{\"lines\":%" PRIu64 ",\"missing\":%" PRIu64 ",\"doubled\":%" PRIu64
           ",\"disordered\":%" PRIu64 ",\"corrupt\":%" PRIu64 ",\"foreign\":%" PRIu64,
           totals->lines, totals->missing, totals->doubled, totals->disordered, totals->corrupt,
           totals->foreign);
    fputs(",\"streams\":[", stdout);
    for (size_t i = 0; i < oracle->stream_count && !oracle->quiet; i++) {
        const struct stream *stream = oracle->streams[i];
        fputs(i == 0 ? "{\"name\":" : ",{\"name\":", stdout);
        print_json_text(stream->name);
        fputs(",\"id\":", stdout);
        print_json_text(stream->id);
        printf(",\"stream\":\"%c\",\"first\":%" PRIu64 ",\"last\":%" PRIu64 ",\"seen\":%" PRIu64
               ",\"missing\":%" PRIu64 ",\"doubled\":%" PRIu64 ",\"disordered\":%" PRIu64 "}",
               stream->letter, stream->seen.first, stream->seen.last, stream->seen.count,
               stream->missing, stream->doubled, stream->disordered);
    }
    puts("]}");
}

static void oracle_print(const struct oracle *oracle)
{
    const struct totals *totals = &oracle->totals;
    if (oracle->json) {
        print_json(oracle);
        return;
    }
    if (!oracle->quiet) {
        print_streams(oracle);
    }
    printf("lines=%" PRIu64 " missing=%" PRIu64 " doubled=%" PRIu64 " disordered=%" PRIu64
           " corrupt=%" PRIu64 " foreign=%" PRIu64 "\n",
           totals->lines, totals->missing, totals->doubled, totals->disordered, totals->corrupt,
           totals->foreign);
}

static void usage(FILE *to)
{
    fputs("usage: oracle [options] < lines\n"
          "  input: JSON lines of `log_capturer search -o json`\n"
          "  --raw                        input: the bare lines\n"
          "  --expect NAME:o|e:FIRST-LAST these must be there (may be repeated)\n"
          "  --allow-doubled              a line seen again is counted, but is no fault\n"
          "  --any-stream                 do not compare the stream with the line's letter\n"
          "  --quiet                      only the total\n"
          "  --json                       the summary as JSON\n",
          to);
}

static void oracle_expect(struct oracle *oracle, const char *text)
{
    struct expectation wanted = {.letter = '\0'};
    int end = 0;
    if (sscanf(text, "%128[^: ]:%c:%18" SCNu64 "-%18" SCNu64 "%n", wanted.name, &wanted.letter,
               &wanted.first, &wanted.last, &end) != 4 ||
        text[end] != '\0' || (wanted.letter != 'o' && wanted.letter != 'e') ||
        wanted.last < wanted.first) {
        fprintf(stderr, "oracle: --expect: not NAME:o|e:FIRST-LAST: %s\n", text);
        exit(2);
    }
    size_t count = oracle->expectation_count + 1;
    oracle->expectations = resize(oracle->expectations, count, sizeof wanted);
    oracle->expectations[oracle->expectation_count++] = wanted;
}

static void oracle_options(struct oracle *oracle, int argc, char **argv)
{
    static const struct option options[] = {
        {"raw", no_argument, NULL, 'r'},           {"expect", required_argument, NULL, 'e'},
        {"quiet", no_argument, NULL, 'q'},         {"json", no_argument, NULL, 'j'},
        {"any-stream", no_argument, NULL, 'a'},    {"help", no_argument, NULL, 'h'},
        {"allow-doubled", no_argument, NULL, 'd'}, {NULL, 0, NULL, 0},
    };
    int key;
    while ((key = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (key) {
        case 'r':
            oracle->raw = true;
            break;
        case 'q':
            oracle->quiet = true;
            break;
        case 'j':
            oracle->json = true;
            break;
        case 'a':
            oracle->any_stream = true;
            break;
        case 'd':
            oracle->allow_doubled = true;
            break;
        case 'e':
            oracle_expect(oracle, optarg);
            break;
        default:
            usage(key == 'h' ? stdout : stderr);
            exit(key == 'h' ? 0 : 2);
        }
    }
    if (optind != argc) {
        usage(stderr);
        exit(2);
    }
}

static void oracle_finish(struct oracle *oracle)
{
    for (size_t i = 0; i < oracle->stream_count; i++) {
        seqset_finish(&oracle->streams[i]->seen);
        free(oracle->streams[i]);
    }
    free(oracle->streams);
    free(oracle->table);
    free(oracle->expectations);
}

int main(int argc, char **argv)
{
    struct oracle oracle = {0};
    oracle_options(&oracle, argc, argv);
    oracle_read(&oracle, STDIN_FILENO);
    oracle_sum(&oracle);
    oracle_print(&oracle);
    const struct totals *totals = &oracle.totals;
    bool fault = totals->missing > 0 || totals->disordered > 0 || totals->corrupt > 0 ||
                 (totals->doubled > 0 && !oracle.allow_doubled);
    oracle_finish(&oracle);
    return fault ? 1 : 0;
}
