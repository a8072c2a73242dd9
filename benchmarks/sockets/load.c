/* The load client of `python -m benchmarks.gateway`: thousands of WebSocket subscribers and one publisher, on one core.

   It is in C so that it is not what is measured: it reads and counts several million frames a second. It is told what
   to do in lines, and says in lines of JSON what came of it:

       server PORT PATH          whom to connect to from now on; `publisher` PORT PATH: the publisher's, if it is another
       hello TEXT                what each connection says first; may be said several times. `ready N`: and then N messages come
       ping TEXT                 a message that is answered, with what `pong TEXT` says (engine.io has pings of its own)
       message TEXT              what the publisher says
       counts N                  a delivery is a message of at least N bytes
       connect N                 N more subscribers             {"connected": 1000}
       silent N                  N more, which never read       {"silent": 5}
       closed N SECONDS          N messages in one write, as soon as everybody has the last N
       open RATE SECONDS         so many a second, whatever comes back; a message that is late is counted from when it was due
                                 {"sent", "deliveries", "lost", "seconds", "p50", "p99", "most", "cpu", "reset": [..]}
       quit

   Latencies are in milliseconds, from before the publisher's write until a subscriber has read the whole message.
   `cpu` is the part of a core that this program took, `reset` the seconds after which silent ones were let go.
   Connections come from many addresses of the loopback network, so that no limit for one address is met. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE 20.0       /* seconds for connections and for what is still under way */
#define WAVE 64             /* connections that are made at a time */
#define LATENCIES 40000000L /* that are kept: one in so many, if there are more */
#define BUFFER (1 << 18)

enum { SHAKING, GREETING, READY, CLOSED };

typedef struct {
    int fd, state, silent, publisher;
    unsigned char head[10]; /* of a frame that has not come whole */
    int have;
    uint64_t left, size; /* of its payload */
    int opcode;
    char text[64]; /* the beginning of a short payload, to know pings by */
    int heard;
    long count;
    double gone;
} Connection;

static char buffer[BUFFER];
static char line[1 << 20];
static char path[512] = "/", publisher_path[512] = "", ping[64] = "", pong[64] = "", *message = NULL;
static char *hello[8];
static long living = 0; /* subscribers that read */
static int hellos = 0, ready_after = 0, port = 0, publisher_port = 0;
static uint64_t counted_from = 200;
static Connection **all = NULL;
static int number = 0, shaken = 0, subscribers = 0, poll_fd;
static Connection *publisher = NULL;
static double begun_at = 0;

static double *sent_at = NULL;
static long sent = 0, sent_room = 0, deliveries = 0;
static char *unsent = NULL; /* by the publisher: a server that is busy does not read */
static size_t unsent_size = 0, unsent_room = 0;
static float *latencies = NULL;
static long kept = 0, seen = 0, every = 1;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static double cpu(void) {
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return r.ru_utime.tv_sec + r.ru_stime.tv_sec + (r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
}

static void fail(const char *format, ...) {
    va_list list;
    va_start(list, format);
    vfprintf(stderr, format, list);
    va_end(list);
    fputc('\n', stderr);
    exit(1);
}

static void write_all(Connection *c, const char *data, size_t size) {
    double until = now() + PATIENCE;
    while (size > 0) {
        ssize_t done = send(c->fd, data, size, MSG_NOSIGNAL);
        if (done > 0) {
            data += done;
            size -= (size_t)done;
        } else if (done < 0 && errno != EAGAIN && errno != EINTR) {
            fail("a connection was ended: %s", strerror(errno));
        } else if (now() > until) {
            fail("the server does not read");
        }
    }
}

/* One masked text frame; the mask is zero, which is one, too. */
static size_t frame(char *out, const char *text) {
    size_t size = strlen(text), head = 2;
    out[0] = (char)0x81;
    if (size < 126) {
        out[1] = (char)(0x80 | size);
    } else if (size < 65536) {
        out[1] = (char)(0x80 | 126);
        out[2] = (char)(size >> 8);
        out[3] = (char)size;
        head = 4;
    } else {
        out[1] = (char)(0x80 | 127);
        for (int i = 0; i < 8; i++) out[2 + i] = (char)(size >> (56 - 8 * i));
        head = 10;
    }
    memset(out + head, 0, 4);
    memcpy(out + head + 4, text, size);
    return head + 4 + size;
}

static void say(Connection *c, const char *text) {
    char *out = malloc(strlen(text) + 16);
    write_all(c, out, frame(out, text));
    free(out);
}

static void ended(Connection *c) {
    if (c->state == CLOSED) return;
    if (c->state == READY && !c->silent && !c->publisher) living--;
    c->state = CLOSED;
    c->gone = now();
    epoll_ctl(poll_fd, EPOLL_CTL_DEL, c->fd, NULL);
    close(c->fd);
}

static Connection *open_one(int to, const char *at, int silent) {
    static unsigned source = 0;
    struct sockaddr_in from = {.sin_family = AF_INET}, peer = {.sin_family = AF_INET, .sin_port = htons((uint16_t)to)};
    int yes = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0) fail("no more sockets: %s (ulimit -n)", strerror(errno));
    /* 200 addresses in each of some networks: 127.1.0.1, 127.1.0.2, ... */
    unsigned host = source++ % (200u * 250u);
    from.sin_addr.s_addr = htonl(0x7f010000u + (host / 200u) * 256u + 1u + host % 200u);
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof yes);
    if (bind(fd, (struct sockaddr *)&from, sizeof from)) fail("bind: %s", strerror(errno));
    inet_pton(AF_INET, "127.0.0.1", &peer.sin_addr);
    if (connect(fd, (struct sockaddr *)&peer, sizeof peer)) fail("connect: %s", strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    Connection *c = calloc(1, sizeof *c);
    c->fd = fd;
    c->silent = silent;
    all = realloc(all, sizeof *all * (size_t)(number + 1));
    all[number++] = c;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &event);
    char request[1024];
    int size = snprintf(request, sizeof request,
                        "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
                        at, to);
    write_all(c, request, (size_t)size);
    return c;
}

static void is_ready(Connection *c) {
    c->state = READY;
    shaken++;
    if (!c->silent && !c->publisher) living++;
    if (c->silent) {
        struct epoll_event event = {.events = EPOLLRDHUP, .data.ptr = c};
        epoll_ctl(poll_fd, EPOLL_CTL_MOD, c->fd, &event);
    }
}

static void delivered(Connection *c, double at) {
    long which = c->count++;
    if (c->publisher || which >= sent) return;
    deliveries++;
    if (seen++ % every) return;
    if (kept == LATENCIES) { /* keep every second one from now on */
        for (long i = 0; i < kept / 2; i++) latencies[i] = latencies[2 * i];
        kept /= 2;
        every *= 2;
    }
    latencies[kept++] = (float)((at - sent_at[which]) * 1e3);
}

static void finished(Connection *c, double at) {
    if (c->opcode == 8) {
        ended(c);
    } else if (c->opcode == 9) {
        static const char answer[6] = {(char)0x8a, (char)0x80, 0, 0, 0, 0};
        write_all(c, answer, sizeof answer);
    } else if (c->opcode == 1 || c->opcode == 2) {
        if (*ping && c->size == strlen(ping) && !memcmp(c->text, ping, c->size)) say(c, pong);
        if (c->state == GREETING && ++c->heard >= ready_after) is_ready(c);
        else if (c->size >= counted_from) delivered(c, at);
    }
}

/* What came, frame by frame; a frame may come in pieces. */
static void parse(Connection *c, const unsigned char *data, size_t size, double at) {
    while (size > 0 && c->state != CLOSED) {
        if (c->left == 0 && c->have < 10) {
            int want = 2;
            for (;;) {
                while (c->have < want && size > 0) c->head[c->have++] = *data++, size--;
                if (c->have < want) return;
                int length = c->head[1] & 127;
                int need = length < 126 ? 2 : length == 126 ? 4 : 10;
                if (need == want || c->have >= need) break;
                want = need;
            }
            int length = c->head[1] & 127;
            c->opcode = c->head[0] & 15;
            c->size = (uint64_t)length;
            if (length == 126) c->size = ((uint64_t)c->head[2] << 8) | c->head[3];
            if (length == 127) {
                c->size = 0;
                for (int i = 2; i < 10; i++) c->size = (c->size << 8) | c->head[i];
            }
            c->left = c->size;
            if (c->size && c->size <= sizeof c->text) memset(c->text, 0, sizeof c->text);
            if (!c->left) {
                c->have = 0;
                finished(c, at);
            }
            continue;
        }
        size_t take = c->left < size ? (size_t)c->left : size;
        if (c->size <= sizeof c->text) memcpy(c->text + (c->size - c->left), data, take);
        data += take;
        size -= take;
        c->left -= take;
        if (!c->left) {
            c->have = 0;
            finished(c, at);
        }
    }
}

static void come(Connection *c) {
    for (;;) {
        ssize_t size = recv(c->fd, buffer, BUFFER, 0);
        if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
        if (size <= 0) {
            ended(c);
            return;
        }
        const unsigned char *data = (unsigned char *)buffer;
        size_t left = (size_t)size;
        if (c->state == SHAKING) {
            char *end = memmem(buffer, left, "\r\n\r\n", 4);
            if (!end) return; /* short answers come whole on loopback */
            if (memcmp(buffer, "HTTP/1.1 101", 12)) fail("no WebSocket: %.*s", (int)(end - buffer), buffer);
            left -= (size_t)(end + 4 - buffer);
            data = (unsigned char *)end + 4;
            c->state = GREETING;
            for (int i = 0; i < hellos; i++) say(c, hello[i]);
            if (!ready_after) is_ready(c);
        }
        parse(c, data, left, now());
        if (size < BUFFER || c->silent) return;
    }
}

static void turn(double seconds) {
    struct epoll_event events[512];
    int found = epoll_wait(poll_fd, events, 512, seconds <= 0 ? 0 : (int)(seconds * 1e3));
    for (int i = 0; i < found; i++) {
        Connection *c = events[i].data.ptr;
        if (c->state == READY && c->silent) ended(c);
        else if (c->state != CLOSED) come(c);
    }
}

static void join(int more, int silent) {
    int until = shaken + more, opened = 0;
    double deadline = now() + PATIENCE;
    while (shaken < until) {
        while (opened < more && number - shaken < WAVE) {
            open_one(port, path, silent);
            opened++;
            deadline = now() + PATIENCE;
        }
        turn(0.05);
        if (now() > deadline) fail("%d of %d connections are not ready after %.0f s", until - shaken, more, PATIENCE);
    }
    if (!silent) subscribers += more;
    printf("{\"%s\": %d}\n", silent ? "silent" : "connected", silent ? more : subscribers);
}

static void appoint(void) {
    if (publisher) return;
    int before = shaken;
    publisher = open_one(publisher_port ? publisher_port : port, *publisher_path ? publisher_path : path, 0);
    publisher->publisher = 1;
    double deadline = now() + PATIENCE;
    while (shaken == before) {
        turn(0.05);
        if (now() > deadline) fail("the publisher is not let in");
    }
}

static int ascending(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return x < y ? -1 : x > y;
}

static void push(void) {
    size_t done = 0;
    while (done < unsent_size && publisher->state != CLOSED) {
        ssize_t some = send(publisher->fd, unsent + done, unsent_size - done, MSG_NOSIGNAL);
        if (some <= 0) break;
        done += (size_t)some;
    }
    memmove(unsent, unsent + done, unsent_size -= done);
}

/* `at`: when they are due, which is what their latency counts from. */
static void publish(const char *bytes, size_t size, int messages, double at) {
    if (sent + messages > sent_room) {
        sent_room = (sent + messages) * 2;
        sent_at = realloc(sent_at, sizeof *sent_at * (size_t)sent_room);
    }
    if (unsent_size + size > unsent_room) unsent = realloc(unsent, unsent_room = 2 * (unsent_size + size));
    for (int i = 0; i < messages; i++) sent_at[sent++] = at;
    memcpy(unsent + unsent_size, bytes, size);
    unsent_size += size;
    push();
}

static void run(int outstanding, double rate, double seconds) {
    appoint();
    char *bytes = malloc((strlen(message) + 16) * (size_t)outstanding);
    size_t size = 0;
    for (int i = 0; i < outstanding; i++) size += frame(bytes + size, message);
    sent = deliveries = kept = seen = 0;
    every = 1;
    for (int i = 0; i < number; i++) all[i]->count = 0;
    double used = cpu(), begun = now(), end = begun + seconds, time;
    begun_at = begun;
    while ((time = now()) < end) {
        double wait = 0.1;
        if (rate <= 0 && deliveries >= sent * living) publish(bytes, size, outstanding, time);
        if (rate > 0 && (wait = begun + (double)sent / rate - time) <= 0) publish(bytes, size, 1, time + wait);
        if (unsent_size) push();
        turn(wait < 0.001 || unsent_size ? 0 : wait); /* the last part of a millisecond is waited for awake */
    }
    double deadline = now() + PATIENCE / 4;
    while (deliveries < sent * living && now() < deadline) {
        if (unsent_size) push();
        turn(0.05);
    }
    double took = now() - begun;
    used = (cpu() - used) / took;
    qsort(latencies, (size_t)kept, sizeof *latencies, ascending);
    printf("{\"sent\": %ld, \"deliveries\": %ld, \"lost\": %ld, \"seconds\": %.6f, \"p50\": %.4f, \"p99\": %.4f, "
           "\"most\": %.4f, \"cpu\": %.3f, \"reset\": [",
           sent, deliveries, sent * subscribers - deliveries, took, kept ? latencies[kept / 2] : -1.0,
           kept ? latencies[kept - 1 - kept / 100] : -1.0, kept ? latencies[kept - 1] : -1.0, used);
    int first = 1;
    for (int i = 0; i < number; i++)
        if (all[i]->silent && all[i]->state == CLOSED) {
            printf("%s%.3f", first ? "" : ", ", all[i]->gone - begun_at);
            first = 0;
        }
    printf("]}\n");
    free(bytes);
}

int main(void) {
    poll_fd = epoll_create1(0);
    latencies = malloc(sizeof *latencies * LATENCIES);
    setvbuf(stdout, NULL, _IOLBF, 0);
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = 0;
        char *rest = strchr(line, ' ');
        rest = rest ? (*rest = 0, rest + 1) : line + strlen(line);
        double x = 0, y = 0;
        sscanf(rest, "%lf %lf", &x, &y);
        if (!strcmp(line, "server")) sscanf(rest, "%d %511s", &port, path);
        else if (!strcmp(line, "publisher")) sscanf(rest, "%d %511s", &publisher_port, publisher_path);
        else if (!strcmp(line, "hello") && hellos < 8) hello[hellos++] = strdup(rest);
        else if (!strcmp(line, "ready")) ready_after = (int)x;
        else if (!strcmp(line, "ping")) snprintf(ping, sizeof ping, "%s", rest);
        else if (!strcmp(line, "pong")) snprintf(pong, sizeof pong, "%s", rest);
        else if (!strcmp(line, "message")) free(message), message = strdup(rest);
        else if (!strcmp(line, "counts")) counted_from = (uint64_t)x;
        else if (!strcmp(line, "connect")) join((int)x, 0);
        else if (!strcmp(line, "silent")) join((int)x, 1);
        else if (!strcmp(line, "closed")) run((int)x, 0, y);
        else if (!strcmp(line, "open")) run(1, x, y);
        else if (!strcmp(line, "quit")) return 0;
        else fail("what is %s?", line);
    }
    return 0;
}
