/* Put in front of the C library with LD_PRELOAD, this makes the system calls on
 * files of the journal and of shards fail or wait as the first word of the file
 * $WARP_SHIM says: sync-fails, sync-waits (1.2 s), write-fails (no space left);
 * on those of shards alone: shard-sync-fails, shard-write-fails. No file, no
 * word: everything works. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

static int told_to(const char *word)
{
    char text[32] = {0};
    const char *path = getenv("WARP_SHIM");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return 0;
    ssize_t length = read(fd, text, sizeof text - 1);
    close(fd);
    return length > 0 && strncmp(text, word, strlen(word)) == 0;
}

static int is_named(int fd, const char *name)
{
    char link[64], path[1024] = {0};
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    return readlink(link, path, sizeof path - 1) > 0 && strstr(path, name) != NULL;
}

static int fails(int fd, const char *word, const char *of_shards)
{
    if (is_named(fd, "/shard-"))
        return told_to(word) || told_to(of_shards);
    return is_named(fd, "/journal-") && told_to(word);
}

static int sync_fails(int fd)
{
    if (fails(fd, "sync-waits", "shard-sync-waits"))
        usleep(1200 * 1000);
    return fails(fd, "sync-fails", "shard-sync-fails");
}

#define REAL(name, type) ((type)dlsym(RTLD_NEXT, name))

int fsync(int fd)
{
    if (sync_fails(fd)) {
        errno = EIO;
        return -1;
    }
    return REAL("fsync", int (*)(int))(fd);
}

int fdatasync(int fd)
{
    if (sync_fails(fd)) {
        errno = EIO;
        return -1;
    }
    return REAL("fdatasync", int (*)(int))(fd);
}

#define NO_ROOM(fd)                                 \
    if (fails(fd, "write-fails", "shard-write-fails")) { \
        errno = ENOSPC;                             \
        return -1;                                  \
    }

ssize_t write(int fd, const void *bytes, size_t size)
{
    NO_ROOM(fd)
    return syscall(SYS_write, fd, bytes, size);
}

ssize_t pwrite(int fd, const void *bytes, size_t size, off_t offset)
{
    NO_ROOM(fd)
    return syscall(SYS_pwrite64, fd, bytes, size, offset);
}

ssize_t pwrite64(int fd, const void *bytes, size_t size, off64_t offset)
{
    NO_ROOM(fd)
    return syscall(SYS_pwrite64, fd, bytes, size, offset);
}
