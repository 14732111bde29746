/* The file sink's path template, with names that a hostile container may have, and its journal. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "sinks/file_journal.h"
#include "sinks/file_path.h"

#define NAME_MAX_BYTES 255
#define ROTATED_BYTES (sizeof(".100000.gz.tmp") - 1) /* what rotation may put behind a name */

static const struct record_label compose[] = {{"com.docker.compose.project", "shop"},
                                              {"com.docker.compose.service", "web"}};
static const struct record_origin plain = {"local",      "0123456789ab", "shop-web-1",
                                           "nginx:1.25", compose,        2};

static void expect_path(const char *template, const struct record_origin *origin,
                        const char *expected)
{
    struct buf out;
    buf_init(&out, 0);
    assert_int_equal(file_path_expand(template, origin, RECORD_STDOUT, &out), 0);
    assert_non_null(buf_terminated(&out));
    assert_string_equal(out.data, expected);
    buf_finish(&out);
}

static void every_field_gives_its_value(void **state)
{
    (void)state;
    expect_path("/l/{container.name}.log", &plain, "shop-web-1.log");
    expect_path("/l/{container.id}.log", &plain, "0123456789ab.log");
    expect_path("/l/{container.image}.log", &plain, "nginx_1.25.log");
    expect_path("/l/{daemon}.log", &plain, "local.log");
    expect_path("/l/{stream}.log", &plain, "stdout.log");
    expect_path("/l/{compose_project}.log", &plain, "shop.log");
    expect_path("/l/{compose_service}.log", &plain, "web.log");
    expect_path("/l/all.log", &plain, "all.log");
    expect_path("/l/{daemon}/{compose_project}-{compose_service}/{container.name}.{stream}.log",
                &plain, "local/shop-web/shop-web-1.stdout.log");
}

static void the_stream_chooses_the_file(void **state)
{
    (void)state;
    struct buf out;
    buf_init(&out, 0);
    assert_int_equal(file_path_expand("/l/{stream}", &plain, RECORD_STDERR, &out), 0);
    assert_non_null(buf_terminated(&out));
    assert_string_equal(out.data, "stderr");
    buf_finish(&out);
    assert_true(file_path_has_stream("/l/{container.name}-{stream}.log"));
    assert_false(file_path_has_stream("/l/stream.log"));
}

static void the_folder_is_what_no_field_is_in(void **state)
{
    (void)state;
    assert_int_equal(file_path_base("/var/log/{container.name}.log"), strlen("/var/log/"));
    assert_int_equal(file_path_base("/var/log/x-{daemon}/a.log"), strlen("/var/log/"));
    assert_int_equal(file_path_base("/var/log/all.log"), strlen("/var/log/"));
    assert_int_equal(file_path_base("/all.log"), 1);
    assert_int_equal(file_path_base("/{daemon}.log"), 1);
}

/* Each component of what is expanded: a name that stays in its folder, and that rotation can use. */
static void check_components(const char *path)
{
    for (const char *part = path;;) {
        size_t size = strcspn(part, "/");
        char name[600];
        (void)snprintf(name, sizeof(name), "%.*s", (int)size, part);
        assert_true(size > 0);
        assert_string_not_equal(name, ".");
        assert_string_not_equal(name, "..");
        if (size > NAME_MAX_BYTES - (part[size] == '\0' ? ROTATED_BYTES : 0)) {
            fail_msg("a component of %zu bytes: %.60s...", size, part);
        }
        for (size_t i = 0; i < size; i++) {
            assert_true((unsigned char)part[i] > 0x20 && (unsigned char)part[i] < 0x7f);
        }
        if (part[size] == '\0') {
            return;
        }
        part += size + 1;
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

static void no_value_leads_out_of_the_folder(void **state)
{
    (void)state;
    static char endless[5000];
    memset(endless, 'x', sizeof(endless) - 1);
    static const char *const values[] = {"..",
                                         ".",
                                         "",
                                         "/",
                                         "../../etc/passwd",
                                         "a/../b",
                                         "/etc",
                                         "a\nb",
                                         "a\x1b[m",
                                         "\x7f",
                                         "a b",
                                         "a\\b",
                                         "{daemon}",
                                         "\xc3\xa4\xe2\x82\xac",
                                         "\xff\xfe",
                                         "...",
                                         ".hidden",
                                         "..a",
                                         "-rf",
                                         "~",
                                         "$(id)",
                                         "%s%n",
                                         "a:b",
                                         "con\r",
                                         "*",
                                         endless,
                                         "a\tb",
                                         "\x01"};
    static const char *const templates[] = {"/l/{container.name}.log",
                                            "/l/{container.name}/x.log",
                                            "/l/{daemon}/{container.image}/{container.name}.log",
                                            "/l/.{container.name}.log",
                                            "/l/{container.name}{compose_project}.log",
                                            "/l/{compose_project}/{compose_service}.log"};
    for (size_t v = 0; v < sizeof(values) / sizeof(values[0]); v++) {
        struct record_label labels[] = {{"com.docker.compose.project", values[v]},
                                        {"com.docker.compose.service", values[v]}};
        struct record_origin origin = {values[v], values[v], values[v], values[v], labels, 2};
        for (size_t t = 0; t < sizeof(templates) / sizeof(templates[0]); t++) {
            struct buf out;
            buf_init(&out, 0);
            assert_int_equal(file_path_check(templates[t], NULL), 0);
            assert_int_equal(file_path_expand(templates[t], &origin, RECORD_STDOUT, &out), 0);
            assert_non_null(buf_terminated(&out));
            check_components(out.data);
            assert_int_equal(count_slashes(out.data),
                             count_slashes(templates[t] + file_path_base(templates[t])));
            buf_finish(&out);
        }
    }
}

static void what_is_missing_is_called_none(void **state)
{
    (void)state;
    struct record_origin origin = plain;
    origin.label_count = 0;
    expect_path("/l/{compose_project}/{compose_service}.log", &origin, "none/none.log");
    origin.name = "";
    expect_path("/l/{container.name}.log", &origin, "none.log");
}

static void names_that_differ_in_bad_bytes_only_share_a_file(void **state)
{
    (void)state;
    struct record_origin origin = plain;
    origin.image = "a/b";
    expect_path("/l/{container.image}.log", &origin, "a_b.log");
    origin.image = "a:b";
    expect_path("/l/{container.image}.log", &origin, "a_b.log");
}

/* Refused, with a reason; or, where it is taken, of use with three hostile labels. */
static void many_long_values_never_give_a_name_that_no_file_can_have(void **state)
{
    (void)state;
    static const char *const template =
        "/l/{compose_project}-{compose_service}-{container.name}-{container.image}.log";
    char value[200];
    struct error error = {""};
    memset(value, 'x', sizeof(value));
    value[sizeof(value) - 1] = '\0';
    if (file_path_check(template, &error) != 0) {
        assert_true(error.text[0] != '\0');
        return;
    }
    struct record_label labels[] = {{"com.docker.compose.project", value},
                                    {"com.docker.compose.service", value}};
    struct record_origin origin = {"local", "0123", value, value, labels, 2};
    struct buf out;
    buf_init(&out, 0);
    assert_int_equal(file_path_expand(template, &origin, RECORD_STDOUT, &out), 0);
    assert_non_null(buf_terminated(&out));
    check_components(out.data);
    buf_finish(&out);
}

static void bad_templates_are_refused_with_a_reason(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "x.log",
                                      "./x.log",
                                      "/",
                                      "/a/",
                                      "/a/{container.name}/",
                                      "/../x",
                                      "/a/../x",
                                      "/a/..",
                                      "/a/{daemon}/../x",
                                      "/a/{nope}",
                                      "/a/{}",
                                      "/a/{container.name",
                                      "/a/{container.name}{",
                                      "/a/{container.labels.x}",
                                      "{daemon}/x",
                                      "/a/.",
                                      "/a/{daemon}/./x.log",
                                      "/a/{daemon}//x.log",
                                      "/a/{daemon}/\nx.log",
                                      "/a/x\x1b.log"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct error error = {""};
        if (file_path_check(bad[i], &error) != -EINVAL || error.text[0] == '\0') {
            fail_msg("taken, or without a reason: '%s'", bad[i]);
        }
        assert_int_equal(file_path_check(bad[i], NULL), -EINVAL);
    }
}

static void good_templates_are_taken(void **state)
{
    (void)state;
    static const char *const good[] = {"/a/{container.name}.log", "/all.log", "/a..b/{daemon}..log",
                                       "/a b/\xc3\xa4/{stream}.log"};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct error error = {""};
        if (file_path_check(good[i], &error) != 0) {
            fail_msg("%s: %s", good[i], error.text);
        }
    }
}

/* A container called `web.1` must not own the file that `web` rotates to. */
static void a_name_that_rotation_would_give_is_not_another_containers(void **state)
{
    (void)state;
    static const char *const bad[] = {"/a/{container.name}", "/a/{container.name}.1",
                                      "/a/{container.name}.gz", "/a/x-{daemon}-{stream}"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (file_path_check(bad[i], NULL) == 0) {
            fail_msg("taken: '%s'", bad[i]);
        }
    }
}

/* ---- the journal ---- */

static const struct file_journal_entry entries[] = {
    {1, 0, 0, 0, "a", true},
    {UINT64_MAX, UINT64_MAX, UINT64_MAX, INT64_MAX, "b/c.log", true},
    {77, 1234, 99, 1795236060, "with space.log", true}};
#define FOLDER "/var/log/archive/"
#define ENTRIES (sizeof(entries) / sizeof(entries[0]))

struct found {
    size_t count;
    bool equal;
    int give;
};

static int take(const struct file_journal_entry *entry, void *data)
{
    struct found *found = data;
    if (found->count < ENTRIES) {
        const struct file_journal_entry *want = &entries[found->count];
        found->equal = found->equal && entry->inode == want->inode && entry->bytes == want->bytes &&
                       entry->next_record == want->next_record && entry->begun_s == want->begun_s &&
                       entry->same_folder && strcmp(entry->path, want->path) == 0;
    }
    found->count++;
    return found->give;
}

static void make_path(char *path, size_t size)
{
    (void)snprintf(path, size, "/tmp/test_file_path.XXXXXX");
    assert_non_null(mkdtemp(path));
    (void)snprintf(path + strlen(path), size - strlen(path), "/journal");
}

static void remove_path(char *path)
{
    (void)unlink(path);
    *strrchr(path, '/') = '\0';
    assert_int_equal(rmdir(path), 0); /* nothing else was left there */
}

static void store_entries(const char *path)
{
    struct buf text;
    buf_init(&text, 0);
    int rc = file_journal_begin(&text, FOLDER);
    for (size_t i = 0; i < ENTRIES; i++) {
        rc = rc != 0 ? rc : file_journal_add(&text, &entries[i]);
    }
    rc = rc != 0 ? rc : file_journal_store(&text, path);
    buf_finish(&text);
    assert_int_equal(rc, 0);
}

static void the_journal_gives_back_what_it_was_given(void **state)
{
    (void)state;
    char path[64];
    struct error error = {""};
    struct found found = {.equal = true};
    make_path(path, sizeof(path));
    assert_int_equal(file_journal_read(path, FOLDER, take, &found, &error), -ENOENT);
    store_entries(path);
    store_entries(path); /* over the present one */
    assert_int_equal(file_journal_read(path, FOLDER, take, &found, &error), 0);
    assert_int_equal(found.count, ENTRIES);
    assert_true(found.equal);
    remove_path(path);
}

static void an_error_of_the_caller_ends_the_reading(void **state)
{
    (void)state;
    char path[64];
    struct error error = {""};
    struct found found = {.equal = true, .give = -ENOMEM};
    make_path(path, sizeof(path));
    store_entries(path);
    assert_int_equal(file_journal_read(path, FOLDER, take, &found, &error), -ENOMEM);
    assert_int_equal(found.count, 1);
    remove_path(path);
}

static size_t load(const char *path, char *bytes, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    ssize_t n = read(fd, bytes, size);
    (void)close(fd);
    assert_true(n > 0 && (size_t)n < size);
    return (size_t)n;
}

static void save(const char *path, const char *bytes, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, size), (ssize_t)size);
    (void)close(fd);
}

static void expect_damaged(const char *path, const char *what, size_t at)
{
    struct error error = {""};
    struct found found = {.equal = true};
    int rc = file_journal_read(path, FOLDER, take, &found, &error);
    if (rc != -EINVAL || found.count != 0 || error.text[0] == '\0') {
        fail_msg("%s at %zu: %d, %zu entries", what, at, rc, found.count);
    }
}

static void a_damaged_or_cut_journal_is_told_and_gives_nothing(void **state)
{
    (void)state;
    char path[64];
    char bytes[1024];
    make_path(path, sizeof(path));
    store_entries(path);
    size_t size = load(path, bytes, sizeof(bytes));
    for (size_t i = 0; i < size; i++) {
        for (int bit = 0; bit < 8; bit++) {
            bytes[i] = (char)(bytes[i] ^ 1 << bit);
            save(path, bytes, size);
            expect_damaged(path, "a bit changed", i);
            bytes[i] = (char)(bytes[i] ^ 1 << bit);
        }
        save(path, bytes, i);
        expect_damaged(path, "cut", i);
    }
    bytes[size] = 'x';
    save(path, bytes, size + 1);
    expect_damaged(path, "a byte more", size);
    remove_path(path);
}

/* Right checksum, wrong content: another version, or a fault of the program. */
static void a_line_that_is_no_entry_is_damage(void **state)
{
    (void)state;
    static const char *const lines[] = {"\n",           "1\n",
                                        "1 2 3\n",      "1 2 3 4\n",
                                        "1 2 3 4 \n",   "x 2 3 4 path\n",
                                        "1 2 3 4 p",    "-1 2 3 4 p\n",
                                        "1 2 3 -4 p\n", "99999999999999999999 2 3 4 p\n",
                                        " 1 2 3 4 p\n"};
    char path[64];
    make_path(path, sizeof(path));
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        struct buf text;
        buf_init(&text, 0);
        assert_int_equal(file_journal_begin(&text, FOLDER), 0);
        assert_int_equal(buf_append_str(&text, lines[i]), 0);
        assert_int_equal(file_journal_store(&text, path), 0);
        buf_finish(&text);
        expect_damaged(path, lines[i], i);
    }
    remove_path(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_field_gives_its_value),
        cmocka_unit_test(the_stream_chooses_the_file),
        cmocka_unit_test(the_folder_is_what_no_field_is_in),
        cmocka_unit_test(no_value_leads_out_of_the_folder),
        cmocka_unit_test(what_is_missing_is_called_none),
        cmocka_unit_test(names_that_differ_in_bad_bytes_only_share_a_file),
        cmocka_unit_test(many_long_values_never_give_a_name_that_no_file_can_have),
        cmocka_unit_test(bad_templates_are_refused_with_a_reason),
        cmocka_unit_test(good_templates_are_taken),
        cmocka_unit_test(a_name_that_rotation_would_give_is_not_another_containers),
        cmocka_unit_test(the_journal_gives_back_what_it_was_given),
        cmocka_unit_test(an_error_of_the_caller_ends_the_reading),
        cmocka_unit_test(a_damaged_or_cut_journal_is_told_and_gives_nothing),
        cmocka_unit_test(a_line_that_is_no_entry_is_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
