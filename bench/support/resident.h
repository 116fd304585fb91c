/* Memory of this process as the system counts it. */
#ifndef BENCH_SUPPORT_RESIDENT_H
#define BENCH_SUPPORT_RESIDENT_H

/* The largest resident size so far, in bytes; 0 where the system does not tell. */
double resident_peak(void);

/* Starts its count anew. */
void resident_forget_peak(void);

#endif
