/* The loop: real descriptors with the real clock; timers under a clock that the test moves. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "loop/loop.h"
#include "loop/task.h"
#include "loop/timer.h"

#define SECOND INT64_C(1000000000)

static struct loop *make_loop(const struct clock *clock)
{
    struct loop *loop = NULL;
    assert_int_equal(loop_create(clock, &loop), 0);
    return loop;
}

static void iterate(struct loop *loop, int64_t timeout_ns)
{
    assert_int_equal(loop_iterate(loop, timeout_ns), 0);
}

/* ---- descriptors ---- */

struct watched {
    struct loop_fd source;
    int fds[2];
    int calls;
    int events;
    struct loop_fd *victim;
};

static void handle_watched(struct loop_fd *source, int events, void *data)
{
    struct watched *watched = data;
    assert_ptr_equal(source, &watched->source);
    watched->calls++;
    watched->events = events;
    if (watched->victim != NULL) {
        loop_fd_remove(watched->victim);
    }
}

static void watch(struct loop *loop, struct watched *watched, int events)
{
    *watched = (struct watched){0};
    assert_int_equal(pipe2(watched->fds, O_CLOEXEC | O_NONBLOCK), 0);
    loop_fd_init(&watched->source, handle_watched, watched);
    assert_int_equal(loop_fd_add(loop, &watched->source, watched->fds[0], events), 0);
}

static void unwatch(struct watched *watched)
{
    loop_fd_remove(&watched->source);
    close(watched->fds[0]);
    if (watched->fds[1] >= 0) {
        close(watched->fds[1]);
    }
}

static void a_readable_descriptor_calls_its_owner_until_it_is_read(void **state)
{
    (void)state;
    char byte;
    struct watched w;
    struct loop *loop = make_loop(clock_real());
    watch(loop, &w, LOOP_READ);
    iterate(loop, 0);
    assert_int_equal(w.calls, 0);
    assert_int_equal(write(w.fds[1], "x", 1), 1);
    iterate(loop, SECOND);
    iterate(loop, SECOND);
    assert_int_equal(w.calls, 2);
    assert_int_equal(w.events, LOOP_READ);
    assert_int_equal(read(w.fds[0], &byte, 1), 1);
    iterate(loop, 0);
    assert_int_equal(w.calls, 2);
    unwatch(&w);
    loop_destroy(loop);
}

static void a_one_shot_source_is_quiet_until_it_is_armed_again(void **state)
{
    (void)state;
    struct watched w;
    struct loop *loop = make_loop(clock_real());
    watch(loop, &w, LOOP_READ | LOOP_ONE_SHOT);
    assert_int_equal(write(w.fds[1], "x", 1), 1);
    iterate(loop, SECOND);
    iterate(loop, 0);
    assert_int_equal(w.calls, 1);
    assert_int_equal(loop_fd_modify(&w.source, LOOP_READ | LOOP_ONE_SHOT), 0);
    iterate(loop, SECOND);
    iterate(loop, 0);
    assert_int_equal(w.calls, 2);
    unwatch(&w);
    loop_destroy(loop);
}

static void a_hang_up_is_reported_as_both(void **state)
{
    (void)state;
    struct watched w;
    struct loop *loop = make_loop(clock_real());
    watch(loop, &w, LOOP_READ);
    close(w.fds[1]);
    w.fds[1] = -1;
    iterate(loop, SECOND);
    assert_int_equal(w.events, LOOP_READ | LOOP_WRITE);
    unwatch(&w);
    loop_destroy(loop);
}

static void a_source_removed_by_another_of_the_same_batch_is_not_called(void **state)
{
    (void)state;
    struct watched a;
    struct watched b;
    struct loop *loop = make_loop(clock_real());
    watch(loop, &a, LOOP_READ);
    watch(loop, &b, LOOP_READ);
    a.victim = &b.source;
    b.victim = &a.source;
    assert_int_equal(write(a.fds[1], "x", 1), 1);
    assert_int_equal(write(b.fds[1], "x", 1), 1);
    iterate(loop, SECOND);
    assert_int_equal(a.calls + b.calls, 1);
    unwatch(&a);
    unwatch(&b);
    loop_destroy(loop);
}

static struct watched late;

/* A socket pair whose first end is watched. */
static void watch_socket(struct loop *loop, struct watched *watched, int events)
{
    *watched = (struct watched){0};
    assert_int_equal(
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, watched->fds), 0);
    loop_fd_init(&watched->source, handle_watched, watched);
    assert_int_equal(loop_fd_add(loop, &watched->source, watched->fds[0], events), 0);
}

static void an_edge_is_told_once_and_a_hang_up_apart(void **state)
{
    (void)state;
    struct loop *loop = make_loop(clock_real());
    struct watched w;
    watch_socket(loop, &w, LOOP_READ | LOOP_EDGE | LOOP_HANGUP);
    assert_int_equal(write(w.fds[1], "x", 1), 1);
    iterate(loop, -1);
    assert_int_equal(w.events, LOOP_READ);
    iterate(loop, 0); /* still readable, but that is not new */
    assert_int_equal(w.calls, 1);
    assert_int_equal(write(w.fds[1], "y", 1), 1);
    iterate(loop, -1);
    assert_int_equal(w.calls, 2);
    assert_int_equal(shutdown(w.fds[1], SHUT_WR), 0);
    iterate(loop, -1);
    assert_int_equal(w.events, LOOP_READ | LOOP_HANGUP);
    loop_fd_forget(&w.source);
    assert_int_equal(close(w.fds[0]), 0);
    assert_int_equal(close(w.fds[1]), 0);
    iterate(loop, 0);
    assert_int_equal(w.calls, 3);
    loop_destroy(loop);
}

static void a_forgotten_number_may_be_used_again(void **state)
{
    (void)state;
    struct loop *loop = make_loop(clock_real());
    for (int i = 0; i < 100; i++) {
        struct watched w;
        watch_socket(loop, &w, LOOP_READ | LOOP_EDGE);
        assert_int_equal(write(w.fds[1], "x", 1), 1);
        if (i % 2 == 0) { /* with an event under way */
            loop_fd_forget(&w.source);
            assert_int_equal(close(w.fds[0]), 0);
            iterate(loop, 0);
            assert_int_equal(w.calls, 0);
        } else {
            iterate(loop, -1);
            assert_int_equal(w.calls, 1);
            loop_fd_forget(&w.source);
            assert_int_equal(close(w.fds[0]), 0);
        }
        assert_int_equal(close(w.fds[1]), 0);
    }
    loop_destroy(loop);
}

static void handle_and_replace(struct loop_fd *source, int events, void *data)
{
    (void)events;
    struct watched *other = data;
    struct loop *loop = source->loop;
    if (other->source.loop == NULL) {
        return;
    }
    loop_fd_remove(&other->source);
    /* The same descriptor and the same slot, but another source. */
    loop_fd_init(&late.source, handle_watched, &late);
    assert_int_equal(loop_fd_add(loop, &late.source, other->fds[0], LOOP_WRITE), 0);
}

static void an_event_of_a_removed_source_does_not_reach_its_successor(void **state)
{
    (void)state;
    struct watched a;
    struct watched b;
    struct loop *loop = make_loop(clock_real());
    late = (struct watched){0};
    watch(loop, &a, LOOP_READ);
    watch(loop, &b, LOOP_READ);
    a.source.handle = b.source.handle = handle_and_replace;
    a.source.data = &b;
    b.source.data = &a;
    assert_int_equal(write(a.fds[1], "x", 1), 1);
    assert_int_equal(write(b.fds[1], "x", 1), 1);
    iterate(loop, SECOND);
    assert_int_equal(late.calls, 0);
    loop_fd_remove(&late.source);
    unwatch(&a);
    unwatch(&b);
    loop_destroy(loop);
}

static void many_sources_keep_apart(void **state)
{
    (void)state;
    static struct watched many[100];
    struct loop *loop = make_loop(clock_real());
    for (int i = 0; i < 100; i++) {
        watch(loop, &many[i], LOOP_READ);
    }
    for (int i = 0; i < 100; i += 3) {
        assert_int_equal(write(many[i].fds[1], "x", 1), 1);
    }
    iterate(loop, SECOND);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(many[i].calls, i % 3 == 0);
        unwatch(&many[i]);
    }
    loop_destroy(loop);
}

/* ---- timers ---- */

#define TIMERS 500

static struct clock_fake fake;
static int64_t last_due_ns;
static int64_t model_due_ns[TIMERS]; /* -1: not armed */
static struct loop_timer timers[TIMERS];
static int fired;
static uint64_t random_state;

static uint64_t next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static void arm_some_timer(void)
{
    size_t i = next_random() % TIMERS;
    if (next_random() % 3 == 0) {
        loop_timer_disarm(&timers[i]);
        model_due_ns[i] = -1;
    } else {
        int64_t delay_ns = (int64_t)(next_random() % 1000) + 1;
        loop_timer_arm(&timers[i], delay_ns);
        model_due_ns[i] = fake.monotonic + delay_ns;
    }
    assert_int_equal(loop_timer_armed(&timers[i]), model_due_ns[i] >= 0);
}

static void handle_model_timer(struct loop_timer *timer, void *data)
{
    (void)data;
    size_t i = (size_t)(timer - timers);
    assert_true(model_due_ns[i] >= 0 && model_due_ns[i] <= fake.monotonic);
    assert_true(model_due_ns[i] >= last_due_ns);
    assert_false(loop_timer_armed(timer));
    last_due_ns = model_due_ns[i];
    model_due_ns[i] = -1;
    fired++;
    arm_some_timer();
}

static void timers_fire_when_they_are_due_and_in_order(void **state)
{
    (void)state;
    clock_fake_init(&fake, 0);
    struct loop *loop = make_loop(&fake.base);
    random_state = 42;
    fired = 0;
    for (int i = 0; i < TIMERS; i++) {
        loop_timer_init(loop, &timers[i], handle_model_timer, NULL);
        model_due_ns[i] = -1;
    }
    for (int round = 0; round < 3000; round++) {
        for (uint64_t n = next_random() % 40; n > 0; n--) {
            arm_some_timer();
        }
        clock_fake_advance(&fake, (int64_t)(next_random() % 50));
        last_due_ns = 0;
        iterate(loop, 0);
        for (int i = 0; i < TIMERS; i++) {
            assert_true(model_due_ns[i] < 0 || model_due_ns[i] > fake.monotonic);
        }
    }
    assert_true(fired > 10000);
    for (int i = 0; i < TIMERS; i++) {
        loop_timer_disarm(&timers[i]);
    }
    loop_destroy(loop);
}

static void handle_rearm(struct loop_timer *timer, void *data)
{
    int *calls = data;
    ++*calls;
    loop_timer_arm(timer, 10);
}

static void a_timer_may_arm_itself_again(void **state)
{
    (void)state;
    int calls = 0;
    struct loop_timer timer;
    clock_fake_init(&fake, 0);
    struct loop *loop = make_loop(&fake.base);
    loop_timer_init(loop, &timer, handle_rearm, &calls);
    loop_timer_arm(&timer, 10);
    iterate(loop, 0);
    assert_int_equal(calls, 0);
    for (int i = 1; i <= 5; i++) {
        clock_fake_advance(&fake, 10);
        iterate(loop, 0);
        assert_int_equal(calls, i);
    }
    loop_timer_disarm(&timer);
    clock_fake_advance(&fake, 100);
    iterate(loop, 0);
    assert_int_equal(calls, 5);
    loop_destroy(loop);
}

/* ---- what could hang is tried in a child ---- */

static bool ends_in_a_child(void (*run)(void))
{
    int status = 0;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)alarm(5);
        run();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void handle_arm_for_now(struct loop_timer *timer, void *data)
{
    (void)data;
    loop_timer_arm(timer, 0);
}

static void arm_for_now_for_ever(void)
{
    struct loop_timer timer;
    clock_fake_init(&fake, 0);
    struct loop *loop = NULL;
    if (loop_create(&fake.base, &loop) != 0) {
        _exit(1);
    }
    loop_timer_init(loop, &timer, handle_arm_for_now, NULL);
    loop_timer_arm(&timer, 0);
    if (loop_iterate(loop, 0) != 0) {
        _exit(1);
    }
}

static void a_timer_that_arms_itself_for_now_lets_the_iteration_end(void **state)
{
    (void)state;
    assert_true(ends_in_a_child(arm_for_now_for_ever));
}

static struct loop_post posts[3];

static void handle_post_and_remove_next(struct loop_post *post, void *data)
{
    (void)data;
    loop_post_remove(post + 1);
}

static void handle_removed_post(struct loop_post *post, void *data)
{
    (void)post;
    (void)data;
    _exit(2);
}

static void remove_the_next_post(void)
{
    struct loop *loop = NULL;
    if (loop_create(clock_real(), &loop) != 0) {
        _exit(1);
    }
    loop_post_add(loop, &posts[0], handle_post_and_remove_next, NULL);
    loop_post_add(loop, &posts[1], handle_removed_post, NULL);
    loop_post_send(&posts[0]);
    loop_post_send(&posts[1]);
    if (loop_iterate(loop, SECOND) != 0) {
        _exit(1);
    }
}

static void a_post_may_remove_the_one_behind_it(void **state)
{
    (void)state;
    assert_true(ends_in_a_child(remove_the_next_post));
}

/* ---- tasks, posts, signals ---- */

struct chore {
    struct loop_task task;
    struct loop *loop;
    struct loop_task *cancels;
    int calls;
    bool again;
};

static void run_chore(struct loop_task *task, void *data)
{
    struct chore *chore = data;
    assert_ptr_equal(task, &chore->task);
    chore->calls++;
    if (chore->again) {
        loop_task_schedule(chore->loop, task);
    }
    if (chore->cancels != NULL) {
        loop_task_cancel(chore->cancels);
    }
}

static void make_chore(struct loop *loop, struct chore *chore)
{
    *chore = (struct chore){.loop = loop};
    loop_task_init(&chore->task, run_chore, chore);
}

static void a_task_runs_once_however_often_it_is_scheduled(void **state)
{
    (void)state;
    struct chore chore;
    struct loop *loop = make_loop(clock_real());
    make_chore(loop, &chore);
    loop_task_schedule(loop, &chore.task);
    loop_task_schedule(loop, &chore.task);
    iterate(loop, -1);
    iterate(loop, 0);
    assert_int_equal(chore.calls, 1);
    loop_task_schedule(loop, &chore.task);
    loop_task_cancel(&chore.task);
    iterate(loop, 0);
    assert_int_equal(chore.calls, 1);
    loop_destroy(loop);
}

static void a_task_scheduled_by_itself_waits_for_the_next_iteration(void **state)
{
    (void)state;
    struct chore chore;
    struct loop *loop = make_loop(clock_real());
    make_chore(loop, &chore);
    chore.again = true;
    loop_task_schedule(loop, &chore.task);
    for (int i = 1; i < 5; i++) {
        iterate(loop, -1);
        assert_int_equal(chore.calls, i);
    }
    loop_task_cancel(&chore.task);
    loop_destroy(loop);
}

static void a_task_may_cancel_another_of_its_batch(void **state)
{
    (void)state;
    struct chore first;
    struct chore second;
    struct loop *loop = make_loop(clock_real());
    make_chore(loop, &first);
    make_chore(loop, &second);
    first.cancels = &second.task;
    loop_task_schedule(loop, &first.task);
    loop_task_schedule(loop, &second.task);
    iterate(loop, 0);
    iterate(loop, 0);
    assert_int_equal(first.calls, 1);
    assert_int_equal(second.calls, 0);
    loop_destroy(loop);
}

struct poster {
    struct loop_post post;
    _Atomic int sent;
    int seen;
    int calls;
};

static void handle_post(struct loop_post *post, void *data)
{
    (void)post;
    struct poster *poster = data;
    poster->calls++;
    poster->seen = atomic_load(&poster->sent);
}

static void *send_posts(void *data)
{
    struct poster *poster = data;
    for (int i = 0; i < 5000; i++) {
        atomic_fetch_add(&poster->sent, 1);
        loop_post_send(&poster->post);
    }
    return NULL;
}

static void no_post_of_another_thread_is_lost(void **state)
{
    (void)state;
    struct poster poster = {.calls = 0};
    pthread_t threads[3];
    struct loop *loop = make_loop(clock_real());
    loop_post_add(loop, &poster.post, handle_post, &poster);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, send_posts, &poster), 0);
    }
    for (int i = 0; i < 100000 && poster.seen < 15000; i++) {
        iterate(loop, 10 * SECOND);
    }
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_int_equal(poster.seen, 15000);
    assert_true(poster.calls <= 15000);
    loop_post_remove(&poster.post);
    loop_destroy(loop);
}

static void handle_signal(int number, void *data)
{
    int *seen = data;
    *seen += number;
}

static void a_signal_comes_as_a_callback(void **state)
{
    (void)state;
    static const int signals[] = {SIGUSR1, SIGUSR2, 0};
    int seen = 0;
    struct loop *loop = make_loop(clock_real());
    assert_int_equal(loop_signals_add(loop, signals, handle_signal, &seen), 0);
    assert_int_equal(kill(getpid(), SIGUSR1), 0);
    assert_int_equal(kill(getpid(), SIGUSR2), 0);
    iterate(loop, SECOND);
    assert_int_equal(seen, SIGUSR1 + SIGUSR2);
    loop_destroy(loop);
}

static void handle_stop(struct loop_timer *timer, void *data)
{
    (void)timer;
    loop_stop(data);
}

static void a_running_loop_wakes_for_its_timer_and_stops(void **state)
{
    (void)state;
    struct loop_timer timer;
    struct loop *loop = make_loop(clock_real());
    loop_timer_init(loop, &timer, handle_stop, loop);
    loop_timer_arm(&timer, 2000000);
    int64_t before = loop_now_ns(loop);
    assert_int_equal(loop_run(loop), 0);
    assert_true(loop_now_ns(loop) - before >= 2000000);
    loop_destroy(loop);
    loop_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_edge_is_told_once_and_a_hang_up_apart),
        cmocka_unit_test(a_forgotten_number_may_be_used_again),
        cmocka_unit_test(a_readable_descriptor_calls_its_owner_until_it_is_read),
        cmocka_unit_test(a_one_shot_source_is_quiet_until_it_is_armed_again),
        cmocka_unit_test(a_hang_up_is_reported_as_both),
        cmocka_unit_test(a_source_removed_by_another_of_the_same_batch_is_not_called),
        cmocka_unit_test(an_event_of_a_removed_source_does_not_reach_its_successor),
        cmocka_unit_test(many_sources_keep_apart),
        cmocka_unit_test(timers_fire_when_they_are_due_and_in_order),
        cmocka_unit_test(a_timer_may_arm_itself_again),
        cmocka_unit_test(a_timer_that_arms_itself_for_now_lets_the_iteration_end),
        cmocka_unit_test(a_post_may_remove_the_one_behind_it),
        cmocka_unit_test(a_task_runs_once_however_often_it_is_scheduled),
        cmocka_unit_test(a_task_scheduled_by_itself_waits_for_the_next_iteration),
        cmocka_unit_test(a_task_may_cancel_another_of_its_batch),
        cmocka_unit_test(no_post_of_another_thread_is_lost),
        cmocka_unit_test(a_signal_comes_as_a_callback),
        cmocka_unit_test(a_running_loop_wakes_for_its_timer_and_stops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
