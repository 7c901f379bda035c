#include "stats.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double stats_quantile(const double *value, int n, double q)
{
    double sorted[STATS_MOST];
    memcpy(sorted, value, (size_t)n * sizeof *value);
    qsort(sorted, (size_t)n, sizeof *sorted, by_value);
    return sorted[(int)(q * (n - 1) + 0.5)];
}

void stats_print(const char *name, const double *value, int n)
{
    printf("{\"workload\": \"%s\", \"median\": %.2f, \"min\": %.2f, \"max\": %.2f, \"rounds\": [",
           name, stats_quantile(value, n, 0.5), stats_quantile(value, n, 0),
           stats_quantile(value, n, 1));
    for (int i = 0; i < n; i++)
        printf("%s%.2f", i ? ", " : "", value[i]);
    printf("]}\n");
    fflush(stdout);
}
