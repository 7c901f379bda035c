/* Quantiles of a few numbers, and how serve prints a series. */
#ifndef BENCH_STATS_H
#define BENCH_STATS_H

#define STATS_MOST   256 /* numbers of one series */
#define STATS_ROUNDS 32

/* q from 0 to 1; n at most STATS_MOST. */
double stats_quantile(const double *value, int n, double q);

/* One JSON object a line: name, median, min, max and every round. */
void stats_print(const char *name, const double *value, int n);

#endif
