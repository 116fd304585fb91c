/* Philox 4x32-10 and what is drawn from it. Constants from Salmon et al. 2011, section 3. */
#include "core/random.h"

#include <math.h>

static void philox_round(uint32_t counter[4], const uint32_t key[2])
{
    uint64_t a = (uint64_t)0xD2511F53U * counter[0];
    uint64_t b = (uint64_t)0xCD9E8D57U * counter[2];
    uint32_t next[4] = {(uint32_t)(b >> 32) ^ counter[1] ^ key[0], (uint32_t)b,
                        (uint32_t)(a >> 32) ^ counter[3] ^ key[1], (uint32_t)a};
    for (int i = 0; i < 4; i++) counter[i] = next[i];
}

void ewci_philox_block(const uint32_t counter_in[4], const uint32_t key_in[2], uint32_t out[4])
{
    uint32_t key[2] = {key_in[0], key_in[1]};
    for (int i = 0; i < 4; i++) out[i] = counter_in[i];
    for (int round = 0; round < 10; round++) {
        philox_round(out, key);
        key[0] += 0x9E3779B9U;
        key[1] += 0xBB67AE85U;
    }
}

void ewci_philox(uint64_t seed, uint32_t stream, uint64_t high, uint64_t low, uint32_t out[4])
{
    /* The stream has the counter's uppermost byte: `high` is below 2^56 wherever it is a count of steps or epochs. */
    uint32_t counter[4] = {(uint32_t)low, (uint32_t)(low >> 32), (uint32_t)high,
                           (uint32_t)(high >> 32) ^ (stream << 24)};
    uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    ewci_philox_block(counter, key, out);
}

static double unit(uint32_t word)
{
    return ((double)word + 0.5) * 0x1p-32;
}

double ewci_uniform(uint64_t seed, uint32_t stream, uint64_t high, uint64_t low)
{
    uint32_t words[4];
    ewci_philox(seed, stream, high, low, words);
    return unit(words[0]);
}

double ewci_normal(uint64_t seed, uint32_t stream, uint64_t high, uint64_t low)
{
    uint32_t words[4];
    ewci_philox(seed, stream, high, low, words);
    return sqrt(-2.0 * log(unit(words[0]))) * cos(2.0 * 3.14159265358979323846 * unit(words[1]));
}

/* One Feistel network over 2 * half bits: four rounds with Philox as the round function. */
static uint64_t feistel(uint64_t seed, uint64_t epoch, unsigned half, uint64_t value)
{
    uint64_t mask = ((uint64_t)1 << half) - 1, left = value >> half, right = value & mask;
    for (uint64_t round = 0; round < 4; round++) {
        uint32_t words[4];
        ewci_philox(seed, EWCI_STREAM_ORDER, epoch, right << 2 | round, words);
        uint64_t mixed = ((uint64_t)words[1] << 32 | words[0]) & mask;
        uint64_t next = left ^ mixed;
        left = right;
        right = next;
    }
    return left << half | right;
}

uint64_t ewci_permute(uint64_t seed, uint64_t epoch, uint64_t n, uint64_t index)
{
    unsigned half = 1;
    if (n == 0) return 0;
    while (half < 31 && ((uint64_t)1 << 2 * half) < n) half++;
    do {
        index = feistel(seed, epoch, half, index);
    } while (index >= n);
    return index;
}
