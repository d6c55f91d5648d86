/*
 * Batches of events into PostgreSQL by COPY, one transaction each, from many connections that have
 * a thread each. Prints batches per second.
 *
 *   postgres_copy CONNINFO CALLERS SECONDS TAG
 */
#include <libpq-fe.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ENTITIES 10000
#define BATCH 500
#define PAYLOAD "{\"amount\":5,\"from\":\"acct-00001234\",\"ok\":true}"

static const char *conninfo, *tag;
static long callers;
static atomic_int phase; /* 0: warming up, 1: counting, 2: over */
static atomic_long batches;

static void check(int fine, PGconn *conn)
{
    if (fine) return;
    fprintf(stderr, "postgres_copy: %s", PQerrorMessage(conn));
    exit(1);
}

static void copy(PGconn *conn, const char *rows, size_t len)
{
    PGresult *result = PQexec(conn, "COPY events FROM STDIN");
    check(PQresultStatus(result) == PGRES_COPY_IN, conn);
    PQclear(result);
    check(PQputCopyData(conn, rows, (int)len) == 1, conn);
    check(PQputCopyEnd(conn, NULL) == 1, conn);
    while ((result = PQgetResult(conn))) {
        check(PQresultStatus(result) == PGRES_COMMAND_OK, conn);
        PQclear(result);
    }
}

/* Callers share the entities out among them. */
static void *caller(void *argument)
{
    long number = (long)argument, slice = ENTITIES / callers;
    char *rows = malloc(BATCH * 160);
    PGconn *conn = PQconnectdb(conninfo);
    check(rows && PQstatus(conn) == CONNECTION_OK, conn);
    for (long round = 0; atomic_load(&phase) != 2; round++) {
        size_t len = 0;
        for (long i = 1; i <= BATCH; i++)
            len += (size_t)sprintf(rows + len, "acct-%s-%ld\t%ld\tCredited\t" PAYLOAD "\n", tag,
                                   number + callers * (round % slice), round / slice * BATCH + i);
        copy(conn, rows, len);
        if (atomic_load(&phase) == 1) atomic_fetch_add(&batches, 1);
    }
    PQfinish(conn);
    free(rows);
    return NULL;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    pthread_t *threads;
    double seconds, began, took;
    if (argc != 5) return 2;
    conninfo = argv[1];
    callers = atol(argv[2]);
    seconds = atof(argv[3]);
    tag = argv[4];
    threads = malloc((size_t)callers * sizeof *threads);
    if (!threads) return 1;
    for (long i = 0; i < callers; i++)
        if (pthread_create(&threads[i], NULL, caller, (void *)i) != 0) return 1;
    usleep((useconds_t)(seconds * 200000));
    began = now();
    atomic_store(&phase, 1);
    usleep((useconds_t)(seconds * 1000000));
    atomic_store(&phase, 2);
    took = now() - began;
    for (long i = 0; i < callers; i++) pthread_join(threads[i], NULL);
    printf("%.3f\n", (double)atomic_load(&batches) / took);
    return 0;
}
