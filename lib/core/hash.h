/* Fingerprints of 64 bits, word by word. Not cryptographic: they tell two things apart, they do not resist an attacker. */
#ifndef EWCI_CORE_HASH_H
#define EWCI_CORE_HASH_H

#include <stdint.h>

#define EWCI_HASH_START 0x9e3779b97f4a7c15ULL

/* A multiplication and a xor-shift: a constant of MurmurHash3's finaliser (Appleby) as a mixing step. */
static inline uint64_t ewci_hash_mix(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * 0xff51afd7ed558ccdULL;
    return hash ^ (hash >> 32);
}

#endif
