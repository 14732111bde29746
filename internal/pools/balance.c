/*
 * Turns: at each choice every candidate gains its weight, the one with most is chosen and loses the sum. So
 * each comes in proportion to its weight, evenly spread, also where one is busy now and then: it goes on
 * gaining, up to a limit. It also decides among equals elsewhere.
 *
 * The generator is xorshift64* (Vigna, ACM TOMS 42(4), 2016).
 */
#include "pools/balance.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

static const char *const names[] = {"round-robin", "least-connections", "random", "p2c"};

const char *balance_strategy_name(enum balance_strategy strategy)
{
    return names[strategy];
}

int balance_strategy_parse(const char *text, enum balance_strategy *ret_strategy,
                           struct error *error)
{
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(text, names[i]) == 0) {
            *ret_strategy = (enum balance_strategy)i;
            return 0;
        }
    }
    error_set(error,
              "'%.40s' is no strategy; there are round-robin, least-connections, random and p2c",
              text);
    return -EINVAL;
}

void balance_init(struct balance *balance, enum balance_strategy strategy, uint64_t seed)
{
    *balance = (struct balance){.strategy = strategy, .random = seed | 1};
}

static uint64_t next_random(struct balance *balance)
{
    uint64_t x = balance->random;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    balance->random = x;
    return (x * UINT64_C(0x2545f4914f6cdd1d)) >> 1;
}

static uint64_t present_weight(const struct balance_candidate *candidate)
{
    return candidate->busy ? 0 : candidate->weight;
}

static uint64_t sum_weights(const struct balance_candidate *candidates, size_t count)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        sum += present_weight(&candidates[i]);
    }
    return sum;
}

/* By weight; `except` is left out. */
static size_t by_chance(struct balance *balance, const struct balance_candidate *candidates,
                        size_t count, size_t except)
{
    uint64_t sum = sum_weights(candidates, count);
    sum -= except != BALANCE_NONE ? present_weight(&candidates[except]) : 0;
    if (sum == 0) {
        return BALANCE_NONE;
    }
    uint64_t left = next_random(balance) % sum;
    for (size_t i = 0; i < count; i++) {
        uint64_t weight = i == except ? 0 : present_weight(&candidates[i]);
        if (left < weight) {
            return i;
        }
        left -= weight;
    }
    return BALANCE_NONE;
}

/* Whether a's load is smaller for its weight: a.load / a.weight < b.load / b.weight. */
static int compare_load(const struct balance_candidate *a, const struct balance_candidate *b)
{
    uint64_t left = (a->load + 1) * b->weight;
    uint64_t right = (b->load + 1) * a->weight;
    return left < right ? -1 : left > right;
}

static bool is_better(const struct balance *balance, const struct balance_candidate *candidate,
                      const struct balance_candidate *best)
{
    int order = balance->strategy == BALANCE_LEAST_CONNECTIONS ? compare_load(candidate, best) : 0;
    return order < 0 || (order == 0 && candidate->turn > best->turn);
}

static int64_t within_credit(int64_t turn, int64_t weight)
{
    int64_t most = BALANCE_CREDIT * weight;
    return turn > most ? most : turn < -most ? -most : turn;
}

static size_t by_turn(const struct balance *balance, struct balance_candidate *candidates,
                      size_t count)
{
    size_t best = BALANCE_NONE;
    int64_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        struct balance_candidate *candidate = &candidates[i];
        if (candidate->weight == 0) {
            continue;
        }
        candidate->turn = within_credit(candidate->turn + candidate->weight, candidate->weight);
        sum += candidate->weight;
        if (candidate->busy) {
            continue;
        }
        if (best == BALANCE_NONE || is_better(balance, candidate, &candidates[best])) {
            best = i;
        }
    }
    if (best != BALANCE_NONE) {
        candidates[best].turn = within_credit(candidates[best].turn - sum, sum);
    }
    return best;
}

size_t balance_choose(struct balance *balance, struct balance_candidate *candidates, size_t count)
{
    if (balance->strategy == BALANCE_ROUND_ROBIN ||
        balance->strategy == BALANCE_LEAST_CONNECTIONS) {
        return by_turn(balance, candidates, count);
    }
    size_t first = by_chance(balance, candidates, count, BALANCE_NONE);
    if (balance->strategy == BALANCE_RANDOM || first == BALANCE_NONE) {
        return first;
    }
    size_t second = by_chance(balance, candidates, count, first);
    return second != BALANCE_NONE && compare_load(&candidates[second], &candidates[first]) < 0
               ? second
               : first;
}
