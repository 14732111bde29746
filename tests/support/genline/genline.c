/*
 * The line format. Speed matters on both ends (a flat-out loggen, an oracle of ten million
 * lines), hence the eight-table CRC. Its tables are constants: each entry is linear in the bits
 * of its index, so that eight values a table are enough for the preprocessor to make all 256.
 * The filler copies words in fixed blocks of 16 bytes and may so write beyond the end, which
 * GENLINE_SLACK allows for.
 */
#include "genline.h"

#include <string.h>

#define BIT(n, b, v) ((((n) >> (b)) & 1U) != 0 ? (v) : 0U)
#define ENTRY(n, a, b, c, d, e, f, g, h)                                                           \
    (BIT(n, 0, a) ^ BIT(n, 1, b) ^ BIT(n, 2, c) ^ BIT(n, 3, d) ^ BIT(n, 4, e) ^ BIT(n, 5, f) ^     \
     BIT(n, 6, g) ^ BIT(n, 7, h))
#define FOUR(n, ...)                                                                               \
    ENTRY((n) + 0U, __VA_ARGS__), ENTRY((n) + 1U, __VA_ARGS__), ENTRY((n) + 2U, __VA_ARGS__),      \
        ENTRY((n) + 3U, __VA_ARGS__)
#define SIXTEEN(n, ...)                                                                            \
    FOUR((n) + 0U, __VA_ARGS__), FOUR((n) + 4U, __VA_ARGS__), FOUR((n) + 8U, __VA_ARGS__),         \
        FOUR((n) + 12U, __VA_ARGS__)
#define SIXTY_FOUR(n, ...)                                                                         \
    SIXTEEN((n) + 0U, __VA_ARGS__), SIXTEEN((n) + 16U, __VA_ARGS__),                               \
        SIXTEEN((n) + 32U, __VA_ARGS__), SIXTEEN((n) + 48U, __VA_ARGS__)
#define TABLE(...)                                                                                 \
    {                                                                                              \
        SIXTY_FOUR(0U, __VA_ARGS__), SIXTY_FOUR(64U, __VA_ARGS__), SIXTY_FOUR(128U, __VA_ARGS__),  \
            SIXTY_FOUR(192U, __VA_ARGS__)                                                          \
    }

static const uint32_t crc_table[8][256] = {
    TABLE(0x77073096U, 0xee0e612cU, 0x076dc419U, 0x0edb8832U, 0x1db71064U, 0x3b6e20c8U, 0x76dc4190U,
          0xedb88320U),
    TABLE(0x191b3141U, 0x32366282U, 0x646cc504U, 0xc8d98a08U, 0x4ac21251U, 0x958424a2U, 0xf0794f05U,
          0x3b83984bU),
    TABLE(0x01c26a37U, 0x0384d46eU, 0x0709a8dcU, 0x0e1351b8U, 0x1c26a370U, 0x384d46e0U, 0x709a8dc0U,
          0xe1351b80U),
    TABLE(0xb8bc6765U, 0xaa09c88bU, 0x8f629757U, 0xc5b428efU, 0x5019579fU, 0xa032af3eU, 0x9b14583dU,
          0xed59b63bU),
    TABLE(0x3d6029b0U, 0x7ac05360U, 0xf580a6c0U, 0x30704bc1U, 0x60e09782U, 0xc1c12f04U, 0x58f35849U,
          0xb1e6b092U),
    TABLE(0xcb5cd3a5U, 0x4dc8a10bU, 0x9b914216U, 0xec53826dU, 0x03d6029bU, 0x07ac0536U, 0x0f580a6cU,
          0x1eb014d8U),
    TABLE(0xa6770bb4U, 0x979f1129U, 0xf44f2413U, 0x33ef4e67U, 0x67de9cceU, 0xcfbd399cU, 0x440b7579U,
          0x8816eaf2U),
    TABLE(0xccaa009eU, 0x4225077dU, 0x844a0efaU, 0xd3e51bb5U, 0x7cbb312bU, 0xf9766256U, 0x299dc2edU,
          0x533b85daU),
};

uint32_t genline_crc32(uint32_t crc, const char *data, size_t len)
{
    const unsigned char *p = (const unsigned char *)data;
    crc = ~crc;
    for (; len >= 8; p += 8, len -= 8) {
        crc ^= (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
        crc = crc_table[7][crc & 0xff] ^ crc_table[6][crc >> 8 & 0xff] ^
              crc_table[5][crc >> 16 & 0xff] ^ crc_table[4][crc >> 24] ^ crc_table[3][p[4]] ^
              crc_table[2][p[5]] ^ crc_table[1][p[6]] ^ crc_table[0][p[7]];
    }
    for (; len > 0; p++, len--) {
        crc = crc_table[0][(crc ^ *p) & 0xff] ^ crc >> 8;
    }
    return ~crc;
}

#define WORD_LEN 16

/* Each is followed by a blank and shorter than WORD_LEN. */
static const char words[64][WORD_LEN] = {
    "INFO",    "WARN",    "DEBUG",    "ERROR",   "request",  "response", "GET",     "POST",
    "PUT",     "DELETE",  "/api/v1",  "/health", "/login",   "/orders",  "user",    "session",
    "token",   "cache",   "hit",      "miss",    "query",    "rows",     "commit",  "rollback",
    "retry",   "timeout", "after",    "ms",      "bytes",    "status",   "200",     "201",
    "204",     "301",     "404",      "500",     "worker",   "queue",    "depth",   "job",
    "started", "done",    "failed",   "because", "upstream", "reset",    "by",      "peer",
    "connect", "closed",  "accepted", "from",    "10.0.3.7", "to",       "shard",   "replica",
    "latency", "p99",     "elapsed",  "thread",  "handler",  "payment",  "invoice", "checkout",
};

static char *put_number(char *out, uint64_t value)
{
    char digits[20];
    size_t count = 0;
    do {
        digits[count++] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    while (count > 0) {
        *out++ = digits[--count];
    }
    return out;
}

static void put_crc(char *out, uint32_t crc)
{
    static const char hex[] = "0123456789abcdef";
    for (int i = 7; i >= 0; i--, crc >>= 4) {
        out[i] = hex[crc & 15];
    }
}

static void fill(char *out, const char *end, uint64_t seed)
{
    uint64_t state = (seed + 1) * 0x9e3779b97f4a7c15U;
    while (out < end) {
        state = state * 6364136223846793005U + 1442695040888963407U;
        uint32_t random = (uint32_t)(state >> 32);
        if ((random & 3) == 0) {
            out = put_number(out, random >> (12 + (random >> 2 & 7)));
        } else {
            const char *word = words[random >> 4 & 63];
            memcpy(out, word, WORD_LEN);
            out += strlen(word);
        }
        *out++ = ' ';
    }
}

size_t genline_format(char *buf, const struct genline *line, size_t size)
{
    memcpy(buf, line->name, line->name_len);
    char *p = buf + line->name_len;
    *p++ = ' ';
    *p++ = line->stream;
    *p++ = ' ';
    p = put_number(p, line->seq);
    *p++ = ' ';
    uint32_t crc = genline_crc32(0, buf, (size_t)(p - buf));
    char *crc_at = p;
    p += 8;
    if (size > (size_t)(p - buf) + 1) {
        char *rest = p;
        *p++ = ' ';
        fill(p, buf + size, line->seq * 2 + (line->stream == 'e'));
        p = buf + size;
        p[-1] = '.'; /* never a blank, which some transports trim */
        crc = genline_crc32(crc, rest, (size_t)(p - rest));
    }
    put_crc(crc_at, crc);
    return (size_t)(p - buf);
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Reads "<digits> " at *pos; 0 when it is not there or overflows a sane number of digits. */
static int take_seq(const char *data, size_t len, size_t *pos, uint64_t *ret_seq)
{
    size_t at = *pos;
    uint64_t seq = 0;
    while (at < len && at - *pos < 18 && data[at] >= '0' && data[at] <= '9') {
        seq = seq * 10 + (uint64_t)(data[at++] - '0');
    }
    if (at == *pos || at >= len || data[at] != ' ') {
        return 0;
    }
    *pos = at + 1;
    *ret_seq = seq;
    return 1;
}

static int take_crc(const char *data, size_t len, size_t pos, uint32_t *ret_crc)
{
    if (len - pos < 8 || (len - pos > 8 && data[pos + 8] != ' ')) {
        return 0;
    }
    uint32_t crc = 0;
    for (size_t i = 0; i < 8; i++) {
        int digit = hex_digit(data[pos + i]);
        if (digit < 0) {
            return 0;
        }
        crc = crc << 4 | (uint32_t)digit;
    }
    *ret_crc = crc;
    return 1;
}

enum genline_verdict genline_parse(const char *data, size_t len, struct genline *ret_line)
{
    const char *blank = memchr(data, ' ', len < GENLINE_NAME_MAX + 1 ? len : GENLINE_NAME_MAX + 1);
    if (blank == NULL || blank == data || (size_t)(blank - data) + 3 > len) {
        return GENLINE_FOREIGN;
    }
    struct genline line = {.name = data, .name_len = (size_t)(blank - data), .stream = blank[1]};
    size_t pos = line.name_len + 3;
    uint32_t crc;
    if ((line.stream != 'o' && line.stream != 'e') || blank[2] != ' ' ||
        !take_seq(data, len, &pos, &line.seq) || !take_crc(data, len, pos, &crc)) {
        return GENLINE_FOREIGN;
    }
    uint32_t actual = genline_crc32(0, data, pos);
    actual = genline_crc32(actual, data + pos + 8, len - pos - 8);
    *ret_line = line;
    return actual == crc ? GENLINE_OK : GENLINE_CORRUPT;
}
