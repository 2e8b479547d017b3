/*
 * A disk that fails when it is told to. Loaded into a broker (LD_PRELOAD), it stands before the writes of the files of
 * its store, counts them, and at a certain one kills the process, cuts the power, fails, or waits.
 *
 * What it does is in a file that it shares with the test: see `struct control`, and disk.rs.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum action { NOTHING, KILL_BEFORE, KILL_AFTER, POWER, FAIL, WAIT };
enum kind { WRITE = 1, SYNC = 2, TRUNCATE = 4 };

struct control {
    /* Writes, syncs and truncations so far. */
    volatile uint64_t count;
    /* From which one on something happens, of which kinds (a set), and what. */
    volatile uint64_t at, kinds, action;
    /* FAIL: the error. POWER: which writes that are not synced are lost; 0: all of them. */
    volatile uint64_t argument;
    /* How often something happened. */
    volatile uint64_t acted;
};

/* A change that no sync has followed yet: what was there before, and what was written. */
struct change {
    struct change *earlier;
    char path[256];
    off_t size, offset;
    size_t old_length, length;
    unsigned char *old, *new;
};

static struct control *control;
static struct change *newest;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static int (*real_fsync)(int), (*real_fdatasync)(int), (*real_ftruncate)(int, off_t);

__attribute__((constructor)) static void begin(void) {
    real_write = (ssize_t (*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    real_pwrite = (ssize_t (*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, "pwrite64");
    real_fsync = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    real_ftruncate = (int (*)(int, off_t))dlsym(RTLD_NEXT, "ftruncate64");
    int file = open(getenv("DISK_CONTROL"), O_RDWR);
    void *shared = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (shared == MAP_FAILED) abort();
    close(file);
    control = shared;
}

/* Whether it is one of the store's files, and its path. */
static int ours(int file, char path[256]) {
    char link[32];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, 255);
    if (length <= 0) return 0;
    path[length] = 0;
    const char *name = strrchr(path, '/');
    return name && (!strncmp(name, "/broker.db", 10) || !strncmp(name, "/store-key", 10));
}

static void forget(struct change *change) {
    free(change->old);
    free(change->new);
    free(change);
}

static void remember(int file, const char *path, const void *octets, size_t length, off_t offset, off_t end) {
    struct stat status;
    struct change *change = calloc(1, sizeof *change);
    if (!change || fstat(file, &status)) abort();
    strcpy(change->path, path);
    change->size = status.st_size;
    change->offset = offset;
    change->old_length = offset < status.st_size ? (size_t)((end < status.st_size ? end : status.st_size) - offset) : 0;
    change->old = malloc(change->old_length + 1);
    /* The file may be open for writing only. */
    int readable = open(path, O_RDONLY);
    if (pread(readable, change->old, change->old_length, offset) != (ssize_t)change->old_length) abort();
    close(readable);
    change->length = length;
    change->new = malloc(length + 1);
    if (octets) memcpy(change->new, octets, length);
    change->earlier = newest;
    newest = change;
}

/* A sync of this file has come back. */
static void settle(const char *path) {
    for (struct change **place = &newest; *place;) {
        struct change *change = *place;
        if (strcmp(change->path, path)) {
            place = &change->earlier;
        } else {
            *place = change->earlier;
            forget(change);
        }
    }
}

static void again(struct change *change) {
    if (!change) return;
    again(change->earlier);
    control->argument = control->argument * 6364136223846793005u + 1442695040888963407u;
    uint64_t chance = control->argument >> 60;
    /* All of it arrived, the first sectors of it, or nothing. */
    size_t length = chance < 6 ? change->length : chance < 9 ? change->length / 2 / 512 * 512 : 0;
    if (!length) return;
    int file = open(change->path, O_WRONLY);
    real_pwrite(file, change->new, length, change->offset);
    close(file);
}

static void wait_for_the_end(int signal) {
    (void)signal;
    for (;;) pause();
}

/* What no sync has confirmed is lost, as far as it was not written by chance. Another thread may have a file mapped that
 * becomes shorter; for it the power is off already. */
static void power_cut(void) {
    signal(SIGBUS, wait_for_the_end);
    for (struct change *change = newest; change; change = change->earlier) {
        int file = open(change->path, O_WRONLY);
        real_pwrite(file, change->old, change->old_length, change->offset);
        if (real_ftruncate(file, change->size)) abort();
        close(file);
    }
    if (control->argument) again(newest);
}

__attribute__((noreturn)) static void end(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

/* Before a change. Whether it fails, with errno set. */
static int before(enum kind kind) {
    uint64_t number = ++control->count;
    while (control->at && number >= control->at && control->kinds & kind) {
        control->acted++;
        switch (control->action) {
        case KILL_BEFORE: end();
        case POWER: power_cut(); end();
        case FAIL: errno = (int)control->argument; return 1;
        case WAIT: usleep(2000); continue;
        default: return 0;
        }
    }
    return 0;
}

static void after(enum kind kind) {
    if (control->at && control->count >= control->at && control->kinds & kind && control->action == KILL_AFTER) end();
}

static ssize_t change(int file, const void *octets, size_t length, off_t offset, int at_offset) {
    char path[256];
    int saved = errno;
    if (!control || !ours(file, path)) {
        errno = saved;
        return at_offset ? real_pwrite(file, octets, length, offset) : real_write(file, octets, length);
    }
    pthread_mutex_lock(&mutex);
    uint64_t acted = control->acted;
    ssize_t written = -1;
    int fails = before(WRITE);
    /* A disk gets full in the middle of a write: part of it is there, and what follows fails. */
    if (fails && errno == ENOSPC && !acted && length > 1) {
        length /= 2;
        fails = 0;
    }
    if (!fails) {
        off_t place = at_offset ? offset : lseek(file, 0, SEEK_CUR);
        remember(file, path, octets, length, place, place + (off_t)length);
        errno = saved;
        written = at_offset ? real_pwrite(file, octets, length, offset) : real_write(file, octets, length);
        after(WRITE);
    }
    pthread_mutex_unlock(&mutex);
    return written;
}

ssize_t write(int file, const void *octets, size_t length) { return change(file, octets, length, 0, 0); }
ssize_t pwrite(int file, const void *octets, size_t length, off_t offset) { return change(file, octets, length, offset, 1); }
ssize_t pwrite64(int file, const void *octets, size_t length, off_t offset) { return change(file, octets, length, offset, 1); }

static int synced(int file, int (*sync)(int)) {
    char path[256];
    if (!control || !ours(file, path)) return sync(file);
    pthread_mutex_lock(&mutex);
    int result = -1;
    if (!before(SYNC)) {
        result = sync(file);
        if (!result) settle(path);
        after(SYNC);
    }
    pthread_mutex_unlock(&mutex);
    return result;
}

int fsync(int file) { return synced(file, real_fsync); }
int fdatasync(int file) { return synced(file, real_fdatasync); }

static int truncated(int file, off_t size) {
    char path[256];
    if (!control || !ours(file, path)) return real_ftruncate(file, size);
    pthread_mutex_lock(&mutex);
    int result = -1;
    if (!before(TRUNCATE)) {
        struct stat status;
        if (fstat(file, &status)) abort();
        remember(file, path, NULL, 0, size, status.st_size > size ? status.st_size : size);
        result = real_ftruncate(file, size);
        after(TRUNCATE);
    }
    pthread_mutex_unlock(&mutex);
    return result;
}

int ftruncate(int file, off_t size) { return truncated(file, size); }
int ftruncate64(int file, off_t size) { return truncated(file, size); }
