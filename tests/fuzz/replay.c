/* Runs a fuzz target over files instead of under libFuzzer: replay FOLDER|FILE ... */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MOST ((size_t)1 << 20)

static int run_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        return 0;
    uint8_t *data = malloc(MOST);
    size_t n = data ? fread(data, 1, MOST, f) : 0;
    fclose(f);
    /* A copy of exactly that size, so that a read past the end is seen. */
    uint8_t *exact = malloc(n ? n : 1);
    if (data && exact) {
        for (size_t i = 0; i < n; i++)
            exact[i] = data[i];
        (void)LLVMFuzzerTestOneInput(exact, n);
    }
    free(exact);
    free(data);
    return 1;
}

static int run_folder(const char *path)
{
    char file[4096];
    int n = 0;
    DIR *folder = opendir(path);
    if (!folder)
        return run_file(path);
    for (const struct dirent *e; (e = readdir(folder)) != NULL;)
        if (e->d_name[0] != '.') {
            snprintf(file, sizeof file, "%s/%s", path, e->d_name);
            n += run_file(file);
        }
    closedir(folder);
    return n;
}

int main(int argc, char **argv)
{
    int n = 0;
    for (int i = 1; i < argc; i++)
        n += run_folder(argv[i]);
    printf("%s: %d inputs\n", argv[0], n);
    return n ? EXIT_SUCCESS : EXIT_FAILURE;
}
