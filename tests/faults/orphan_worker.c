/* A worker of the base protocol that is ready, and at its first request starts a child, tells both pids in the
 * directory that it was started with, and is busy. With a second argument the child leaves the group. */
#include <stdio.h>
#include <unistd.h>

int main(int argc, char **argv) {
    static const char ready[] = "\0\0\0\x16\x93\x02\xad" "control.ready" "\x81\xa3" "pid" "\x2a";
    char request[4096], part[4096], whole[4096];
    pid_t child;
    FILE *file;
    if (argc < 2 || write(4, ready, sizeof ready - 1) != sizeof ready - 1 || read(3, request, sizeof request) <= 0)
        return 1;
    if ((child = fork()) == 0) {
        if (argc > 2)
            setsid();
        execlp("sleep", "sleep", "300", (char *)NULL);
        _exit(127);
    }
    snprintf(part, sizeof part, "%s/.%d", argv[1], getpid());
    snprintf(whole, sizeof whole, "%s/%d", argv[1], getpid());
    if (!(file = fopen(part, "w")))
        return 1;
    fprintf(file, "%d %d", getpid(), child);
    if (fclose(file) != 0 || rename(part, whole) != 0)
        return 1;
    for (;;)
        ;
}
