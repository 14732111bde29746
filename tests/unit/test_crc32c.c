/* CRC-32C: the vectors of RFC 3720 B.4, and the instruction against the table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/crc32c.h"

static void known_vectors_give_their_known_sums(void **state)
{
    (void)state;
    unsigned char bytes[32];
    assert_int_equal(crc32c(0, "123456789", 9), 0xE3069283);
    assert_int_equal(crc32c(0, "", 0), 0);
    memset(bytes, 0, sizeof(bytes));
    assert_int_equal(crc32c(0, bytes, sizeof(bytes)), 0x8A9136AA);
    memset(bytes, 0xff, sizeof(bytes));
    assert_int_equal(crc32c(0, bytes, sizeof(bytes)), 0x62A8AB43);
    for (unsigned i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (unsigned char)i;
    }
    assert_int_equal(crc32c(0, bytes, sizeof(bytes)), 0x46DD794E);
    for (unsigned i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (unsigned char)(31 - i);
    }
    assert_int_equal(crc32c(0, bytes, sizeof(bytes)), 0x113FDB5C);
}

static void the_portable_form_agrees_at_every_length_and_alignment(void **state)
{
    (void)state;
    unsigned char bytes[300];
    uint32_t random = 12345;
    for (size_t i = 0; i < sizeof(bytes); i++) {
        random = random * 1664525 + 1013904223;
        bytes[i] = (unsigned char)(random >> 24);
    }
    for (size_t from = 0; from < 9; from++) {
        for (size_t size = 0; size <= 280; size++) {
            assert_int_equal(crc32c(random, bytes + from, size),
                             crc32c_portable(random, bytes + from, size));
        }
    }
}

static void a_sum_in_pieces_is_the_sum_of_the_whole(void **state)
{
    (void)state;
    static const char text[] = "The quick brown fox jumps over the lazy dog";
    uint32_t whole = crc32c(0, text, sizeof(text));
    for (size_t cut = 0; cut <= sizeof(text); cut++) {
        uint32_t crc = crc32c(0, text, cut);
        assert_int_equal(crc32c(crc, text + cut, sizeof(text) - cut), whole);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_vectors_give_their_known_sums),
        cmocka_unit_test(the_portable_form_agrees_at_every_length_and_alignment),
        cmocka_unit_test(a_sum_in_pieces_is_the_sum_of_the_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
