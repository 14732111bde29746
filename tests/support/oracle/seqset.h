/*
 * seqset: a set of sequence numbers as a bitmap in pages, made for runs that are nearly dense.
 * Ten million numbers in a row take 1.25 MB. Single thread; ends the program when memory ends.
 */
#ifndef SEQSET_H
#define SEQSET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All zero is the empty set. */
struct seqset {
    uint64_t **pages;
    uint64_t base_page;
    size_t page_count;
    uint64_t first;
    uint64_t last;
    uint64_t count;
};

/* -ERANGE: too far away from the others to be kept; -EEXIST: it was there already; else 0. */
int seqset_add(struct seqset *set, uint64_t seq);
bool seqset_has(const struct seqset *set, uint64_t seq);
void seqset_finish(struct seqset *set);

#endif
