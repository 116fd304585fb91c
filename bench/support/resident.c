/* See resident.h. */
#include "support/resident.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

double resident_peak(void)
{
    static const char name[] = "VmHWM:";
    char line[256];
    double kib = 0;
    FILE *file = fopen("/proc/self/status", "r");
    if (file == NULL) return 0;
    while (fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, name, strlen(name)) == 0) kib = strtod(line + strlen(name), NULL);
    fclose(file);
    return 1024 * kib;
}

void resident_forget_peak(void)
{
    FILE *file = fopen("/proc/self/clear_refs", "w");
    if (file == NULL) return;
    fputs("5", file);
    fclose(file);
}
