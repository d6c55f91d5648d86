/* Put in front of the C library with LD_PRELOAD, this records what a VM does to the files below the
 * folder $WARP_RECORD_DIR, in one order, to the file $WARP_RECORD: writes, truncations, syncs of files and
 * folders, files made, removed and renamed. `warp_power' reads it. A record is
 *
 *   operation (1 byte), length of the path (2), offset or size (8), length of the data (4), path, data
 *
 * with numbers in the machine's order. One lock spans each operation and its record, so that what is recorded
 * before a sync is covered by it. What is mapped into memory is not seen: SQLite's -shm files, which are left out. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void put(const void *bytes, size_t size)
{
    static int record = -1;
    if (record < 0)
        record = syscall(SYS_openat, AT_FDCWD, getenv("WARP_RECORD"),
                         O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    const char *next = bytes;
    while (size > 0) {
        ssize_t written = syscall(SYS_write, record, next, size);
        if (written <= 0)
            abort();
        next += written;
        size -= written;
    }
}

static void note(char operation, const char *path, uint64_t offset, const void *data, uint32_t size)
{
    char head[15];
    uint16_t length = strlen(path);
    head[0] = operation;
    memcpy(head + 1, &length, 2);
    memcpy(head + 3, &offset, 8);
    memcpy(head + 11, &size, 4);
    put(head, sizeof head);
    put(path, length);
    put(data, size);
}

static int is_recorded(const char *path)
{
    const char *dir = getenv("WARP_RECORD_DIR");
    size_t length = strlen(path);
    return dir && getenv("WARP_RECORD") && strncmp(path, dir, strlen(dir)) == 0 &&
           !(length > 4 && strcmp(path + length - 4, "-shm") == 0);
}

/* The path of an open file, if it is recorded. */
static int path_of(int fd, char *path, size_t size)
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, size - 1);
    if (length <= 0)
        return 0;
    path[length] = 0;
    return strstr(path, " (deleted)") == NULL && is_recorded(path);
}

#define PATH 4096

static ssize_t recorded_write(int fd, const void *bytes, size_t size, off_t offset, int at)
{
    char path[PATH];
    int saved = errno;
    int recorded = path_of(fd, path, sizeof path);
    errno = saved;
    if (!recorded)
        return at ? syscall(SYS_pwrite64, fd, bytes, size, offset) : syscall(SYS_write, fd, bytes, size);
    pthread_mutex_lock(&lock);
    if (!at) {
        struct stat info;
        int appends = fcntl(fd, F_GETFL) & O_APPEND;
        offset = appends && fstat(fd, &info) == 0 ? info.st_size : lseek(fd, 0, SEEK_CUR);
    }
    ssize_t written = at ? syscall(SYS_pwrite64, fd, bytes, size, offset) : syscall(SYS_write, fd, bytes, size);
    if (written > 0)
        note('W', path, offset, bytes, written);
    pthread_mutex_unlock(&lock);
    return written;
}

ssize_t write(int fd, const void *bytes, size_t size) { return recorded_write(fd, bytes, size, 0, 0); }

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
    return recorded_write(fd, bytes, size, offset, 1);
}

ssize_t pwrite64(int fd, const void *bytes, size_t size, off64_t offset)
{
    return recorded_write(fd, bytes, size, offset, 1);
}

/* One piece after the other: nothing else writes to these files at the same time. */
ssize_t writev(int fd, const struct iovec *pieces, int count)
{
    char path[PATH];
    if (!path_of(fd, path, sizeof path))
        return syscall(SYS_writev, fd, pieces, count);
    ssize_t all = 0;
    for (int i = 0; i < count; i++) {
        ssize_t written = recorded_write(fd, pieces[i].iov_base, pieces[i].iov_len, 0, 0);
        if (written < 0)
            return all > 0 ? all : written;
        all += written;
        if ((size_t)written < pieces[i].iov_len)
            break;
    }
    return all;
}

static int recorded_sync(int fd, long call)
{
    char path[PATH];
    struct stat info;
    if (!path_of(fd, path, sizeof path) || fstat(fd, &info) != 0)
        return syscall(call, fd);
    pthread_mutex_lock(&lock);
    int result = syscall(call, fd);
    if (result == 0)
        note(S_ISDIR(info.st_mode) ? 'D' : 'S', path, 0, "", 0);
    pthread_mutex_unlock(&lock);
    return result;
}

int fsync(int fd) { return recorded_sync(fd, SYS_fsync); }
int fdatasync(int fd) { return recorded_sync(fd, SYS_fdatasync); }

static int recorded_truncate(int fd, off64_t size)
{
    char path[PATH];
    if (!path_of(fd, path, sizeof path))
        return syscall(SYS_ftruncate, fd, size);
    pthread_mutex_lock(&lock);
    int result = syscall(SYS_ftruncate, fd, size);
    if (result == 0)
        note('T', path, size, "", 0);
    pthread_mutex_unlock(&lock);
    return result;
}

int ftruncate(int fd, off_t size) { return recorded_truncate(fd, size); }
int ftruncate64(int fd, off64_t size) { return recorded_truncate(fd, size); }

static int recorded_open(int dir, const char *path, int flags, mode_t mode)
{
    if (!(flags & O_CREAT) || path[0] != '/' || !is_recorded(path))
        return syscall(SYS_openat, dir, path, flags, mode);
    pthread_mutex_lock(&lock);
    int is_new = syscall(SYS_faccessat, AT_FDCWD, path, F_OK) != 0;
    int fd = syscall(SYS_openat, dir, path, flags, mode);
    int saved = errno;
    if (fd >= 0 && is_new)
        note('C', path, 0, "", 0);
    if (fd >= 0 && !is_new && (flags & O_TRUNC))
        note('T', path, 0, "", 0);
    pthread_mutex_unlock(&lock);
    errno = saved;
    return fd;
}

#define MODE(flags)                           \
    mode_t mode = 0;                          \
    if ((flags) & (O_CREAT | O_TMPFILE)) {    \
        va_list arguments;                    \
        va_start(arguments, flags);           \
        mode = va_arg(arguments, int);        \
        va_end(arguments);                    \
    }

int open(const char *path, int flags, ...) { MODE(flags) return recorded_open(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...)
{
    MODE(flags)
    return recorded_open(AT_FDCWD, path, flags | O_LARGEFILE, mode);
}
int openat(int dir, const char *path, int flags, ...) { MODE(flags) return recorded_open(dir, path, flags, mode); }
int openat64(int dir, const char *path, int flags, ...)
{
    MODE(flags)
    return recorded_open(dir, path, flags | O_LARGEFILE, mode);
}

int unlink(const char *path)
{
    if (!is_recorded(path))
        return syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    pthread_mutex_lock(&lock);
    int result = syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    if (result == 0)
        note('U', path, 0, "", 0);
    pthread_mutex_unlock(&lock);
    return result;
}

int rename(const char *from, const char *to)
{
    if (!is_recorded(from) && !is_recorded(to))
        return syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
    pthread_mutex_lock(&lock);
    int result = syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
    if (result == 0)
        note('R', from, 0, to, strlen(to));
    pthread_mutex_unlock(&lock);
    return result;
}
