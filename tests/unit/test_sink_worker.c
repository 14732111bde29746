/*
 * The sink's thread against a target that answers as a test says. The target is a sink type of this
 * file, made of the public headers alone; it takes what it is sent, or not, and keeps book.
 */
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>

#include "base/json.h"
#include "base/log.h"
#include "sinks/loki_sink.h"
#include "sinks/sink.h"
#include "sinks/sink_dead_letters.h"
#include "sinks/sink_type.h"
#include "test_spool_kit.h"

#define LINES_MAX 40000
#define SECOND_NS INT64_C(1000000000)

/* What the target does with a send; rejecting needs a bad line in it. */
enum plan { TAKE, ANSWER_RETRY, NO_ANSWER, DENY, NO_MEMORY, PLANS };

static struct {
    pthread_mutex_t lock;
    enum plan (*plan)(uint64_t send);
    bool (*is_bad)(unsigned key, uint64_t sequence);
    int64_t retry_after_ns;
    uint64_t sends, encodes, settles;
    unsigned char taken[KIT_KEYS][LINES_MAX]; /* how often */
    uint64_t lines;
    uint64_t last[KIT_KEYS][3]; /* sequence + 1, by stream */
    bool disordered;
    uint64_t settled; /* record number */
    bool settled_too_far;
    uint64_t next_number; /* all records before it were taken or were bad; for one lane */
    size_t largest;       /* records of a send */
    int64_t asked_ns, early_ns;
    bool begun;
} target = {.lock = PTHREAD_MUTEX_INITIALIZER};

struct options {
    char *mark;
};

static const struct option_row rows[] = {
    {"mark", OPTION_TEXT, offsetof(struct options, mark), "", NULL, 0, 0, NULL, true, "A mark."},
    {.path = NULL}};

struct state {
    struct sink_context context;
};

static int target_create(const struct sink_context *context, const struct sink_settings *settings,
                         void **ret_sink, struct error *error)
{
    (void)error;
    assert_string_equal(settings->name, context->name);
    assert_null(context->http);
    struct state *state = calloc(1, sizeof(*state));
    assert_non_null(state);
    state->context = *context;
    *ret_sink = state;
    return 0;
}

static void target_destroy(void *sink)
{
    free(sink);
}

static int target_encode(void *sink, const struct sink_slice *slice, struct buf *out)
{
    (void)sink;
    uint64_t number = target.encodes++;
    target.begun = true;
    if (target.plan(number) == NO_MEMORY) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < slice->count; i++) {
        const struct record *record = &slice->records[i].record;
        int rc = buf_append(out, record->line, record->line_bytes);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

static void read_line(const struct record *record, unsigned *ret_key, uint64_t *ret_sequence)
{
    char head[40];
    size_t size = record->line_bytes < 39 ? record->line_bytes : 39;
    memcpy(head, record->line, size);
    head[size] = '\0';
    if (sscanf(head, "key%u %" SCNu64, ret_key, ret_sequence) != 2 || *ret_key >= KIT_KEYS ||
        *ret_sequence >= LINES_MAX) {
        print_error("not a line of ours: '%s'\n", head);
        abort(); /* it may be the sink's thread */
    }
}

static void take(const struct sink_slice *slice)
{
    for (size_t i = 0; i < slice->count; i++) {
        const struct sink_record *record = &slice->records[i];
        unsigned key;
        uint64_t sequence;
        read_line(&record->record, &key, &sequence);
        target.taken[key][sequence]++;
        uint64_t *last = &target.last[key][record->record.stream];
        target.disordered = target.disordered || sequence + 1 < *last;
        *last = sequence + 1;
        target.lines++;
        target.next_number = record->number + 1;
    }
}

static bool has_bad(const struct sink_slice *slice)
{
    for (size_t i = 0; i < slice->count; i++) {
        unsigned key;
        uint64_t sequence;
        read_line(&slice->records[i].record, &key, &sequence);
        if (target.is_bad != NULL && target.is_bad(key, sequence)) {
            if (slice->count == 1) {
                target.next_number = slice->records[i].number + 1;
            }
            return true;
        }
    }
    return false;
}

static void target_send(void *sink, struct sink_delivery *delivery)
{
    static const int statuses[] = {200, 503, 0, 403};
    struct state *state = sink;
    (void)pthread_mutex_lock(&target.lock);
    int64_t now = kit_now_ns();
    target.early_ns = target.asked_ns > now && target.asked_ns - now > target.early_ns
                          ? target.asked_ns - now
                          : target.early_ns;
    enum plan plan = target.plan(target.encodes - 1);
    target.sends++;
    target.largest = delivery->slice.count > target.largest ? delivery->slice.count
                                                            : target.largest;
    struct sink_response response = {.rc = plan == NO_ANSWER ? -ECONNREFUSED : 0,
                                     .status = statuses[plan],
                                     .text = "nobody there"};
    if (plan == TAKE && has_bad(&delivery->slice)) {
        response.status = 400;
        response.body = "a bad line";
        response.body_bytes = 10;
    } else if (plan == TAKE) {
        take(&delivery->slice);
    } else {
        response.retry_after_ns = target.retry_after_ns;
        target.asked_ns = target.retry_after_ns > 0 ? now + target.retry_after_ns : 0;
    }
    (void)pthread_mutex_unlock(&target.lock);
    state->context.answer(delivery, &response, state->context.data);
}

static enum sink_verdict target_judge(void *sink, const struct sink_response *response)
{
    (void)sink;
    return response->rc != 0         ? SINK_UNREACHABLE
           : response->status == 200 ? SINK_DELIVERED
           : response->status == 400 ? SINK_REJECTED
           : response->status == 403 ? SINK_DENIED
                                     : SINK_RETRY;
}

static int target_settle(void *sink, uint64_t next_record)
{
    (void)sink;
    target.settles++;
    target.settled = next_record;
    target.settled_too_far = target.settled_too_far || next_record > target.next_number;
    return 0;
}

static const struct sink_type target_type = {.name = "target",
                                             .help = "Keeps book.",
                                             .options = rows,
                                             .options_bytes = sizeof(struct options),
                                             .create = target_create,
                                             .destroy = target_destroy,
                                             .encode = target_encode,
                                             .send = target_send,
                                             .judge = target_judge,
                                             .settle = target_settle};

/* ---- the test's side ---- */

static enum plan always_take(uint64_t send)
{
    (void)send;
    return TAKE;
}

struct setting {
    const char *path, *value;
};

static struct sink *create_of_type(struct kit *kit, const struct sink_type *type,
                                   const struct setting *changes)
{
    static char state_dir[96];
    struct sink_settings *settings = NULL;
    struct sink *sink = NULL;
    struct error error = {""};
    void *object;
    assert_int_equal(sink_settings_create("test", type, &settings, &error), 0);
    const struct option_row *row = sink_settings_find(settings, "retry_limit", &object);
    assert_int_equal(option_set(object, row, "100ms", &error), 0);
    for (; changes != NULL && changes->path != NULL; changes++) {
        row = sink_settings_find(settings, changes->path, &object);
        assert_non_null(row);
        assert_int_equal(option_set(object, row, changes->value, &error), 0);
    }
    (void)kit_path(kit, state_dir, sizeof(state_dir), "sinks");
    int rc = sink_create(&(struct sink_options){.spool = kit->spool,
                                                .metrics = kit->metrics,
                                                .state_dir = state_dir,
                                                .settings = settings},
                         &sink, &error);
    if (rc != 0) {
        fail_msg("sink_create: %s", error.text);
    }
    return sink;
}

static struct sink *create(struct kit *kit, const struct setting *changes)
{
    return create_of_type(kit, &target_type, changes);
}

/* Opens the spool, with a container of its own for each key, so that all lanes are used. */
static void open_kit(struct kit *kit)
{
    kit_open(kit);
    for (unsigned i = 0; i < KIT_KEYS; i++) {
        char id[32];
        char key[16];
        struct record_label label = {"index", key};
        (void)snprintf(id, sizeof(id), "%u0123456789abcdef", i);
        (void)snprintf(key, sizeof(key), "key%u", i);
        assert_int_equal(
            spool_origin_create(kit->spool,
                                &(struct record_origin){"local", id, key, "image:1", &label, 1},
                                &kit->sources[i].origin),
            0);
    }
}

static void begin(struct kit *kit)
{
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    memset(&target, 0, sizeof(target));
    target.lock = lock;
    target.plan = always_take;
    log_configure(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
    kit_make_dir(kit);
    open_kit(kit);
}

static void end(struct kit *kit)
{
    kit_close(kit);
    kit_remove_dir(kit);
}

static void append(struct kit *kit, unsigned keys, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        kit_append(kit, (unsigned)(i % keys), 40);
        if (i % 500 == 0) {
            kit_turn(kit);
        }
    }
    kit_commit(kit);
}

static struct sink_status status_of(struct sink *sink)
{
    struct sink_status status;
    sink_status(sink, &status);
    return status;
}

static void wait_lag(struct kit *kit, struct sink *sink, uint64_t lines)
{
    int64_t end_ns = kit_now_ns() + KIT_LIMIT_NS;
    while (status_of(sink).lag_lines != lines) {
        if (kit_now_ns() > end_ns) {
            struct sink_status status = status_of(sink);
            fail_msg("the lag stays at %" PRIu64 " lines; %s %s", status.lag_lines, status.state,
                     status.problem);
        }
        kit_turn(kit);
    }
}

static void wait_state(struct kit *kit, struct sink *sink, const char *state)
{
    int64_t end_ns = kit_now_ns() + KIT_LIMIT_NS;
    while (strcmp(status_of(sink).state, state) != 0) {
        if (kit_now_ns() > end_ns) {
            fail_msg("it is %s, not %s", status_of(sink).state, state);
        }
        kit_turn(kit);
    }
}

static void stop(struct sink *sink)
{
    sink_destroy(sink, KIT_LIMIT_NS);
}

/* Every good line was taken once, no bad one ever. */
static void assert_exact(const struct kit *kit)
{
    assert_false(target.disordered);
    assert_false(target.settled_too_far);
    for (unsigned key = 0; key < KIT_KEYS; key++) {
        for (uint64_t i = 0; i < kit->sources[key].next; i++) {
            bool bad = target.is_bad != NULL && target.is_bad(key, i);
            if (target.taken[key][i] != (bad ? 0 : 1)) {
                fail_msg("line %" PRIu64 " of key%u, %s: taken %u times", i, key,
                         bad ? "bad" : "good", (unsigned)target.taken[key][i]);
            }
        }
    }
}

/* The dead letters are the bad lines, each once. */
static void assert_dead_letters(const struct kit *kit, uint64_t count)
{
    static unsigned char dead[KIT_KEYS][LINES_MAX];
    char path[128];
    uint64_t found = 0;
    memset(dead, 0, sizeof(dead));
    (void)kit_path(kit, path, sizeof(path), "sinks/test.dead.jsonl");
    if (count == 0) {
        assert_int_not_equal(access(path, F_OK), 0);
        return;
    }
    struct kit_bytes bytes = kit_load(path);
    const char *line = (const char *)bytes.data;
    const char *last = line + bytes.size;
    while (line < last) {
        const char *newline = memchr(line, '\n', (size_t)(last - line));
        assert_non_null(newline);
        struct sink_dead_letter_record letter;
        assert_int_equal(sink_dead_letter_parse(line, (size_t)(newline - line), &letter, NULL), 0);
        unsigned key;
        uint64_t sequence;
        read_line(&letter.record, &key, &sequence);
        assert_true(target.is_bad(key, sequence));
        assert_int_equal(dead[key][sequence]++, 0);
        sink_dead_letter_free(&letter);
        found++;
        line = newline + 1;
    }
    free(bytes.data);
    assert_int_equal(found, count);
}

/* ---- tests ---- */

static void all_lines_arrive_once_in_order(void **state)
{
    (void)state;
    struct kit kit;
    begin(&kit);
    append(&kit, 5, 12345);
    struct sink *sink = create(&kit, NULL);
    wait_lag(&kit, sink, 0);
    append(&kit, 5, 777); /* while it runs */
    wait_lag(&kit, sink, 0);
    assert_int_equal(status_of(sink).delivered_lines, 12345 + 777);
    assert_int_equal(status_of(sink).lag_bytes, 0);
    assert_string_equal(status_of(sink).state, "running");
    assert_string_equal(status_of(sink).problem, "");
    assert_true(target.largest <= 10000);
    stop(sink);
    assert_exact(&kit);
    assert_int_equal(target.settled, 12345 + 777);
    assert_dead_letters(&kit, 0);
    end(&kit);
}

static void lanes_keep_the_order_of_each_stream(void **state)
{
    (void)state;
    struct kit kit;
    begin(&kit);
    target.next_number = UINT64_MAX; /* of no meaning with many lanes */
    struct sink *sink = create(
        &kit, (struct setting[]){{"concurrency", "4"}, {"batch_lines", "7"}, {NULL, NULL}});
    append(&kit, KIT_KEYS, 20000);
    wait_lag(&kit, sink, 0);
    stop(sink);
    target.settled_too_far = false;
    assert_exact(&kit);
    assert_true(target.largest <= 7);
    end(&kit);
}

static enum plan mixed_plan(uint64_t send)
{
    static const enum plan plans[] = {NO_ANSWER, TAKE,      ANSWER_RETRY, ANSWER_RETRY, TAKE,
                                      TAKE,      DENY,      TAKE,         NO_MEMORY,    NO_ANSWER,
                                      DENY,      NO_ANSWER, TAKE,         NO_MEMORY,    TAKE};
    return send < 150 ? plans[send % (sizeof(plans) / sizeof(plans[0]))] : TAKE;
}

static bool each_97th(unsigned key, uint64_t sequence)
{
    return key == 1 && sequence % 97 == 3;
}

static void verdicts_may_come_in_any_order(void **state)
{
    (void)state;
    struct kit kit;
    begin(&kit);
    target.plan = mixed_plan;
    target.is_bad = each_97th;
    struct sink *sink = create(&kit, (struct setting[]){{"batch_lines", "100"}, {NULL, NULL}});
    append(&kit, 3, 3000);
    wait_lag(&kit, sink, 0);
    struct sink_status status = status_of(sink);
    stop(sink);
    assert_exact(&kit);
    assert_int_equal(status.dead_letters, 11); /* of 1,000: 3, 100, ... 973 */
    assert_int_equal(status.delivered_lines, 3000 - 11);
    assert_dead_letters(&kit, 11);
    assert_true(status.retries > 0);
    end(&kit);
}

static uint64_t bad_sequences[32];
static size_t bad_count;

static bool is_listed(unsigned key, uint64_t sequence)
{
    (void)key;
    for (size_t i = 0; i < bad_count; i++) {
        if (bad_sequences[i] == sequence) {
            return true;
        }
    }
    return false;
}

/* 10,000 lines of one batch with these bad ones. */
static void bisect(const uint64_t *sequences, size_t count)
{
    struct kit kit;
    begin(&kit);
    target.is_bad = is_listed;
    memcpy(bad_sequences, sequences, count * sizeof(*sequences));
    bad_count = count;
    append(&kit, 1, 10000);
    struct sink *sink = create(&kit, NULL);
    wait_lag(&kit, sink, 0);
    stop(sink);
    assert_exact(&kit);
    assert_dead_letters(&kit, count);
    assert_int_equal(target.largest, 10000);
    if (target.sends > 1 + count * 2 * 14) { /* two halves for each of 14 levels */
        fail_msg("%" PRIu64 " sends for %zu bad lines", target.sends, count);
    }
    end(&kit);
}

static void bisecting_finds_the_bad_lines_alone(void **state)
{
    (void)state;
    bisect((const uint64_t[]){0}, 1);
    bisect((const uint64_t[]){9999}, 1);
    bisect((const uint64_t[]){4999}, 1);
    bisect((const uint64_t[]){5000}, 1);
    bisect((const uint64_t[]){0, 9999}, 2);
    bisect((const uint64_t[]){17, 18, 19, 20, 4999, 5000, 7777}, 7);
}

static bool always_bad(unsigned key, uint64_t sequence)
{
    (void)key;
    (void)sequence;
    return true;
}

static void a_target_that_rejects_all_ends_at_dead_letters(void **state)
{
    (void)state;
    struct kit kit;
    begin(&kit);
    target.is_bad = always_bad;
    append(&kit, 2, 200);
    struct sink *sink = create(&kit, NULL);
    wait_lag(&kit, sink, 0);
    assert_int_equal(status_of(sink).dead_letters, 200);
    assert_int_equal(status_of(sink).delivered_lines, 0);
    stop(sink);
    assert_dead_letters(&kit, 200);
    end(&kit);
}

static void dead_letters_that_can_not_be_kept_are_held(void **state)
{
    (void)state;
    struct kit kit;
    char path[128];
    begin(&kit);
    target.is_bad = each_97th;
    append(&kit, 2, 400);
    (void)kit_path(&kit, path, sizeof(path), "sinks");
    assert_int_equal(mkdir(path, 0700), 0);
    (void)kit_path(&kit, path, sizeof(path), "sinks/test.dead.jsonl");
    assert_int_equal(mkdir(path, 0700), 0); /* in the way */
    struct sink *sink = create(&kit, NULL);
    wait_state(&kit, sink, "open");
    assert_non_null(strstr(status_of(sink).problem, "test.dead.jsonl"));
    assert_true(status_of(sink).lag_lines > 0);
    assert_int_equal(rmdir(path), 0);
    wait_lag(&kit, sink, 0);
    stop(sink);
    assert_exact(&kit);
    assert_dead_letters(&kit, 3); /* of 200: 3, 100, 197 */
    end(&kit);
}

static _Atomic int plan_now = TAKE;
static enum plan changing_plan(uint64_t send)
{
    (void)send;
    return (enum plan)atomic_load(&plan_now);
}

static void set_plan(enum plan plan)
{
    atomic_store(&plan_now, (int)plan);
}

static void the_state_says_what_is_wrong(void **state)
{
    (void)state;
    struct kit kit;
    begin(&kit);
    target.plan = changing_plan;
    set_plan(DENY);
    append(&kit, 2, 1000);
    struct sink *sink = create(&kit, NULL);
    wait_state(&kit, sink, "denied");
    assert_non_null(strstr(status_of(sink).problem, "403"));
    assert_int_equal(status_of(sink).lag_lines, 1000);
    set_plan(NO_ANSWER);
    wait_state(&kit, sink, "open");
    assert_non_null(strstr(status_of(sink).problem, "nobody there"));
    set_plan(TAKE);
    wait_state(&kit, sink, "running");
    wait_lag(&kit, sink, 0);
    assert_string_equal(status_of(sink).problem, "");
    stop(sink);
    assert_exact(&kit);
    assert_dead_letters(&kit, 0);
    end(&kit);
}

static enum plan three_refusals(uint64_t send)
{
    return send < 3 ? ANSWER_RETRY : TAKE;
}

static void retry_after_is_waited_for(void **state)
{
    (void)state;
    struct kit kit;
    begin(&kit);
    target.plan = three_refusals;
    target.retry_after_ns = SECOND_NS / 2; /* above retry_limit, which is 100 ms */
    append(&kit, 1, 10);
    struct sink *sink = create(&kit, NULL);
    wait_lag(&kit, sink, 0);
    stop(sink);
    assert_true(target.early_ns < SECOND_NS / 100);
    assert_exact(&kit);
    end(&kit);
}

static int64_t cpu_ns(void)
{
    struct timespec used;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return used.tv_sec * SECOND_NS + used.tv_nsec;
}

/* After a failure one lane tries alone; the target hangs, and the others have batches that are due. */
static void lanes_that_wait_for_another_one_use_no_time(void **state)
{
    (void)state;
    struct kit kit;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    char url[64];
    begin(&kit);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); /* nobody accepts */
    assert_int_equal(bind(fd, (const struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(fd, 64), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    (void)snprintf(url, sizeof(url), "http://127.0.0.1:%d", ntohs(address.sin_port));
    append(&kit, KIT_KEYS, 1000);
    struct sink *sink = create_of_type(&kit, &loki_sink,
                                       (struct setting[]){{"url", url},
                                                          {"timeout", "1s"},
                                                          {"concurrency", "4"},
                                                          {"batch_age", "0"},
                                                          {NULL, NULL}});
    wait_state(&kit, sink, "retrying");
    int64_t used = cpu_ns();
    struct timespec pause = {2, 0};
    (void)nanosleep(&pause, NULL);
    assert_true(cpu_ns() - used < SECOND_NS / 2);
    sink_destroy(sink, 0);
    (void)close(fd);
    end(&kit);
}

static void begin_again(struct kit *kit, const struct setting *changes, unsigned rounds)
{
    for (unsigned round = 0; round < rounds; round++) {
        struct sink *sink = create(kit, changes);
        append(kit, 3, 2000);
        stop(sink); /* wherever it is */
        if (round % 2 == 1) {
            kit_close(kit);
            open_kit(kit);
        }
    }
    struct sink *sink = create(kit, changes);
    wait_lag(kit, sink, 0);
    stop(sink);
}

static void nothing_is_lost_or_doubled_over_stops(void **state)
{
    (void)state;
    struct kit kit;
    begin(&kit);
    begin_again(&kit,
                (struct setting[]){{"batch_lines", "50"}, {"batch_age", "10ms"}, {NULL, NULL}}, 6);
    assert_exact(&kit);
    end(&kit);
}

/* Stopped while the target refuses: it ends soon, and another begins there. */
static void a_failing_sink_stops_and_loses_nothing(void **state)
{
    (void)state;
    struct kit kit;
    begin(&kit);
    target.plan = changing_plan;
    set_plan(TAKE);
    struct sink *sink = create(&kit, (struct setting[]){{"batch_lines", "50"}, {NULL, NULL}});
    append(&kit, 3, 1000);
    wait_lag(&kit, sink, 0);
    set_plan(NO_ANSWER);
    append(&kit, 3, 1000);
    wait_state(&kit, sink, "open");
    int64_t from = kit_now_ns();
    stop(sink);
    assert_true(kit_now_ns() - from < 5 * SECOND_NS);
    set_plan(TAKE);
    sink = create(&kit, NULL);
    wait_lag(&kit, sink, 0);
    stop(sink);
    assert_exact(&kit);
    end(&kit);
}

static void draining_delivers_all_that_is_durable(void **state)
{
    (void)state;
    struct kit kit;
    begin(&kit);
    struct sink *sink = create(&kit, (struct setting[]){{"batch_age", "600s"}, {NULL, NULL}});
    append(&kit, 3, 5000);
    sink_stop(sink, true);
    stop(sink);
    assert_exact(&kit);
    assert_int_equal(target.lines, 5000);
    end(&kit);
}

static void streams_are_filtered(void **state)
{
    (void)state;
    struct kit kit;
    begin(&kit);
    append(&kit, 3, 3000);
    struct sink *sink = create(&kit, (struct setting[]){{"include.container", "key*"},
                                                        {"exclude.container", "*1"},
                                                        {"include.stream", "stderr"},
                                                        {NULL, NULL}});
    wait_lag(&kit, sink, 0); /* what is filtered out does not lag */
    assert_int_equal(status_of(sink).delivered_lines, 1000);
    stop(sink);
    for (unsigned key = 0; key < 3; key++) {
        for (uint64_t i = 0; i < 1000; i++) {
            assert_int_equal(target.taken[key][i], key != 1 && i % 2 == 1);
        }
    }
    end(&kit);
}

static void start_now_leaves_out_what_was(void **state)
{
    (void)state;
    struct kit kit;
    begin(&kit);
    append(&kit, 1, 500);
    struct sink *sink = create(&kit, (struct setting[]){{"start", "now"}, {NULL, NULL}});
    append(&kit, 1, 100);
    wait_lag(&kit, sink, 0);
    stop(sink);
    append(&kit, 1, 100);
    sink = create(&kit, (struct setting[]){{"start", "now"}, {NULL, NULL}}); /* it has a place */
    wait_lag(&kit, sink, 0);
    stop(sink);
    for (uint64_t i = 0; i < 700; i++) {
        assert_int_equal(target.taken[0][i], i >= 500);
    }
    end(&kit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_lines_arrive_once_in_order),
        cmocka_unit_test(lanes_keep_the_order_of_each_stream),
        cmocka_unit_test(verdicts_may_come_in_any_order),
        cmocka_unit_test(bisecting_finds_the_bad_lines_alone),
        cmocka_unit_test(a_target_that_rejects_all_ends_at_dead_letters),
        cmocka_unit_test(dead_letters_that_can_not_be_kept_are_held),
        cmocka_unit_test(the_state_says_what_is_wrong),
        cmocka_unit_test(retry_after_is_waited_for),
        cmocka_unit_test(lanes_that_wait_for_another_one_use_no_time),
        cmocka_unit_test(nothing_is_lost_or_doubled_over_stops),
        cmocka_unit_test(a_failing_sink_stops_and_loses_nothing),
        cmocka_unit_test(draining_delivers_all_that_is_durable),
        cmocka_unit_test(streams_are_filtered),
        cmocka_unit_test(start_now_leaves_out_what_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
