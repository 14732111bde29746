/*
 * Which one of several: the choice, apart from what is chosen. Deterministic but for the random
 * strategies, whose generator is part of the state. One thread at a time.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum balance_strategy {
    BALANCE_ROUND_ROBIN,       /* in turn, by weight: nginx's smooth weighted round robin */
    BALANCE_LEAST_CONNECTIONS, /* the smallest load for its weight; in turn among equals */
    BALANCE_RANDOM,            /* by weight */
    BALANCE_P2C                /* the less loaded of two by chance ("power of two choices",
                                * Mitzenmacher, IEEE TPDS 12(10), 2001) */
};
/* "round-robin", "least-connections", "random", "p2c". */
const char *balance_strategy_name(enum balance_strategy strategy);
int balance_strategy_parse(const char *text, enum balance_strategy *ret_strategy,
                           struct error *error) __attribute__((warn_unused_result));

#define BALANCE_WEIGHT_LIMIT 1000000U
#define BALANCE_CREDIT 100

struct balance_candidate {
    uint32_t weight; /* relative; 0: not to be chosen */
    bool busy;       /* not now; in turn it is made up for later, up to BALANCE_CREDIT times */
    uint64_t load;   /* connections it has */
    int64_t turn;    /* the state of turns, kept with what is chosen; 0 at first */
};

struct balance {
    enum balance_strategy strategy;
    uint64_t random; /* not 0 */
};

void balance_init(struct balance *balance, enum balance_strategy strategy, uint64_t seed);
#define BALANCE_NONE SIZE_MAX
/* Index of the chosen one, or BALANCE_NONE. Changes the turns of all of them. */
size_t balance_choose(struct balance *balance, struct balance_candidate *candidates, size_t count);
