/*
 * Load for a Redis from many connections, in one thread, without pipelining between calls: each
 * connection sends a request and waits for its answer, as a caller does. Prints calls per second,
 * or the milliseconds that one call took.
 *
 *   redis_load SOCKET singles|batches|transfers|mix CALLERS SECONDS TAG
 *   redis_load SOCKET fill EVENTS EACH
 *   redis_load SOCKET victims ENTITIES EACH
 *   redis_load SOCKET read|delete KEY
 */
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define ENTITIES 10000
#define ACCOUNTS 1000
#define BATCH 500
#define ZIPF 1.001
#define PAYLOAD "{\"amount\":5,\"from\":\"acct-00001234\",\"ok\":true}"

struct caller {
    int fd;
    long round;
    char *out, *in;
    size_t out_size, out_len, out_sent, in_size, in_len;
    int waits_for; /* answers to the request under way */
};

static const char *mode, *tag;
static long callers;
static double zipf[ENTITIES];

static void die(const char *what)
{
    fprintf(stderr, "redis_load: %s\n", what);
    exit(1);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void *grown(void *old, size_t size)
{
    void *new = realloc(old, size);
    if (!new) die("out of memory");
    return new;
}

static int connected(const char *path)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0 || strlen(path) >= sizeof to.sun_path) die("cannot make a socket");
    strcpy(to.sun_path, path);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) != 0) die("cannot connect");
    return fd;
}

/* Adds one command: its words, up to a null pointer. */
static void command(struct caller *c, ...)
{
    va_list words;
    const char *word;
    int count = 0;
    va_start(words, c);
    while (va_arg(words, const char *)) count++;
    va_end(words);
    if (c->out_size - c->out_len < 1024) {
        c->out_size = c->out_size * 2 + 1024;
        c->out = grown(c->out, c->out_size);
    }
    c->out_len += (size_t)sprintf(c->out + c->out_len, "*%d\r\n", count);
    va_start(words, c);
    while ((word = va_arg(words, const char *)))
        c->out_len += (size_t)sprintf(c->out + c->out_len, "$%zu\r\n%s\r\n", strlen(word), word);
    va_end(words);
    c->waits_for++;
}

static void add(struct caller *c, const char *key, long seq)
{
    char id[32];
    sprintf(id, "%ld-0", seq);
    command(c, "XADD", key, id, "type", "Credited", "payload", PAYLOAD, (char *)0);
}

static long drawn(void)
{
    double at = drand48() * zipf[ENTITIES - 1];
    long low = 0, high = ENTITIES - 1;
    while (low < high) {
        long middle = (low + high) / 2;
        if (zipf[middle] < at) low = middle + 1;
        else high = middle;
    }
    return low;
}

static void transfer(struct caller *c)
{
    char from[64], to[64];
    long a = lrand48() % ACCOUNTS, b = (a + 1 + lrand48() % (ACCOUNTS - 1)) % ACCOUNTS;
    sprintf(from, "%ld", a);
    sprintf(to, "%ld", b);
    command(c, "MULTI", (char *)0);
    command(c, "HINCRBY", "accounts", from, "-5", (char *)0);
    command(c, "HINCRBY", "accounts", to, "5", (char *)0);
    command(c, "XADD", "transfers", "*", "debited", from, "credited", to, "amount", "5", (char *)0);
    command(c, "EXEC", (char *)0);
}

static void mixed(struct caller *c)
{
    char events[64], state[64];
    long entity = drawn();
    sprintf(events, "events-%s-%ld", tag, entity);
    sprintf(state, "state-%s-%ld", tag, entity);
    if (c->round % 5 != 0) {
        command(c, "GET", state, (char *)0);
        return;
    }
    command(c, "MULTI", (char *)0);
    command(c, "INCRBY", state, "5", (char *)0);
    command(c, "XADD", events, "*", "type", "Credited", "payload", PAYLOAD, (char *)0);
    command(c, "EXEC", (char *)0);
}

/* The next request of the caller with this number. Callers share the entities out among them. */
static void request(struct caller *c, long number)
{
    char key[64];
    long slice = ENTITIES / callers;
    sprintf(key, "acct-%s-%ld", tag, number + callers * (c->round % slice));
    c->out_len = c->out_sent = c->in_len = 0;
    c->waits_for = 0;
    if (!strcmp(mode, "singles")) {
        add(c, key, 1 + c->round / slice);
    } else if (!strcmp(mode, "batches")) {
        command(c, "MULTI", (char *)0);
        for (long i = 1; i <= BATCH; i++) add(c, key, i + c->round / slice * BATCH);
        command(c, "EXEC", (char *)0);
    } else if (!strcmp(mode, "transfers")) {
        transfer(c);
    } else {
        mixed(c);
    }
    c->round++;
}

/* The bytes of the answer at the start of the text, or 0 while it is not whole. */
static size_t answer(const char *text, size_t len)
{
    const char *end = memchr(text, '\n', len);
    size_t used;
    long n;
    if (!end) return 0;
    used = (size_t)(end - text) + 1;
    switch (text[0]) {
    case '-':
        fprintf(stderr, "redis_load: Redis says %.*s", (int)used, text);
        exit(1);
    case '$':
        n = strtol(text + 1, 0, 10);
        if (n < 0) return used;
        used += (size_t)n + 2;
        return used <= len ? used : 0;
    case '*':
        for (n = strtol(text + 1, 0, 10); n > 0; n--) {
            size_t one = answer(text + used, len - used);
            if (!one) return 0;
            used += one;
        }
        return used;
    default:
        return used;
    }
}

/* Takes what has come; true when the whole request is answered. */
static int answered(struct caller *c)
{
    size_t used = 0, one;
    ssize_t got;
    if (c->in_size - c->in_len < 65536) {
        c->in_size = c->in_size * 2 + 65536;
        c->in = grown(c->in, c->in_size);
    }
    got = read(c->fd, c->in + c->in_len, c->in_size - c->in_len);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
    if (got <= 0) die("the connection was closed");
    c->in_len += (size_t)got;
    while (c->waits_for > 0 && (one = answer(c->in + used, c->in_len - used)) > 0) {
        used += one;
        c->waits_for--;
    }
    memmove(c->in, c->in + used, c->in_len - used);
    c->in_len -= used;
    return c->waits_for == 0;
}

static void send_rest(struct caller *c)
{
    while (c->out_sent < c->out_len) {
        ssize_t sent = write(c->fd, c->out + c->out_sent, c->out_len - c->out_sent);
        if (sent < 0 && errno == EAGAIN) return;
        if (sent < 0 && errno != EINTR) die("cannot send");
        if (sent > 0) c->out_sent += (size_t)sent;
    }
}

static void run(const char *path, double seconds)
{
    struct caller *all = calloc((size_t)callers, sizeof *all);
    struct pollfd *polls = calloc((size_t)callers, sizeof *polls);
    double began = 0, warm, until;
    long calls = 0;
    if (!all || !polls) die("out of memory");
    for (long i = 0; i < callers; i++) {
        all[i].fd = polls[i].fd = connected(path);
        if (fcntl(all[i].fd, F_SETFL, O_NONBLOCK) != 0) die("cannot set a socket");
    }
    warm = now() + seconds / 5;
    until = warm + seconds;
    for (long i = 0; i < callers; i++) {
        request(&all[i], i);
        send_rest(&all[i]);
    }
    for (;;) {
        double at = now();
        if (at >= until) break;
        if (!began && at >= warm) {
            began = at;
            calls = 0;
        }
        for (long i = 0; i < callers; i++)
            polls[i].events = (short)(POLLIN | (all[i].out_sent < all[i].out_len ? POLLOUT : 0));
        if (poll(polls, (nfds_t)callers, 100) < 0 && errno != EINTR) die("cannot poll");
        for (long i = 0; i < callers; i++) {
            if (polls[i].revents & POLLOUT) send_rest(&all[i]);
            if (polls[i].revents & (POLLIN | POLLHUP | POLLERR) && answered(&all[i])) {
                calls++;
                request(&all[i], i);
                send_rest(&all[i]);
            }
        }
    }
    printf("%.3f\n", (double)calls / (now() - began));
}

/* Sends what was prepared over one blocking connection and waits for all answers. */
static void ask(struct caller *c)
{
    c->out_sent = c->in_len = 0;
    send_rest(c);
    while (!answered(c)) {}
    c->out_len = 0;
}

static void fill(struct caller *c, long events, long each)
{
    char key[64];
    long entities = events / each;
    for (long round = 0; round < each / BATCH; round++)
        for (long entity = 0; entity < entities; entity++) {
            sprintf(key, "old-%ld", entity);
            for (long i = 1; i <= BATCH; i++) add(c, key, round * BATCH + i);
            ask(c);
        }
}

static void victims(struct caller *c, long entities, long each)
{
    char key[64];
    for (long seq = 1; seq <= each; seq++) {
        for (long entity = 1; entity <= entities; entity++) {
            sprintf(key, "victim-%ld", entity);
            add(c, key, seq);
        }
        ask(c);
    }
}

int main(int argc, char **argv)
{
    struct caller one = {0};
    double began;
    if (argc < 4) die("too few arguments");
    mode = argv[2];
    if (argc == 6) {
        callers = atol(argv[3]);
        tag = argv[5];
        srand48(1);
        for (long i = 0; i < ENTITIES; i++)
            zipf[i] = (i ? zipf[i - 1] : 0) + 1 / pow((double)(i + 1), ZIPF);
        run(argv[1], atof(argv[4]));
        return 0;
    }
    one.fd = connected(argv[1]);
    began = now();
    if (!strcmp(mode, "fill") && argc == 5) {
        fill(&one, atol(argv[3]), atol(argv[4]));
    } else if (!strcmp(mode, "victims") && argc == 5) {
        victims(&one, atol(argv[3]), atol(argv[4]));
    } else if (!strcmp(mode, "read")) {
        command(&one, "XRANGE", argv[3], "-", "+", (char *)0);
        ask(&one);
    } else if (!strcmp(mode, "delete")) {
        command(&one, "DEL", argv[3], (char *)0);
        ask(&one);
    } else {
        die("no such mode");
    }
    printf("%.3f\n", (now() - began) * 1000);
    return 0;
}
