/*
 * CRC-32C (Castagnoli; RFC 3720 appendix B.4), as iSCSI, ext4 and Kafka use it: reflected
 * polynomial 0x82F63B78, start and final value 0xFFFFFFFF. Any thread.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* crc is 0 for the first piece, the earlier result for the following ones. */
uint32_t crc32c(uint32_t crc, const void *bytes, size_t size);
/* The same without the CPU's instruction; shown for tests. */
uint32_t crc32c_portable(uint32_t crc, const void *bytes, size_t size);
