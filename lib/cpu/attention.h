/* What the two directions of attention share: tiles of queries, strips of keys, and which thread does what.
 *
 * A tile is some queries of some query heads that share a kv head: its rows, query after query and head after head, are the lanes of a strip of
 * scores. The queries that see a key of a strip follow one another, so that the rest of the lanes can be left out. */
#ifndef EWCI_CPU_ATTENTION_H
#define EWCI_CPU_ATTENTION_H

#include "cpu/device.h"

/* A strip of scores (120 KiB at most) stays in cache between product and softmax. Within a strip,
 * groups of keys leave out the lanes that see none of them. */
enum {
    EWCI_KEY_STRIP = 120,
    EWCI_KEY_GROUPS = EWCI_KEY_STRIP / EWCI_KEY_GROUP,
    EWCI_TILE_LANES = 256,
    EWCI_TILE_HEADS = 8
};

/* One thread's memory. */
typedef struct ewci_attention_thread {
    float *q, *d_o, *out;          /* [lanes, head_dim]: rows of the tile; out: of o forward, of dq backward */
    float *q_panels, *d_o_panels;  /* the same turned, in panels: the B of products with keys and values */
    float *s, *dp;                 /* [keys, lanes] */
    float *strip;                  /* a strip's keys or values in panels */
    float *panel;                  /* scratch of products */
    float *maximum, *sum, *factor; /* [lanes] forward */
    float *lse, *delta;            /* [lanes] backward */
    int32_t *lowest, *highest;     /* [lanes] keys that a lane sees, counted from the tile's first key */
} ewci_attention_thread;

/* The packed tokens cut into the queries of tiles; a tile may hold several short documents. */
typedef struct ewci_attention_tiling {
    int64_t heads, parts; /* query heads of a tile at most, tiles for each kv head and set of queries */
    int64_t queries;      /* of a tile at most */
    int64_t count;        /* sets of queries */
    int32_t *first;       /* [count + 1] first query of each, and the number of tokens */
} ewci_attention_tiling;

typedef struct ewci_attention_job {
    ewci_device *device;
    const ewci_attention *shape;
    ewci_attention_tiling tiling;
    int64_t stride; /* of a row of qkv */
    const float *qkv;
    float *o, *lse; /* written forward, read backward */
    float *dqkv;    /* backward */
    const float *d_o;
    int32_t *owner; /* [items] the thread that does it */
    double *load;   /* [threads] */
    float *threads; /* [device->threads, ewci_attention_thread_floats] */
} ewci_attention_job;

typedef struct ewci_query_tile {
    int64_t first, end;    /* queries */
    int64_t first_key;     /* the first that one of them sees; the last is end - 1 */
    int64_t kv;            /* kv head */
    int64_t head, heads;   /* first query head, and how many */
    int64_t lanes, padded; /* heads * queries, and rounded up to a vector */
} ewci_query_tile;

/* Fills in what both directions need, and lays out the scratch. */
ewci_attention_job ewci_attention_prepare(ewci_device *device, const ewci_attention *shape, const void *qkv,
                                          void *scratch);

ewci_attention_thread ewci_attention_thread_memory(const ewci_attention_job *job, int index);

ewci_query_tile ewci_attention_tile(const ewci_attention_job *job, int64_t set, int64_t kv, int64_t part);

/* First key that the query sees. */
int64_t ewci_first_key(const ewci_attention *shape, int64_t query);

/* Copies the tile's rows from x, whose rows are `stride` long, into rows of head_dim, zero in the padding, and into panels. */
void ewci_attention_gather(const ewci_attention_job *job, const ewci_query_tile *tile, const float *x, int64_t stride,
                           float *rows, float *panels);

/* Sets lowest and highest. */
void ewci_attention_limits(const ewci_attention_job *job, const ewci_query_tile *tile, ewci_attention_thread *memory);

/* Keys [key, end) and the lanes [lane, lane + lanes) that see one of them; `rows` of these lanes are not padding. lanes is 0 when nobody
 * sees one. Keys of other lanes are not computed. */
typedef struct ewci_key_strip {
    int64_t key, end;
    int64_t lane, lanes, rows;
    int32_t from[EWCI_KEY_GROUPS], to[EWCI_KEY_GROUPS]; /* counted from `lane`: see ewci_attention_strip */
} ewci_key_strip;

/* The strip that begins with `key`, no further than `end`. */
ewci_key_strip ewci_attention_strip_at(const ewci_query_tile *tile, const ewci_attention_thread *memory, int64_t key,
                                       int64_t end);

/* product[keys, lanes] = the strip's rows of `keys` (or values) times the gathered rows that `panels` holds, turned. */
void ewci_attention_turned(const ewci_attention_job *job, const ewci_attention_thread *memory,
                           const ewci_key_strip *strip, float *product, const float *keys, const float *panels);

/* out[rows, head_dim] += weights[keys, lanes]^T keys: to the strip's lanes of the tile. */
void ewci_attention_add_rows(const ewci_attention_job *job, const ewci_attention_thread *memory,
                             const ewci_key_strip *strip, const float *weights, const float *keys);

/* Computes the strip's products of queries and keys; the fields of one direction are still to be set, each from the strip's first lane on. */
ewci_attention_strip ewci_attention_scores(const ewci_attention_job *job, const ewci_query_tile *tile,
                                           const ewci_attention_thread *memory, const ewci_key_strip *strip);

/* Gives each of `items` pieces of work to the thread with the least so far, from the last to the first, since costs grow with
 * the position in a document. Returns the largest share. */
double ewci_attention_assign(ewci_attention_job *job, int64_t items,
                             double (*cost)(const ewci_attention_job *job, int64_t item));

#endif
