/* Checksums of what is kept in files: XXH3 of 64 bits, of the library xxHash. At the speed of
 * memory; against damage, not against people. */
#pragma once

#include <stddef.h>
#include <stdint.h>

uint64_t checksum(const void *bytes, size_t n);
